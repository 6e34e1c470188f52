//! Limits that do not limit what they seem to.

use std::collections::BTreeSet;

use keyless_core::config::Config;
use keyless_core::limit::{Amount, Limit, Per};
use keyless_core::policy::{Access, Route, RouteIndex};

/// Returns what is probably a mistake about limits, with its place.
pub(super) fn of(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for (at, limit) in config.limits.iter().enumerate() {
        let said = [unmet(config, limit), by_subject(limit), unnamed(config, limit)];
        let said = said.into_iter().flatten().chain(unpriced(config, limit));
        warnings.extend(said.map(|text| format!("limits[{at}]: {} {text}", limit.name)));
    }
    warnings
}

/// The routes whose requests the limit counts.
fn counted<'a>(config: &'a Config, limit: &'a Limit) -> impl Iterator<Item = &'a Route> {
    let routes = config.routes.iter().enumerate();
    routes.filter_map(|(at, route)| {
        let is_named = limit.routes.is_empty() || limit.routes.contains(&RouteIndex(at));
        let is_read = match limit.amount {
            Amount::Requests(_) => true,
            Amount::Cost(_) | Amount::Tokens(..) => route.counting.is_some(),
        };
        let is_granted = matches!(route.access, Access::Granted { .. });
        (is_named && is_read && is_granted).then_some(route)
    })
}

fn unmet(config: &Config, limit: &Limit) -> Option<String> {
    let kind = match limit.amount {
        Amount::Requests(_) => "that asks for a token",
        Amount::Cost(_) | Amount::Tokens(..) => "that asks for a token and has `usage`",
    };
    let is_met = counted(config, limit).next().is_some();
    (!is_met).then(|| format!("counts nothing: it is for no route {kind}"))
}

fn by_subject(limit: &Limit) -> Option<String> {
    let of_one = limit.per.contains(&Per::Issuer) || limit.when.issuer.is_some();
    let warning =
        "counts by subject without issuer: two issuers may use one subject for two callers";
    (limit.per.contains(&Per::Subject) && !of_one).then(|| warning.to_owned())
}

fn unnamed(config: &Config, limit: &Limit) -> Option<String> {
    let by_deployment = limit.per.contains(&Per::Deployment) || !limit.when.deployments.is_empty();
    let is_unnamed = |route: &&Route| !route.names_deployment();
    let route = counted(config, limit).find(is_unnamed).filter(|_| by_deployment)?;
    Some(format!("looks at the deployment, which requests on the route {} do not name", route.name))
}

/// A deployment without a price costs nothing.
fn unpriced(config: &Config, limit: &Limit) -> Vec<String> {
    if !matches!(limit.amount, Amount::Cost(_)) {
        return Vec::new();
    }
    let known: BTreeSet<_> = config.prices.deployments().map(str::to_ascii_lowercase).collect();
    if known.is_empty() {
        return vec!["counts nothing: there are no `prices`".to_owned()];
    }
    let named = counted(config, limit).flat_map(named).map(str::to_ascii_lowercase);
    let missing: BTreeSet<_> = named.filter(|name| !known.contains(name)).collect();
    let text = |name| format!("does not count the deployment {name}, which has no price");
    missing.into_iter().map(text).collect()
}

/// The deployments that a route or its grants name.
fn named(route: &Route) -> impl Iterator<Item = &str> {
    let grants = match &route.access {
        Access::Granted { grants, .. } => grants.as_slice(),
        Access::Health | Access::Public => &[],
    };
    let granted = grants.iter().flat_map(|grant| &grant.deployments);
    route.deployments.iter().chain(granted).map(String::as_str)
}
