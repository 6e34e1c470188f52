//! What a probe is told: whether everything is at hand that requests need.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::Record;
use super::identities::{Failing, Identities};
use super::issuers::Issuers;
use crate::http::Reply;

/// Answers a probe: 200 if every issuer's keys and every identity's token are held, else 503, and by
/// name which are; of an identity whose last fetch failed, also what failed.
pub(super) fn reply(
    issuers: &Issuers,
    identities: &Identities,
    record: &mut Record,
    now: SystemTime,
) -> Reply {
    let issuers = by_name(issuers.readiness(now));
    let all_failing = identities.failing().map(|(name, failing)| (name.to_owned(), told(failing)));
    let identities = by_name(identities.readiness(now));
    let is_ready = issuers.values().chain(identities.values()).all(|is_ready| *is_ready);
    record.reason = if is_ready { "ready" } else { "not_ready" };
    let mut body = json!({"ready": is_ready, "issuers": issuers, "identities": identities});
    let mut failing = Map::new();
    failing.extend(all_failing);
    if let (false, Some(members)) = (failing.is_empty(), body.as_object_mut()) {
        members.insert("failing".to_owned(), json!({ "identities": failing }));
    }
    let mut reply = Reply::json(if is_ready { 200 } else { 503 }, body.to_string());
    reply.headers.push(("cache-control", "no-store".to_owned()));
    reply
}

/// What is known of a failure, in fixed words.
fn told(failing: Failing) -> Value {
    let step = failing.step.map(|step| ("step", step.as_str()));
    let known = step.into_iter().chain(failing.result.map(|result| ("result", result)));
    let mut members = Map::new();
    members.extend(known.map(|(name, word)| (name.to_owned(), word.into())));
    Value::Object(members)
}

/// The tenants of an entry share its name; it is ready if all of them are.
fn by_name<'a>(all: impl Iterator<Item = (&'a str, bool)>) -> BTreeMap<&'a str, bool> {
    let mut found = BTreeMap::new();
    for (name, is_ready) in all {
        *found.entry(name).or_insert(true) &= is_ready;
    }
    found
}
