//! What the counters and gauges say of a decision, of fetches, of settlements and of limits.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Check, Record, Report, UpstreamRejection};
use crate::http::FetchError;
use crate::metrics::{
    ASKED_AT, FETCHES, GOOD_UNTIL, LEDGER_EVICTED, LEDGER_SETTLED_AT, LEDGER_SETTLEMENTS,
    LIMIT_CHECKS, LIMITS_DISAGREE, Meter, REJECTIONS, REQUESTS, UNUSABLE_KEYS,
};
use crate::settle::{Agreement, SettlementError, SettlementReport};

/// The value of a label without a value.
const NONE: &str = "none";

impl Record {
    /// Counts the request, by its decision, and the checks of limits.
    pub fn count(&self, verdict: &str, meter: &mut impl Meter) {
        let issuer = self.issuer.as_deref().unwrap_or(NONE);
        let route = self.route.as_deref().unwrap_or(NONE);
        meter.add(&REQUESTS, &[issuer, route, verdict, self.reason], 1);
        for Check { limit, result, is_evicting } in &self.checks {
            meter.add(&LIMIT_CHECKS, &[limit, result.name()], 1);
            count_evicted((*is_evicting).into(), meter);
        }
    }
}

impl Report {
    /// Counts the fetch, and says how old the value is that is held now.
    pub fn count(&self, meter: &mut impl Meter) {
        let (kind, name) = (self.kind, &*self.name);
        let result = self.result.as_ref().map_or_else(FetchError::code, |()| "ok");
        meter.add(&FETCHES, &[kind, name, result], 1);
        if let Some((asked, expires)) = self.held {
            meter.set(&ASKED_AT, &[kind, name], seconds(asked));
            meter.set(&GOOD_UNTIL, &[kind, name], seconds(expires));
        }
        if let Some(keys) = &self.keys {
            let count = u64::try_from(keys.unusable.count).unwrap_or(u64::MAX);
            meter.set(&UNUSABLE_KEYS, &[name], count);
        }
    }
}

impl UpstreamRejection {
    /// Counts it.
    pub fn count(&self, meter: &mut impl Meter) {
        meter.add(&REJECTIONS, &[&self.identity], 1);
    }
}

impl SettlementReport {
    /// Counts the settlement, which ended at this time.
    pub fn count(&self, meter: &mut impl Meter, now: SystemTime) {
        let result = self.result.map_or_else(SettlementError::code, |()| "ok");
        meter.add(&LEDGER_SETTLEMENTS, &[result], 1);
        if self.result.is_ok() {
            meter.set(&LEDGER_SETTLED_AT, &[], seconds(now));
        }
        for (limit, agreement) in &self.limits {
            let disagrees = u64::from(*agreement != Agreement::Same);
            meter.set(&LIMITS_DISAGREE, &[limit], disagrees);
        }
    }
}

/// Counts counters of limits that had to make room for others.
pub fn count_evicted(count: u64, meter: &mut impl Meter) {
    meter.add(&LEDGER_EVICTED, &[], count);
}

/// Unix time, as Prometheus compares it with `time()`.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
