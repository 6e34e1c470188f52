//! Limits that do not limit what they seem to.

use std::collections::BTreeSet;

use keyless_core::config::Config;
use keyless_core::limit::{Amount, Limit, Per};
use keyless_core::policy::{Access, Route, RouteIndex};

use super::{Kind, Warning};

/// What is probably a mistake about a limit.
type Said = (Kind, String);

/// Returns what is probably a mistake about limits.
pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (at, limit) in config.limits.iter().enumerate() {
        let said = [unmet(config, limit), by_subject(limit), unnamed(config, limit)];
        let said = said.into_iter().flatten().chain(unpriced(config, limit));
        warnings.extend(said.map(|(kind, text)| {
            Warning::new(kind, format!("limits[{at}]"), format_args!("{} {text}", limit.name))
        }));
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

fn unmet(config: &Config, limit: &Limit) -> Option<Said> {
    let kind = match limit.amount {
        Amount::Requests(_) => "that asks for a token",
        Amount::Cost(_) | Amount::Tokens(..) => "that asks for a token and has `usage`",
    };
    let is_met = counted(config, limit).next().is_some();
    (!is_met)
        .then(|| (Kind::LimitCountsNothing, format!("counts nothing: it is for no route {kind}")))
}

fn by_subject(limit: &Limit) -> Option<Said> {
    let of_one = limit.per.contains(&Per::Issuer) || limit.when.issuer.is_some();
    let warning = "counts by subject without issuer";
    (limit.per.contains(&Per::Subject) && !of_one)
        .then(|| (Kind::LimitBySubjectOfAnyIssuer, warning.to_owned()))
}

fn unnamed(config: &Config, limit: &Limit) -> Option<Said> {
    let by_deployment = limit.per.contains(&Per::Deployment) || !limit.when.deployments.is_empty();
    let is_unnamed = |route: &&Route| !route.names_deployment();
    let route = counted(config, limit).find(is_unnamed).filter(|_| by_deployment)?;
    let found =
        format!("looks at the deployment, which requests on the route {} do not name", route.name);
    Some((Kind::LimitByUnnamedDeployment, found))
}

/// A deployment without a price costs nothing.
fn unpriced(config: &Config, limit: &Limit) -> Vec<Said> {
    if !matches!(limit.amount, Amount::Cost(_)) {
        return Vec::new();
    }
    let known: BTreeSet<_> = config.prices.deployments().map(str::to_ascii_lowercase).collect();
    if known.is_empty() {
        let found = "counts nothing: there are no `prices`".to_owned();
        return vec![(Kind::LimitCountsNothing, found)];
    }
    let named = counted(config, limit).flat_map(named).map(str::to_ascii_lowercase);
    let missing: BTreeSet<_> = named.filter(|name| !known.contains(name)).collect();
    let text = |name| {
        let found = format!("does not count the deployment {name}, which has no price");
        (Kind::LimitWithoutPrice, found)
    };
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
