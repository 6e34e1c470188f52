//! Counters and gauges, with the names and labels of the Wasm filter's.
//!
//! Envoy defines them while the configuration is made, and takes the labels with each number. Labels
//! come from the configuration and from fixed lists, so their number is bounded.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use keyless_core::gate::{Check, Labels, Record, Report};
use keyless_core::http::FetchError;
use keyless_core::metrics::{
    ANSWERS, ASKED_AT, COST, FETCHES, GOOD_UNTIL, HOST_CRYPTO, LEDGER_EVICTED, LEDGER_SETTLED_AT,
    LEDGER_SETTLEMENTS, LIMIT_CHECKS, LIMITS_DISAGREE, Metric, REJECTIONS, REQUESTS, TOKEN_PARTS,
    TOKENS, UNPRICED, UNUSABLE_KEYS,
};
use keyless_core::price::Cost;
use keyless_core::settle::{Agreement, SettlementError, SettlementReport};
use keyless_core::usage::{Basis, Counted};

use crate::abi::{Counter, Gauge, Proxy, Refused, Stream};

/// Holds the numbers that Envoy gave the metrics of one configuration.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Counter,
    fetches: Counter,
    asked_at: Gauge,
    good_until: Gauge,
    unusable_keys: Gauge,
    rejections: Counter,
    answers: Counter,
    tokens: Counter,
    token_parts: Counter,
    cost: Counter,
    unpriced: Counter,
    limit_checks: Counter,
    ledger_evicted: Counter,
    settlements: Counter,
    settled_at: Gauge,
    limits_disagree: Gauge,
    host_crypto: Gauge,
}

/// What the counters of one worker do not hold: of each account less than the millionth of a unit that
/// they count in.
pub(crate) type Rests = HashMap<(Labels, Basis), Cost>;

/// The value of a label without a value.
const NONE: &str = "none";

impl Metrics {
    pub(crate) fn define(proxy: &Proxy<'_>) -> Result<Self, Refused> {
        let counter = |metric: Metric| proxy.define_counter(metric.name, metric.labels);
        let gauge = |metric: Metric| proxy.define_gauge(metric.name, metric.labels);
        Ok(Self {
            requests: counter(REQUESTS)?,
            fetches: counter(FETCHES)?,
            asked_at: gauge(ASKED_AT)?,
            good_until: gauge(GOOD_UNTIL)?,
            unusable_keys: gauge(UNUSABLE_KEYS)?,
            rejections: counter(REJECTIONS)?,
            answers: counter(ANSWERS)?,
            tokens: counter(TOKENS)?,
            token_parts: counter(TOKEN_PARTS)?,
            cost: counter(COST)?,
            unpriced: counter(UNPRICED)?,
            limit_checks: counter(LIMIT_CHECKS)?,
            ledger_evicted: counter(LEDGER_EVICTED)?,
            settlements: counter(LEDGER_SETTLEMENTS)?,
            settled_at: gauge(LEDGER_SETTLED_AT)?,
            limits_disagree: gauge(LIMITS_DISAGREE)?,
            host_crypto: gauge(HOST_CRYPTO)?,
        })
    }

    /// Says that signatures are verified natively.
    pub(crate) fn introduce(&self, stream: &Stream<'_>) {
        stream.gauge(self.host_crypto, &[], 1);
    }

    pub(crate) fn count_request(&self, stream: &Stream<'_>, verdict: &str, record: &Record) {
        let issuer = record.issuer.as_deref().unwrap_or(NONE);
        let route = record.route.as_deref().unwrap_or(NONE);
        stream.count(self.requests, &[issuer, route, verdict, record.reason], 1);
        for Check { limit, result, is_evicting } in &record.checks {
            stream.count(self.limit_checks, &[limit, result.name()], 1);
            self.count_evicted(stream, (*is_evicting).into());
        }
    }

    pub(crate) fn count_fetch(&self, stream: &Stream<'_>, report: &Report) {
        let (kind, name) = (report.kind, &*report.name);
        let result = report.result.as_ref().map_or_else(FetchError::code, |()| "ok");
        stream.count(self.fetches, &[kind, name, result], 1);
        if let Some((asked, expires)) = report.held {
            stream.gauge(self.asked_at, &[kind, name], seconds(asked));
            stream.gauge(self.good_until, &[kind, name], seconds(expires));
        }
        if let Some(keys) = &report.keys {
            let count = u64::try_from(keys.unusable.count).unwrap_or(u64::MAX);
            stream.gauge(self.unusable_keys, &[name], count);
        }
    }

    pub(crate) fn count_rejection(&self, stream: &Stream<'_>, identity: &str) {
        stream.count(self.rejections, &[identity], 1);
    }

    /// Counts counters of limits that had to make room for others.
    pub(crate) fn count_evicted(&self, stream: &Stream<'_>, count: u64) {
        if count > 0 {
            stream.count(self.ledger_evicted, &[], count);
        }
    }

    /// Counts a settlement that ended at this time.
    pub(crate) fn count_settlement(
        &self,
        stream: &Stream<'_>,
        report: &SettlementReport,
        at: SystemTime,
    ) {
        let result = report.result.map_or_else(SettlementError::code, |()| "ok");
        stream.count(self.settlements, &[result], 1);
        if report.result.is_ok() {
            stream.gauge(self.settled_at, &[], seconds(at));
        }
        for (limit, agreement) in &report.limits {
            let disagrees = u64::from(*agreement != Agreement::Same);
            stream.gauge(self.limits_disagree, &[limit], disagrees);
        }
    }

    /// Counts what a request used. A sum of costs is exact but for less than a millionth of a unit for
    /// each worker and account.
    pub(crate) fn count_usage(
        &self,
        stream: &Stream<'_>,
        labels: &Labels,
        counted: &Counted,
        cost: Option<Cost>,
        rests: &mut Rests,
    ) {
        let Counted { basis, usage } = counted;
        if *basis == Basis::None {
            return;
        }
        let Labels { issuer, route, deployment } = labels;
        let own = [&**issuer, route, deployment];
        let add = |counter: Counter, more: &[&str], count: u64| {
            if count > 0 {
                stream.count(counter, &[&own, more].concat(), count);
            }
        };
        let name = basis.name();
        add(self.answers, &[name], 1);
        add(self.tokens, &["input", name], usage.input);
        add(self.tokens, &["output", name], usage.output);
        add(self.token_parts, &["cached", name], usage.cached);
        add(self.token_parts, &["cache_write", name], usage.cache_write);
        add(self.token_parts, &["audio_input", name], usage.audio_input);
        add(self.token_parts, &["reasoning", name], usage.reasoning);
        add(self.token_parts, &["audio_output", name], usage.audio_output);
        match cost {
            Some(cost) => {
                let rest = rests.entry((labels.clone(), *basis)).or_default();
                *rest = rest.plus(cost);
                add(self.cost, &[name], rest.take_micro_units());
            }
            None if *basis == Basis::Absent => {}
            None => add(self.unpriced, &[], 1),
        }
    }
}

/// Unix time, as Prometheus compares it with `time()`.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
