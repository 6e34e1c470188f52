//! Routes and grants: which requests, and who may make them.

use std::collections::BTreeMap;

use super::claim_value::ClaimValueEntry;
use super::document::{GrantEntry, PassEntry, RouteEntry};
use super::entry::{Entry, NonEmpty, Object};
use super::scalars::{self, Claim, HEADER, Scalar as _, Text};
use super::{Error, Errors, Names, known, numbered, unexpected};
use crate::credentials::Pass;
use crate::http::HeaderName;
use crate::identity::IdentityIndex;
use crate::jwt::{ClaimName, ClaimValue, EntryIndex};
use crate::policy::{Access, DeploymentPlace, Grant, PathPattern, Route};

/// Converts an entry of `routes`, given what it may name.
pub(super) fn route(
    path: &str,
    entry: Entry<RouteEntry>,
    names: &Names,
    errors: &mut Errors,
) -> Option<Route> {
    // Before the route itself, so that a mistake in it hides none in its grants.
    let grants = entry.items("allow");
    let grants = numbered(&format!("{path}.allow"), grants, errors, |path, _, entry, errors| {
        Some((path.to_owned(), entry.read(path, errors)?))
    });
    let entry = entry.read(path, errors)?;
    let Object(matching) = entry.matching;
    let pattern = matching.path.0;
    let deployment = entry.deployment.map_or(DeploymentPlace::Path, |Text(place)| place);
    errors.check(check_deployment(path, deployment, &pattern));
    let extra = [
        ("allow", entry.allow.is_some()),
        ("identity", entry.identity.is_some()),
        ("forward_claims", !entry.forward_claims.is_empty()),
        ("deployment", deployment == DeploymentPlace::Body),
        ("public", entry.health && entry.public),
        ("cors", entry.health && entry.cors),
        ("pass", entry.health && entry.pass.is_some()),
        ("usage", entry.health && entry.usage.is_some()),
    ];
    // Only a token could satisfy these, and such a route asks for none.
    let access = if entry.health {
        let expected = "no such key on a health route, which the gateway itself answers";
        unexpected(path, extra, expected, errors);
        Access::Health
    } else if entry.public {
        unexpected(path, extra, "no such key on a public route, which needs no token", errors);
        Access::Public
    } else {
        if entry.allow.is_none() {
            errors.add(Error::new(path, "one of `allow`, `public`, `health`", "none of them"));
        }
        let is_named = pattern.names_deployment() || deployment == DeploymentPlace::Body;
        let grants = grants.into_iter().flatten();
        let grant = |(path, entry): (String, _)| grant(&path, entry, names, is_named, errors);
        Access::Granted {
            grants: grants.map(grant).collect(),
            identity: errors
                .check(known(path, "identity", entry.identity, &names.identities))
                .flatten()
                .map(IdentityIndex),
            forward_claims: forwarded(path, entry.forward_claims, errors),
        }
    };
    Some(Route {
        name: entry.name.0.into(),
        hosts: matching.hosts.map_or_else(Vec::new, NonEmpty::into_values),
        methods: matching.methods.into_values(),
        path: pattern,
        deployment,
        cors: entry.cors,
        pass: entry.pass.map_or_else(Pass::default, |Object(entry)| pass(entry)),
        counting: entry.usage.map(|Text(counting)| counting),
        access,
    })
}

/// Converts a grant; `is_named` says that requests of its route name a deployment.
fn grant(
    path: &str,
    entry: GrantEntry,
    names: &Names,
    is_named: bool,
    errors: &mut Errors,
) -> Grant {
    if entry.deployments.is_some() && !is_named {
        let expected = "a segment {deployment} in `match.path`, or \"body.model\" as the route's \
                        `deployment`";
        errors.add(Error::new(format!("{path}.deployments"), expected, "neither"));
    }
    Grant {
        issuer: errors
            .check(known(path, "issuer", entry.issuer, &names.issuers))
            .flatten()
            .map(EntryIndex),
        clients: entry.clients.map_or_else(Vec::new, NonEmpty::into_values),
        scopes: entry.scopes.map_or_else(Vec::new, NonEmpty::into_values),
        roles: entry.roles.map_or_else(Vec::new, NonEmpty::into_values),
        claims: entry.claims.map_or_else(Vec::new, |claims| conditions(path, claims, errors)),
        deployments: entry.deployments.map_or_else(Vec::new, NonEmpty::into_values),
    }
}

