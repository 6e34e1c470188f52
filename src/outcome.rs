//! Carries out what the gate decided: changes the request, or sends a local reply.

use keyless_core::denial::Denial;
use keyless_core::gate::{Decided, Decision, Forward, Record};
use keyless_core::http::Reply;
use keyless_core::identity::IdentityIndex;
use keyless_core::limit::Allowance;
use proxy_wasm::hostcalls;
use proxy_wasm::types::{Action, MapType, Status};

use crate::accounting::Accounting;
use crate::wake_root;

/// What was done to a request.
pub(crate) struct Applied {
    pub(crate) action: Action,
    /// The identity whose token the request carries.
    pub(crate) identity: Option<IdentityIndex>,
    /// The account of its answer.
    pub(crate) accounting: Option<Accounting>,
    /// What is left of limits, for the head of the answer.
    pub(crate) allowances: Vec<Allowance>,
    pub(crate) record: Record,
    pub(crate) verdict: &'static str,
}

/// Carries out a decision on the stream of the effective context. A request that cannot be changed
/// as decided is refused: it might still carry its caller's credential.
pub(crate) fn apply(decided: Decided) -> Applied {
    let Decided { decision, mut record } = decided;
    let verdict = decision.verdict();
    let (mut identity, mut accounting, mut allowances) = (None, None, Vec::new());
    let action = match decision {
        Decision::Deny(reply) => send(&reply),
        Decision::Forward(forward) => {
            if edit(&forward).is_err() {
                return fail(record);
            }
            let Ok(begun) = forward.account.map(Accounting::begin).transpose() else {
                return fail(record);
            };
            (identity, accounting) = (forward.identity, begun);
            allowances = forward.allowances;
            Action::Continue
        }
        Decision::Respond(reply) => {
            // A probe may have found that something is to be fetched.
            wake_root();
            send(&reply)
        }
        Decision::Wait(_) => {
            wake_root();
            record.reason = "waiting";
            Action::Pause
        }
    };
    Applied { action, identity, accounting, allowances, record, verdict }
}

/// Refuses a request because the host did not do what it takes to let it go on.
pub(crate) fn fail(mut record: Record) -> Applied {
    let denial = Denial::GatewayError;
    record.reason = denial.code();
    let action = send(&denial.reply());
    let (identity, accounting, allowances) = (None, None, Vec::new());
    Applied { action, identity, accounting, allowances, record, verdict: "refused" }
}

/// Writes what operators see to filter state, as `wasm.keyless.…`.
pub(crate) fn record(verdict: &str, record: &Record) {
    let state = [
        ("keyless.verdict", Some(verdict)),
        ("keyless.reason", Some(record.reason)),
        ("keyless.issuer", record.issuer.as_deref()),
        ("keyless.client", record.client()),
        ("keyless.subject", record.subject()),
        ("keyless.route", record.route.as_deref()),
        ("keyless.deployment", record.deployment.as_deref()),
    ];
    for (name, value) in state {
        if let Some(value) = value {
            _ = hostcalls::set_property(vec![name], Some(value.as_bytes()));
        }
    }
}

/// Sends a local reply.
pub(crate) fn send(reply: &Reply) -> Action {
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    _ = hostcalls::send_http_response(reply.status.into(), headers, Some(reply.body.as_bytes()));
    Action::Pause
}

/// Changes the head of the request; removes first, so that what fails leaves nothing half-set.
fn edit(forward: &Forward) -> Result<(), Status> {
    let set = |name: &str, value: &[u8]| {
        hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value))
    };
    for name in &forward.remove {
        remove(name)?;
    }
    if let Some(target) = &forward.target {
        set(":path", target)?;
    }
    for (name, value) in &forward.set {
        set(name.as_str(), value.expose().as_bytes())?;
    }
    if forward.is_unchanged() {
        // Each change makes Envoy look for the route again, which may depend on the verdict.
        _ = hostcalls::call_foreign_function("clear_route_cache", None);
    }
    Ok(())
}

fn remove(name: &str) -> Result<(), Status> {
    #[cfg(feature = "chaos")]
    if crate::chaos::keeps_headers() {
        return Err(Status::InternalFailure);
    }
    hostcalls::remove_map_value(MapType::HttpRequestHeaders, name)
}
