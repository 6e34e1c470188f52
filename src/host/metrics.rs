//! Counters, with their labels in the name as Istio's bootstrap reads them: `.label=.=value;.;`.
//!
//! Labels come from the configuration and from fixed lists, so their number is bounded.

use std::collections::HashMap;

use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::gate::{Record, Report};
use crate::http::FetchError;

/// Holds the ids that this VM was given for the names of its metrics.
#[derive(Default)]
pub(super) struct Metrics(HashMap<String, u32>);

/// The value of a label where there is nothing to say.
const NONE: &str = "none";

impl Metrics {
    pub(super) fn count_request(&mut self, verdict: &str, record: &Record) {
        let issuer = record.issuer.as_deref().unwrap_or(NONE);
        let route = record.route.as_deref().unwrap_or(NONE);
        let reason = record.reason;
        self.count(format!(
            "keyless_requests.issuer=.={issuer};.;route=.={route};.;verdict=.={verdict};.;reason=.={reason};.;"
        ));
    }

    pub(super) fn count_fetch(&mut self, report: &Report) {
        let (kind, name) = (report.kind, &report.name);
        let result = report.result.map_or_else(FetchError::code, |()| "ok");
        self.count(format!("keyless_fetches.kind=.={kind};.;name=.={name};.;result=.={result};.;"));
    }

    pub(super) fn gauge(&mut self, name: &str, value: u64) {
        if let Some(id) = self.id(MetricType::Gauge, name.to_owned()) {
            _ = hostcalls::record_metric(id, value);
        }
    }

    fn count(&mut self, name: String) {
        if let Some(id) = self.id(MetricType::Counter, name) {
            _ = hostcalls::increment_metric(id, 1);
        }
    }

    fn id(&mut self, kind: MetricType, name: String) -> Option<u32> {
        if let Some(id) = self.0.get(&name) {
            return Some(*id);
        }
        let id = hostcalls::define_metric(kind, &name).ok()?;
        self.0.insert(name, id);
        Some(id)
    }
}
