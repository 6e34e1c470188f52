//! Limits: who may use how much, how many counters are kept, and where a fleet counts.

use std::time::Duration;

use super::document::{GrantEntry, LedgerEntry, LimitEntry, WhenEntry};
use super::entry::{Entry, NonEmpty, Object};
use super::scalars::{Reserve, Text};
use super::{Error, Errors, Names, known, routes, unexpected};
use crate::limit::{Amount, Limit, Tag, TokenCount};
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
    let amount = errors.check(amount(path, &entry));
    let reserve = errors.check(reserve(path, &entry));
    let when = entry.when.map(|Object(when)| when);
    let (when, routes) = when.map_or_else(Default::default, |entry| {
        when_holds(&format!("{path}.when"), entry, names, route_names, errors)
    });
    let (name, amount, window) = (entry.name.0, amount?, entry.window.0);
    Some(Limit {
        tag: Tag::of(&name, amount, window),
        name: name.into(),
        per: entry.per.map_or_else(Vec::new, NonEmpty::into_values),
        per_claims: entry.per_claims.map_or_else(Vec::new, NonEmpty::into_values),
        when,
        routes,
        amount,
        window,
        reserve: reserve?,
        report_only: entry.report_only,
    })
}

/// What is set aside for each request, in what its limit counts in.
fn reserve(path: &str, entry: &LimitEntry) -> Result<u64, Error> {
    let wrong = |expected, found| Err(Error::new(format!("{path}.reserve"), expected, found));
    let cost = entry.cost.as_ref().map(|Text(cost)| *cost);
    let tokens = entry.tokens.as_ref().map(|tokens| tokens.0);
    match (entry.reserve.as_ref(), tokens, cost) {
        (None, ..) => Ok(0),
        (Some(Reserve::Tokens(reserve)), Some(tokens), _) if *reserve <= tokens => {
            Ok(u64::try_from(*reserve).unwrap_or(u64::MAX))
        }
        (Some(Reserve::Tokens(reserve)), Some(_), _) => {
            wrong("not more than `tokens`", reserve.to_string())
        }
        (Some(Reserve::Cost(reserve)), None, Some(cost)) if *reserve <= cost => {
            Ok(Amount::Cost(*reserve).most())
        }
        (Some(Reserve::Cost(reserve)), None, Some(_)) => {
            wrong("not more than `cost`", reserve.to_string())
        }
        (Some(Reserve::Cost(_)), Some(_), _) => wrong("a number of tokens", "a text".to_owned()),
        (Some(Reserve::Tokens(reserve)), None, Some(_)) => {
            wrong("a decimal text such as \"0.05\"", reserve.to_string())
        }
        (Some(_), None, None) => {
            wrong("no such key on a limit that is not of `tokens` or `cost`", "one".to_owned())
        }
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
