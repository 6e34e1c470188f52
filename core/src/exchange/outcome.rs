//! The request: it is changed as decided, and what operators see of it is recorded.

use super::accounting::Accounting;
use super::{Admitted, Exchange, Refused};
use crate::denial::Denial;
use crate::gate::{Decided, Decision, Forward, Record};
use crate::http::Reply;

/// Holds what was done to a request, and what is to become of it.
#[derive(Debug)]
pub struct Applied {
    /// What is to become of it, once all is counted and recorded.
    pub outcome: Outcome,
    /// What is kept of it until its answer is over.
    pub admitted: Admitted,
    /// What operators see of it.
    pub record: Record,
    /// The word for the decision in filter state and counters.
    pub verdict: &'static str,
}

/// Says what becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on, and is changed.
    GoesOn,
    /// This is its answer.
    Reply(Reply),
    /// It is held.
    Waits,
}

impl Applied {
    /// Carries out a decision on the request. One that cannot be changed as decided is refused: it
    /// might still carry its caller's credential.
    pub fn new(decided: Decided, exchange: &impl Exchange) -> Self {
        let Decided { decision, mut record } = decided;
        let verdict = decision.verdict();
        let mut admitted = Admitted::default();
        let outcome = match decision {
            Decision::Deny(reply) | Decision::Respond(reply) => Outcome::Reply(reply),
            Decision::Forward(forward) => {
                let Ok(changed) = change(forward, exchange) else { return Self::failed(record) };
                admitted = changed;
                Outcome::GoesOn
            }
            Decision::Wait(_) => {
                record.reason = "waiting";
                Outcome::Waits
            }
        };
        Self { outcome, admitted, record, verdict }
    }

    /// Refuses a request because the host did not do what it takes to let it go on.
    pub fn failed(mut record: Record) -> Self {
        let denial = Denial::GatewayError;
        record.reason = denial.code();
        let (outcome, admitted) = (Outcome::Reply(denial.reply()), Admitted::default());
        Self { outcome, admitted, record, verdict: "refused" }
    }

    /// Records the decision for the access log and the filters behind.
    pub fn record(&self, exchange: &impl Exchange) {
        let Self { record, .. } = self;
        exchange.record("wasm.keyless.verdict", self.verdict);
        exchange.record_reason(record.reason);
        let state = [
            ("wasm.keyless.issuer", record.issuer.as_deref()),
            ("wasm.keyless.client", record.client()),
            ("wasm.keyless.subject", record.subject()),
            ("wasm.keyless.route", record.route.as_deref()),
            ("wasm.keyless.deployment", record.deployment.as_deref()),
        ];
        for (name, value) in state {
            if let Some(value) = value {
                exchange.record(name, value);
            }
        }
    }
}

/// Changes the head of the request; removes first, so that what fails leaves nothing half-set.
fn change(forward: Forward, exchange: &impl Exchange) -> Result<Admitted, Refused> {
    for name in &forward.remove {
        exchange.remove_request_header(name)?;
    }
    if let Some(target) = &forward.target {
        exchange.set_request_header(":path", target)?;
    }
    for (name, value) in &forward.set {
        exchange.set_request_header(name.as_str(), value.expose().as_bytes())?;
    }
    exchange.clear_route_cache(forward.is_unchanged());
    let Forward { identity, account, allowances, .. } = forward;
    let accounting = account.map(|account| Accounting::begin(account, exchange)).transpose()?;
    Ok(Admitted::new(identity, accounting, allowances))
}
