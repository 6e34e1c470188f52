//! Counters and gauges, with their labels in the name as Istio's bootstrap reads them: `.label=.=value;.;`.
//!
//! Labels come from the configuration and from fixed lists, so their number is bounded.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use keyless_core::gate::{Check, CheckResult, Labels, Record, Report};
use keyless_core::http::FetchError;
use keyless_core::metrics::{
    ANSWERS, ASKED_AT, COST, FETCHES, GOOD_UNTIL, LEDGER_EVICTED, LEDGER_SETTLED_AT,
    LEDGER_SETTLEMENTS, LIMIT_CHECKS, LIMITS_DISAGREE, Metric, REJECTIONS, REQUESTS, TOKEN_PARTS,
    TOKENS, UNPRICED, UNUSABLE_KEYS,
};
use keyless_core::price::Cost;
use keyless_core::settle::{Agreement, SettlementError, SettlementReport};
use keyless_core::usage::{Basis, Counted};
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

/// Holds the ids that this VM was given for the names of its metrics.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: HashMap<RequestLabels, u32>,
    accounts: HashMap<(Labels, Basis), AccountIds>,
    checks: HashMap<(Rc<str>, CheckResult), Option<u32>>,
    others: HashMap<String, u32>,
}

/// What requests are counted by; a lookup by these is cheaper than formatting the name.
#[derive(Eq, Hash, PartialEq)]
struct RequestLabels {
    issuer: Option<Rc<str>>,
    route: Option<Rc<str>>,
    verdict: &'static str,
    reason: &'static str,
}

/// The counters of one account, each as it is needed.
#[derive(Default)]
struct AccountIds {
    answers: Option<u32>,
    /// Input, output, and the parts of them.
    tokens: [Option<u32>; 7],
    cost: Option<u32>,
    unpriced: Option<u32>,
    /// What the counter does not hold: less than the millionth of a unit that it counts in.
    rest: Cost,
}

/// The value of a label without a value.
const NONE: &str = "none";

impl Metrics {
    pub(crate) fn count_request(&mut self, verdict: &'static str, record: &Record) {
        let (issuer, route, reason) = (record.issuer.clone(), record.route.clone(), record.reason);
        let labels = RequestLabels { issuer, route, verdict, reason };
        let id = self.requests.get(&labels).copied().or_else(|| {
            let id = define(MetricType::Counter, &labels.name())?;
            self.requests.insert(labels, id);
            Some(id)
        });
        count(id);
    }

    pub(crate) fn count_fetch(&mut self, report: &Report) {
        let (kind, name) = (report.kind, &report.name);
        let result = report.result.as_ref().map_or_else(FetchError::code, |()| "ok");
        count(self.id(MetricType::Counter, FETCHES.with(&[kind, name, result])));
        if let Some((asked, expires)) = report.held {
            self.gauge(&ASKED_AT.with(&[kind, name]), seconds(asked));
            self.gauge(&GOOD_UNTIL.with(&[kind, name]), seconds(expires));
        }
        if let Some(keys) = &report.keys {
            let count = u64::try_from(keys.unusable.count).unwrap_or(u64::MAX);
            self.gauge(&UNUSABLE_KEYS.with(&[name]), count);
        }
    }

    pub(crate) fn count_rejection(&mut self, identity: &str) {
        count(self.id(MetricType::Counter, REJECTIONS.with(&[identity])));
    }

    pub(crate) fn count_checks(&mut self, checks: &[Check]) {
        for Check { limit, result, is_evicting } in checks {
            let id = self.checks.entry((limit.clone(), *result)).or_default();
            add(id, 1, || LIMIT_CHECKS.with(&[limit, result.name()]));
            self.count_evicted((*is_evicting).into());
        }
    }

    /// Counts counters of limits that had to make room for others.
    pub(crate) fn count_evicted(&mut self, count: u64) {
        if count > 0 {
            let id = self.id(MetricType::Counter, LEDGER_EVICTED.with(&[]));
            add(&mut id.clone(), count, String::new);
        }
    }

