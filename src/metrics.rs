//! Counters and gauges, with their labels in the name as Istio's bootstrap reads them: `.label=.=value;.;`.
//!
//! Labels come from the configuration and from fixed lists, so their number is bounded.

use std::collections::HashMap;
use std::iter;

use keyless_core::metrics::{Kind, Meter, Metric};
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

/// Holds the ids that this VM was given for the names of its metrics.
#[derive(Default)]
pub(crate) struct Metrics {
    /// By the name and the values of the labels: a lookup by these is cheaper than formatting the name.
    ids: HashMap<Box<[u8]>, u32>,
    /// Room for such a key.
    key: Vec<u8>,
}

/// Ends each part of a key; no text has it (RFC 3629 §1).
const END: u8 = 0xff;

impl Meter for Metrics {
    fn add(&mut self, metric: &Metric, labels: &[&str], count: u64) {
        if count > 0
            && let Some(id) = self.id(metric, labels)
        {
            _ = hostcalls::increment_metric(id, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn set(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        if let Some(id) = self.id(metric, labels) {
            _ = hostcalls::record_metric(id, value);
        }
    }
}

impl Metrics {
    /// Returns the id of a metric, which is defined when it is needed first.
    fn id(&mut self, metric: &Metric, labels: &[&str]) -> Option<u32> {
        self.key.clear();
        for part in iter::once(&metric.name).chain(labels) {
            self.key.extend_from_slice(part.as_bytes());
            self.key.push(END);
        }
        if let Some(id) = self.ids.get(&*self.key) {
            return Some(*id);
        }
        let kind = match metric.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let id = hostcalls::define_metric(kind, &metric.with(labels)).ok()?;
        self.ids.insert(self.key.as_slice().into(), id);
        Some(id)
    }
}
