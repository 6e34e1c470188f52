//! Routes: which requests, who may make them, with which upstream credential.

use keyless_core::bearer::CredentialPlace;
use keyless_core::config::Config;
use keyless_core::jwt::{ClaimName, ClaimValue, EntryIndex};
use keyless_core::policy::{Access, DeploymentPlace, Grant, HostPattern, PathPattern, Route};

use super::{Entry, joined};

pub(super) fn entries(config: &Config) -> Vec<Entry> {
    config.routes.iter().map(|route| (route.name.to_string(), lines(config, route))).collect()
}

fn lines(config: &Config, route: &Route) -> Vec<String> {
    let mut lines = matching(route);
    match route.deployment {
        DeploymentPlace::Body => lines.push("deployment: the model in the body".to_owned()),
        DeploymentPlace::Path => {}
        DeploymentPlace::Query => {
            lines.push("deployment: `deployment` or `model` in the query".to_owned());
        }
    }
    if !route.deployments.is_empty() {
        lines.push(format!("deployments: {}", joined(&route.deployments, "or")));
    }
    if let Some(header) = &route.deployment_header {
        lines.push(format!("header {}: the deployment, for Envoy's router", header.as_str()));
    }
    if route.credential != [CredentialPlace::Authorization] {
        let places: Vec<_> = route.credential.iter().map(|place| place.word().to_owned()).collect();
        lines.push(format!("token in: {}", joined(&places, "or")));
    }
    if route.cors {
        lines.push("CORS preflight: forwarded without a credential".to_owned());
    }
    match &route.access {
        Access::Health => {
            lines.push("health: answered by keyless".to_owned());
        }
        Access::Public => {
            lines.push("public: no token required, no upstream credential".to_owned());
        }
        Access::Granted { grants, identity, forward_claims } => {
            let identity = identity.and_then(|index| config.identities.get(index.0));
            let numbered = grants.iter().enumerate();
            lines.extend(numbered.map(|(at, one)| {
                let or = if at == 0 { "allow" } else { "or" };
                format!("{or} {}", grant(config, one))
            }));
            lines.push(match identity {
                Some(identity) => format!("upstream identity: {}", identity.name),
                None => "no upstream credential".to_owned(),
            });
            lines.extend(
                forward_claims
                    .iter()
                    .map(|(header, claim)| format!("header {}: claim {claim}", header.as_str())),
            );
        }
    }
    lines
}

/// Returns which requests a route matches, with a line for each path.
pub(crate) fn matching(route: &Route) -> Vec<String> {
    let hosts: Vec<_> = route.hosts.iter().map(host).collect();
    let hosts =
        if hosts.is_empty() { String::new() } else { format!(" on {}", joined(&hosts, "or")) };
    let methods = joined(&route.methods, "or");
    let numbered = route.paths.iter().enumerate();
    let line = |(at, path): (usize, &PathPattern)| {
        let start = if at == 0 { methods.as_str() } else { "or" };
        let end = if at == 0 { hosts.as_str() } else { "" };
        format!("{start} {}{end}", path.as_str())
    };
    numbered.map(line).collect()
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Below(suffix) => format!("*{suffix}"),
        HostPattern::Exact(name) => name.clone(),
    }
}

/// Returns the conditions of a grant.
pub(crate) fn grant(config: &Config, grant: &Grant) -> String {
    let mut conditions = Vec::new();
    let issuer = grant.issuer.and_then(|entry| issuer_name(config, entry));
    conditions.extend(issuer.map(|name| format!("issuer {name}")));
    let mut listed = |words: &str, list: &[String], word: &str| {
        if !list.is_empty() {
            let plural = if word == "and" && list.len() > 1 { "s" } else { "" };
            conditions.push(format!("{words}{plural} {}", joined(list, word)));
        }
    };
    listed("client", &grant.clients, "or");
    listed("scope", &grant.scopes, "and");
    listed("role", &grant.roles, "and");
    let claims = grant.claims.iter().map(|(name, values)| claim(name, values));
    conditions.extend(claims);
    if !grant.deployments.is_empty() {
        conditions.push(format!("deployment {}", joined(&grant.deployments, "or")));
    }
    if conditions.is_empty() {
        return "any valid token".to_owned();
    }
    conditions.join(", ")
}

/// Returns what a grant requires of a claim.
pub(crate) fn claim(name: &ClaimName, values: &[ClaimValue]) -> String {
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    format!("claim {name} {}", joined(&values, "or"))
}

/// The name of the entry at this place, which several tenants may share.
pub(crate) fn issuer_name(config: &Config, entry: EntryIndex) -> Option<&str> {
    config.issuers.iter().find(|issuer| issuer.entry == entry).map(|issuer| &*issuer.name)
}