    pub(crate) fn count_settlement(&mut self, report: &SettlementReport, now: SystemTime) {
        let result = report.result.map_or_else(SettlementError::code, |()| "ok");
        count(self.id(MetricType::Counter, LEDGER_SETTLEMENTS.with(&[result])));
        if report.result.is_ok() {
            self.gauge(&LEDGER_SETTLED_AT.with(&[]), seconds(now));
        }
        for (limit, agreement) in &report.limits {
            let disagrees = u64::from(*agreement != Agreement::Same);
            self.gauge(&LIMITS_DISAGREE.with(&[limit]), disagrees);
        }
    }

    /// Counts what a request used. A sum of costs is exact but for less than a millionth of a unit for
    /// each worker and account.
    pub(crate) fn count_usage(&mut self, labels: &Labels, counted: &Counted, cost: Option<Cost>) {
        let Counted { basis, usage } = counted;
        if *basis == Basis::None {
            return;
        }
        let ids = self.accounts.entry((labels.clone(), *basis)).or_default();
        let Labels { issuer, route, deployment } = labels;
        let name = |metric: &Metric, more: &[&str]| {
            metric.with(&[&[&**issuer, route, deployment], more].concat())
        };
        let basis_name = basis.name();
        add(&mut ids.answers, 1, || name(&ANSWERS, &[basis_name]));
        let tokens = [
            (&TOKENS, "input", usage.input),
            (&TOKENS, "output", usage.output),
            (&TOKEN_PARTS, "cached", usage.cached),
            (&TOKEN_PARTS, "cache_write", usage.cache_write),
            (&TOKEN_PARTS, "audio_input", usage.audio_input),
            (&TOKEN_PARTS, "reasoning", usage.reasoning),
            (&TOKEN_PARTS, "audio_output", usage.audio_output),
        ];
        for (id, (metric, kind, count)) in ids.tokens.iter_mut().zip(tokens) {
            add(id, count, || name(metric, &[kind, basis_name]));
        }
        match cost {
            Some(cost) => {
                ids.rest = ids.rest.plus(cost);
                add(&mut ids.cost, ids.rest.take_micro_units(), || name(&COST, &[basis_name]));
            }
            None if *basis == Basis::Absent => {}
            None => add(&mut ids.unpriced, 1, || name(&UNPRICED, &[])),
        }
    }

    pub(crate) fn gauge(&mut self, name: &str, value: u64) {
        if let Some(id) = self.id(MetricType::Gauge, name.to_owned()) {
            _ = hostcalls::record_metric(id, value);
        }
    }

    fn id(&mut self, kind: MetricType, name: String) -> Option<u32> {
        if let Some(id) = self.others.get(&name) {
            return Some(*id);
        }
        let id = define(kind, &name)?;
        self.others.insert(name, id);
        Some(id)
    }
}

impl RequestLabels {
    fn name(&self) -> String {
        let Self { verdict, reason, .. } = self;
        let issuer = self.issuer.as_deref().unwrap_or(NONE);
        let route = self.route.as_deref().unwrap_or(NONE);
        REQUESTS.with(&[issuer, route, verdict, reason])
    }
}

/// Unix time, as Prometheus compares it with `time()`.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn define(kind: MetricType, name: &str) -> Option<u32> {
    hostcalls::define_metric(kind, name).ok()
}

fn count(id: Option<u32>) {
    if let Some(id) = id {
        _ = hostcalls::increment_metric(id, 1);
    }
}

/// Adds to a counter, which is defined with the first that is added: it need not exist before.
fn add(id: &mut Option<u32>, count: u64, name: impl FnOnce() -> String) {
    if count == 0 {
        return;
    }
    if id.is_none() {
        *id = define(MetricType::Counter, &name());
    }
    if let Some(id) = *id {
        _ = hostcalls::increment_metric(id, i64::try_from(count).unwrap_or(i64::MAX));
    }
}
