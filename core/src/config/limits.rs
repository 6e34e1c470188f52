//! Limits: who may use how much, how many counters are kept, and where a fleet counts.

use std::time::Duration;

use super::document::{GrantEntry, LedgerEntry, LimitEntry, WhenEntry};
use super::entry::{Entry, NonEmpty, Object};
use super::scalars::Text;
use super::{Error, Errors, Names, known, routes, unexpected};
use crate::limit::{Amount, Limit, TokenCount};
use crate::policy::{Grant, RouteIndex};
use crate::settle::{Fleet, Unavailable};

/// How many counters a proxy keeps unless the configuration says it.
const ENTRIES: usize = 65_536;

/// What the limits are in the service of a fleet, unless the configuration says it.
const DOMAIN: &str = "keyless";

/// How often a fleet settles, and how long a call may take, unless the configuration says it.
const SETTLE: Duration = Duration::from_secs(1);

/// Converts an entry of `limits`, given what it may name.
pub(super) fn limit(
    path: &str,
    entry: Entry<LimitEntry>,
    names: &Names,
    route_names: &[Option<String>],
    errors: &mut Errors,
) -> Option<Limit> {
    let entry = entry.read(path, errors)?;
    let amount = amount(path, &entry);
    let amount = errors.check(amount);
    let reserve = errors.check(reserve(path, &entry));
    let when = entry.when.map(|Object(when)| when);
    let (when, routes) = when.map_or_else(Default::default, |entry| {
        when_holds(&format!("{path}.when"), entry, names, route_names, errors)
    });
    Some(Limit {
        name: entry.name.0.into(),
        per: entry.per.map_or_else(Vec::new, NonEmpty::into_values),
        per_claims: entry.per_claims.map_or_else(Vec::new, NonEmpty::into_values),
        when,
        routes,
        amount: amount?,
        window: entry.window.0,
        reserve: reserve?,
        report_only: entry.report_only,
    })
}

fn reserve(path: &str, entry: &LimitEntry) -> Result<u64, Error> {
    let Some(super::Count(reserve)) = entry.reserve else { return Ok(0) };
    let path = format!("{path}.reserve");
    match &entry.tokens {
        Some(tokens) if reserve <= tokens.0 => Ok(u64::try_from(reserve).unwrap_or(u64::MAX)),
        Some(_) => Err(Error::new(path, "not more than `tokens`", reserve)),
        None => Err(Error::new(path, "no such key on a limit that is not of `tokens`", "one")),
    }
}

fn amount(path: &str, entry: &LimitEntry) -> Result<Amount, Error> {
    let wide = |count: &super::Count| u64::try_from(count.0).unwrap_or(u64::MAX);
    if entry.count.is_some() && entry.tokens.is_none() {
        let expected = "no such key on a limit that is not of `tokens`";
        return Err(Error::new(format!("{path}.count"), expected, "one"));
    }
    match (&entry.requests, &entry.tokens, &entry.cost) {
        (Some(requests), None, None) => Ok(Amount::Requests(wide(requests))),
        (None, Some(tokens), None) => {
            let count = entry.count.as_ref().map_or(TokenCount::Total, |Text(count)| *count);
            Ok(Amount::Tokens(wide(tokens), count))
        }
        (None, None, Some(Text(cost))) => Ok(Amount::Cost(*cost)),
        (None, None, None) => {
            Err(Error::new(path, "one of `requests`, `tokens`, `cost`", "none of them"))
        }
        _ => Err(Error::new(path, "one of `requests`, `tokens`, `cost`", "several")),
    }
}

/// The conditions under which a limit is for a request. A deployment is the same in any case, so that
/// nobody gets around a limit by writing it another way.
fn when_holds(
    path: &str,
    entry: WhenEntry,
    names: &Names,
    route_names: &[Option<String>],
    errors: &mut Errors,
) -> (Grant, Vec<RouteIndex>) {
    let mut routes = Vec::new();
    for name in entry.routes.map_or_else(Vec::new, |names| names.0) {
        let route = errors.check(known(path, "routes", Some(name), route_names)).flatten();
        routes.extend(route.map(RouteIndex));
    }
    let WhenEntry { issuer, clients, scopes, roles, claims, deployments, .. } = entry;
    let grant = GrantEntry { issuer, clients, scopes, roles, claims, deployments };
    let mut grant = routes::grant(path, grant, names, true, errors);
    for deployment in &mut grant.deployments {
        deployment.make_ascii_lowercase();
    }
    (grant, routes)
}

/// Converts `ledger`: how many counters are kept, and where a fleet counts.
pub(super) fn ledger(
    entry: Option<Entry<LedgerEntry>>,
    errors: &mut Errors,
) -> (usize, Option<Fleet>) {
    let entry = entry.and_then(|entry| entry.read("ledger", errors));
    let Some(entry) = entry else { return (ENTRIES, None) };
    let entries = entry.entries.as_ref().map_or(ENTRIES, |count| count.0);
    if !(1024..=1_048_576).contains(&entries) {
        let expected = "a whole number from 1024 to 1048576";
        errors.add(Error::new("ledger.entries", expected, entries));
    }
    let LedgerEntry { cluster, domain, settle, timeout, unavailable, .. } = entry;
    let Some(Text(cluster)) = cluster else {
        let keys = [
            ("domain", domain.is_some()),
            ("settle", settle.is_some()),
            ("timeout", timeout.is_some()),
            ("unavailable", unavailable.is_some()),
        ];
        unexpected("ledger", keys, "no such key without `cluster`", errors);
        return (entries, None);
    };
    let fleet = Fleet {
        cluster,
        domain: domain.map_or_else(|| DOMAIN.to_owned(), |Text(domain)| domain),
        interval: settle.map_or(SETTLE, |Text(interval)| interval),
        timeout: timeout.map_or(SETTLE, |Text(timeout)| timeout),
        unavailable: unavailable.map_or(Unavailable::Count, |Text(unavailable)| unavailable),
    };
    (entries, Some(fleet))
}
