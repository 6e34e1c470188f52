//! Counters and gauges, with their labels in the name as Istio's bootstrap reads them: `.label=.=value;.;`.
//!
//! Labels come from the configuration and from fixed lists, so their number is bounded.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use keyless_core::gate::{Record, Report};
use keyless_core::http::FetchError;
use keyless_core::metrics::{ASKED_AT, FETCHES, GOOD_UNTIL, REJECTIONS, REQUESTS, UNUSABLE_KEYS};
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

/// Holds the ids that this VM was given for the names of its metrics.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: HashMap<RequestLabels, u32>,
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
