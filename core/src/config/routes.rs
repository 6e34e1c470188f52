//! Routes and grants: which requests, and who may make them.

mod deployments;

use std::collections::BTreeMap;

use super::claim_value::ClaimValueEntry;
use super::document::{GrantEntry, PassEntry, RouteEntry};
use super::entry::{Entry, NonEmpty, Object};
use super::scalars::{self, Claim, HEADER, Scalar as _, Text};
use super::{Error, Errors, Names, known, numbered, unexpected};
use crate::bearer::{API_KEY_HEADERS, CredentialPlace};
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
    let paths = matching.path.into_values();
    let deployment = entry.deployment.map_or(DeploymentPlace::Path, |Text(place)| place);
    let methods = matching.methods.into_values();
    errors.check(deployments::check_place(path, deployment, &paths, &methods));
    let extra = [
        ("allow", entry.allow.is_some()),
        ("identity", entry.identity.is_some()),
        ("forward_claims", !entry.forward_claims.is_empty()),
        ("deployment", deployment != DeploymentPlace::Path),
        ("deployment_header", entry.deployment_header.is_some()),
        ("deployments", entry.deployments.is_some()),
        ("credential", entry.credential.is_some()),
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
        let is_named =
            deployment != DeploymentPlace::Path || paths.iter().all(PathPattern::names_deployment);
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
    let route = Route {
        name: entry.name.0.into(),
        hosts: matching.hosts.map_or_else(Vec::new, NonEmpty::into_values),
        methods,
        paths,
        deployment,
        deployment_header: entry.deployment_header.map(|Text(header)| header),
        deployments: entry.deployments.map_or_else(Vec::new, NonEmpty::into_values),
        credential: entry
            .credential
            .map_or_else(|| vec![CredentialPlace::Authorization], NonEmpty::into_values),
        cors: entry.cors,
        pass: entry.pass.map_or_else(Pass::default, |Object(entry)| pass(entry)),
        counting: entry.usage.map(|Text(counting)| counting),
        access,
    };
    deployments::check(path, &route, errors);
    check_passed(path, &route, errors);
    Some(route)
}

/// A header that may hold the caller's token must not go on to the backend.
fn check_passed(path: &str, route: &Route, errors: &mut Errors) {
    let may_hold_token = |name: &HeaderName| {
        route.credential.contains(&CredentialPlace::ApiKey)
            && API_KEY_HEADERS.contains(&name.as_str())
    };
    for name in route.pass.headers.iter().filter(|name| may_hold_token(name)) {
        let expected = "no header that may hold the token, as \"api-key\" in `credential` says";
        errors.add(Error::new(format!("{path}.pass.headers"), expected, name.as_str()));
    }
}

/// Converts a grant; `is_named` says that requests of its route name a deployment.
pub(super) fn grant(
    path: &str,
    entry: GrantEntry,
    names: &Names,
    is_named: bool,
    errors: &mut Errors,
) -> Grant {
    if entry.deployments.is_some() && !is_named {
        errors.add(Error::new(format!("{path}.deployments"), deployments::NAMED, "neither"));
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
