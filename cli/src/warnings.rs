//! What is valid and probably a mistake.

mod limits;
mod shadowing;

use keyless_core::config::Config;
use keyless_core::identity::IdentityIndex;
use keyless_core::policy::{Access, Grant};

/// Returns everything that is valid and probably a mistake, with its place in the configuration.
pub(crate) fn of(config: &Config) -> Vec<String> {
    let mut warnings = unreachable(config);
    warnings.extend(unconditional(config));
    warnings.extend(unused(config));
    warnings.extend(limits::of(config));
    warnings
}

/// Routes that no request reaches, because earlier ones match all of theirs.
fn unreachable(config: &Config) -> Vec<String> {
    let routes = config.routes.iter().enumerate();
    let warning = |(at, route)| {
        let earlier = shadowing::shadowing(config.routes.get(..at)?, route)?;
        let names: Vec<_> = earlier
            .into_iter()
            .map(|at| format!("routes[{at}] {}", config.routes[at].name))
            .collect();
        let (name, names) = (&config.routes[at].name, names.join(", "));
        Some(format!("routes[{at}]: {name} is unreachable: shadowed by {names}"))
    };
    routes.filter_map(warning).collect()
}

/// Grants without a condition.
fn unconditional(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for (at, route) in config.routes.iter().enumerate() {
        let Access::Granted { grants, .. } = &route.access else { continue };
        let free = grants.iter().enumerate().filter(|(_, grant)| is_unconditional(grant));
        warnings.extend(free.map(|(grant, _)| {
            let place = format!("routes[{at}].allow[{grant}]");
            format!("{place}: has no condition and allows every valid token of any issuer")
        }));
    }
    warnings
}

fn is_unconditional(grant: &Grant) -> bool {
    let Grant { issuer, clients, scopes, roles, claims, deployments } = grant;
    issuer.is_none()
        && [clients, scopes, roles, deployments].into_iter().all(Vec::is_empty)
        && claims.is_empty()
}

/// Identities that no route uses.
fn unused(config: &Config) -> Vec<String> {
    let is_used = |identity: usize| {
        config.routes.iter().any(|route| match &route.access {
            Access::Granted { identity: used, .. } => *used == Some(IdentityIndex(identity)),
            Access::Health | Access::Public => false,
        })
    };
    let identities = config.identities.iter().enumerate();
    let unused = identities.filter(|(at, _)| !is_used(*at));
    unused.map(|(_, one)| format!("identities.{}: unused: no route names it", one.name)).collect()
}