/// A deployment in the path and another one in the body would leave open which of them counts.
fn check_deployment(
    path: &str,
    deployment: DeploymentPlace,
    pattern: &PathPattern,
) -> Result<(), Error> {
    let path = format!("{path}.deployment");
    match deployment {
        DeploymentPlace::Path => Ok(()),
        DeploymentPlace::Body if pattern.names_deployment() => {
            let expected = "the deployment in `match.path` or in the body";
            Err(Error::new(path, expected, "it in both"))
        }
        DeploymentPlace::Body => naming_a_deployment(pattern).map_or(Ok(()), |covered| {
            let expected = "a narrower `match.path` beside \"body.model\", such as \
                            \"/openai/v1/{*rest}\"";
            let found =
                format!("one that covers {covered}, where Azure reads the deployment in the path");
            Err(Error::new(path, expected, found))
        }),
    }
}

/// Returns what the pattern covers of the paths where Azure reads the deployment's name itself, in
/// whatever case.
fn naming_a_deployment(path: &PathPattern) -> Option<&str> {
    let lower = path.as_str().to_ascii_lowercase();
    let is_literal = lower.split('/').any(|segment| segment == "deployments");
    let covers =
        |one: &&str| PathPattern::parse(&lower).is_some_and(|path| path.matches(one).is_some());
    let covered = || NAMING_DEPLOYMENTS.into_iter().find(covers);
    if is_literal { Some(path.as_str()) } else { covered() }
}

/// Paths of Azure OpenAI that name a deployment, in each length that there is.
const NAMING_DEPLOYMENTS: [&str; 4] = [
    "/openai/deployments/gpt",
    "/openai/deployments/gpt/embeddings",
    "/openai/deployments/gpt/chat/completions",
    "/openai/deployments/gpt/extensions/chat/completions",
];

/// The conditions of a grant on claims.
fn conditions(
    path: &str,
    entries: BTreeMap<String, NonEmpty<ClaimValueEntry>>,
    errors: &mut Errors,
) -> Vec<(ClaimName, Vec<ClaimValue>)> {
    if entries.is_empty() {
        let path = format!("{path}.claims");
        errors.add(Error::new(path, "at least one claim", "an empty object"));
    }
    let mut conditions = Vec::new();
    for (name, NonEmpty(values)) in entries {
        let Some(claim) = Claim::parse(&name) else {
            let path = format!("{path}.claims.{name}");
            errors.add(Error::new(path, Claim::EXPECTED, format_args!("{name:?}")));
            continue;
        };
        conditions.push((claim, values.into_iter().map(|value| value.0).collect()));
    }
    conditions
}

fn pass(entry: PassEntry) -> Pass {
    let PassEntry { cookies, headers } = entry;
    Pass {
        cookies: cookies.map_or_else(Vec::new, NonEmpty::into_values),
        headers: headers.map_or_else(Vec::new, NonEmpty::into_values),
    }
}

/// The headers that claims are forwarded in; names that differ in case only are one.
fn forwarded(
    path: &str,
    entries: BTreeMap<String, Text<Claim>>,
    errors: &mut Errors,
) -> Vec<(HeaderName, ClaimName)> {
    let mut headers: Vec<(HeaderName, ClaimName)> = Vec::new();
    for (name, claim) in entries {
        let path = format!("{path}.forward_claims.{name}");
        match scalars::header(&name) {
            None => errors.add(Error::new(path, HEADER, format_args!("{name:?}"))),
            Some(header) if headers.iter().any(|(earlier, _)| *earlier == header) => {
                errors.add(Error::new(path, "each header once", "it again in another case"));
            }
            Some(header) => headers.push((header, claim.0)),
        }
    }
    headers
}
