//! What is legal and probably a mistake.

mod cover;

use keyless_core::config::Config;
use keyless_core::identity::IdentityIndex;
use keyless_core::policy::{Access, Grant};

/// Tells of everything that is probably not meant, with its place in the configuration.
pub(crate) fn of(config: &Config) -> Vec<String> {
    let mut doubts = unreachable(config);
    doubts.extend(unconditional(config));
    doubts.extend(unused(config));
    doubts
}

/// Routes that no request reaches, because earlier ones take all of theirs.
fn unreachable(config: &Config) -> Vec<String> {
    let routes = config.routes.iter().enumerate();
    let doubt = |(at, route)| {
        let earlier = cover::covering(config.routes.get(..at)?, route)?;
        let names: Vec<_> = earlier
            .into_iter()
            .map(|at| format!("routes[{at}] {}", config.routes[at].name))
            .collect();
        let (name, names) = (&config.routes[at].name, names.join(", "));
        Some(format!(
            "routes[{at}]: {name} is never reached: earlier, {names} takes all of its requests"
        ))
    };
    routes.filter_map(doubt).collect()
}

/// Grants that admit every token.
fn unconditional(config: &Config) -> Vec<String> {
    let mut doubts = Vec::new();
    for (at, route) in config.routes.iter().enumerate() {
        let Access::Granted { grants, .. } = &route.access else { continue };
        let free = grants.iter().enumerate().filter(|(_, grant)| is_unconditional(grant));
        doubts.extend(free.map(|(grant, _)| {
            let place = format!("routes[{at}].allow[{grant}]");
            format!("{place}: admits every token that an issuer's entry accepts")
        }));
    }
    doubts
}

fn is_unconditional(grant: &Grant) -> bool {
    let Grant { issuer, clients, scopes, roles, claims, deployments } = grant;
    issuer.is_none()
        && [clients, scopes, roles, deployments].into_iter().all(Vec::is_empty)
        && claims.is_empty()
}

/// Identities whose tokens are fetched for nobody.
fn unused(config: &Config) -> Vec<String> {
    let is_used = |identity: usize| {
        config.routes.iter().any(|route| match &route.access {
            Access::Granted { identity: used, .. } => *used == Some(IdentityIndex(identity)),
            Access::Health | Access::Public => false,
        })
    };
    let identities = config.identities.iter().enumerate();
    let unused = identities.filter(|(at, _)| !is_used(*at));
    unused.map(|(_, one)| format!("identities.{}: no route uses it", one.name)).collect()
}
