//! Carries out what the gate decided: changes the request, or sends a local reply.

use keyless_core::denial::Denial;
use keyless_core::gate::{Decided, Decision, Forward, Record};
use keyless_core::http::Reply;
use keyless_core::identity::IdentityIndex;
use keyless_core::limit::Allowance;

use crate::abi::{Map, Refused, Stream};
use crate::accounting::Accounting;

/// What is to be done with a request, when all is written that is written about it.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) end: End,
    /// The identity whose token the request carries.
    pub(crate) identity: Option<IdentityIndex>,
    /// The account of its answer.
    pub(crate) accounting: Option<Accounting>,
    /// What is left of limits, for the head of the answer.
    pub(crate) allowances: Vec<Allowance>,
    pub(crate) record: Record,
    pub(crate) verdict: &'static str,
}

/// How a request ends here.
#[derive(Debug)]
pub(crate) enum End {
    /// It goes on, and is changed.
    GoesOn,
    /// This is its answer. It is sent last: Envoy then calls other hooks of the stream.
    Reply(Reply),
    /// It waits.
    Waits,
}

/// Carries out a decision on a stream, but for its reply. A request that cannot be changed as decided
/// is refused: it might still carry its caller's credential.
pub(crate) fn apply(stream: &Stream<'_>, decided: Decided) -> Applied {
    let Decided { decision, mut record } = decided;
    let verdict = decision.verdict();
    let (mut identity, mut accounting, mut allowances) = (None, None, Vec::new());
    let end = match decision {
        Decision::Deny(reply) | Decision::Respond(reply) => End::Reply(reply),
        Decision::Forward(forward) => {
            if edit(stream, &forward).is_err() {
                return fail(record);
            }
            let begun = forward.account.map(|account| Accounting::begin(stream, account));
            let Ok(begun) = begun.transpose() else { return fail(record) };
            (identity, accounting) = (forward.identity, begun);
            allowances = forward.allowances;
            End::GoesOn
        }
        Decision::Wait(_) => {
            record.reason = "waiting";
            End::Waits
        }
    };
    Applied { end, identity, accounting, allowances, record, verdict }
}

/// Refuses a request because the host did not do what it takes to let it go on.
pub(crate) fn fail(mut record: Record) -> Applied {
    let denial = Denial::GatewayError;
    record.reason = denial.code();
    let (identity, accounting, allowances) = (None, None, Vec::new());
    let end = End::Reply(denial.reply());
    Applied { end, identity, accounting, allowances, record, verdict: "refused" }
}

/// Writes what operators see to filter state, as `wasm.keyless.…`: the names are the Wasm filter's, so
/// that the same guard and the same access log fit both. The reason is left for the end: it can change
/// when the answer comes, and what is written cannot.
pub(crate) fn record(stream: &Stream<'_>, verdict: &str, record: &Record) {
    let state = [
        ("wasm.keyless.verdict", Some(verdict)),
        ("wasm.keyless.issuer", record.issuer.as_deref()),
        ("wasm.keyless.client", record.client()),
        ("wasm.keyless.subject", record.subject()),
        ("wasm.keyless.route", record.route.as_deref()),
        ("wasm.keyless.deployment", record.deployment.as_deref()),
    ];
    for (name, value) in state {
        if let Some(value) = value {
            stream.state(name, value);
        }
    }
}

/// Changes the head of the request; removes first, so that what fails leaves nothing half-set.
fn edit(stream: &Stream<'_>, forward: &Forward) -> Result<(), Refused> {
    for name in &forward.remove {
        stream.remove(Map::RequestHeaders, name)?;
    }
    if let Some(target) = &forward.target {
        stream.set(Map::RequestHeaders, ":path", target)?;
    }
    for (name, value) in &forward.set {
        stream.set(Map::RequestHeaders, name.as_str(), value.expose().as_bytes())?;
    }
    // Envoy looks for the route again, which may depend on the verdict and on what was changed.
    stream.clear_route_cache();
    Ok(())
}
