//! Routes and grants: which requests, and who may make them.

use std::collections::BTreeMap;

use super::claims::ClaimValueEntry;
use super::document::{GrantEntry, Object, RouteEntry};
use super::text::{Claim, Header, NonEmpty, Path, Place, Text, Word as _};
use super::{Error, Names, known, numbered};
use crate::http::HeaderName;
use crate::identity::IdentityIndex;
use crate::jwt::EntryIndex;
use crate::jwt::{ClaimName, ClaimValue};
use crate::policy::{Access, DeploymentPlace, Grant, PathPattern, Route};

/// Converts an entry of `routes`, given what it may name.
pub(super) fn route(
    place: &str,
    Object(mut entry): Object<RouteEntry>,
    names: &Names,
) -> Result<Route, Error> {
    let Object(matching) = entry.matching;
    let path = matching.path.0;
    let deployment = deployment_place(place, entry.deployment, &path)?;
    let allow = entry.allow.take();
    let extra = [
        ("allow", allow.is_some()),
        ("identity", entry.identity.is_some()),
        ("forward_claims", !entry.forward_claims.is_empty()),
        ("deployment", deployment == DeploymentPlace::Body),
        ("public", entry.health && entry.public),
        ("cors", entry.health && entry.cors),
    ];
    let access = match (entry.health, entry.public, allow) {
        (true, _, _) => {
            bare(place, extra, "a health route, wanted none: the gateway itself answers")?;
            Access::Health
        }
        (false, true, _) => {
            bare(place, extra, "a public route, wanted none: it asks for no token")?;
            Access::Public
        }
        (false, false, None) => {
            return Err(Error::at(place, "missing field `allow`: the route is not public"));
        }
        (false, false, Some(allow)) => Access::Granted {
            grants: numbered(&format!("{place}.allow"), allow.0, |place, _, grant| {
                self::grant(place, grant, names, deployment, &path)
            })?,
            identity: known(place, "identity", entry.identity, &names.identities)?
                .map(IdentityIndex),
            forward_claims: forwarded(place, entry.forward_claims)?,
        },
    };
    let hosts = matching.hosts.map_or_else(Vec::new, NonEmpty::into_values);
    Ok(Route {
        name: entry.name.0.into(),
        hosts,
        methods: matching.methods.into_values(),
        path,
        deployment,
        cors: entry.cors,
        access,
    })
}

fn grant(
    place: &str,
    Object(entry): Object<GrantEntry>,
    names: &Names,
    deployment: DeploymentPlace,
    path: &PathPattern,
) -> Result<Grant, Error> {
    let is_named = path.names_deployment() || deployment == DeploymentPlace::Body;
    if entry.deployments.is_some() && !is_named {
        let problem = "found on a route whose `match.path` names none, wanted a segment \
                       {deployment} there, or \"body.model\" as the route's `deployment`";
        return Err(Error::at(format!("{place}.deployments"), problem));
    }
    Ok(Grant {
        issuer: known(place, "issuer", entry.issuer, &names.issuers)?.map(EntryIndex),
        clients: entry.clients.map_or_else(Vec::new, NonEmpty::into_values),
        scopes: entry.scopes.map_or_else(Vec::new, NonEmpty::into_values),
        roles: entry.roles.map_or_else(Vec::new, NonEmpty::into_values),
        claims: entry.claims.map_or(Ok(Vec::new()), |claims| wanted_claims(place, claims))?,
        deployments: entry.deployments.map_or_else(Vec::new, NonEmpty::into_values),
    })
}

/// A deployment in the path and another one in the body would leave open which of them counts.
fn deployment_place(
    place: &str,
    entry: Option<Text<Place>>,
    path: &PathPattern,
) -> Result<DeploymentPlace, Error> {
    let deployment = entry.map_or(DeploymentPlace::Path, |Text(place)| place);
    let problem = match deployment {
        DeploymentPlace::Path => return Ok(deployment),
        DeploymentPlace::Body if path.names_deployment() => {
            "found \"body.model\" on a route whose `match.path` names the deployment, wanted one of \
             the two"
                .to_owned()
        }
        DeploymentPlace::Body => match naming_a_deployment(path) {
            None => return Ok(deployment),
            Some(covered) => format!(
                "found \"body.model\" on a route whose `match.path` covers {covered}, where Azure \
                 goes by the path, wanted a narrower one, such as \"/openai/v1/{{*rest}}\""
            ),
        },
    };
    Err(Error::at(format!("{place}.deployment"), problem))
}

/// Returns what the pattern covers of the paths where Azure reads the deployment's name itself, in
/// whatever case.
fn naming_a_deployment(path: &PathPattern) -> Option<&str> {
    let lower = path.as_str().to_ascii_lowercase();
    let is_literal = lower.split('/').any(|segment| segment == "deployments");
    let covers = |one: &&str| Path::read(&lower).is_some_and(|path| path.matches(one).is_some());
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

/// A route with anything that only a token could satisfy, and that asks for none, is a mistake, not a
/// wish.
fn bare(place: &str, extra: [(&str, bool); 6], found_on: &str) -> Result<(), Error> {
    match extra.into_iter().find(|(_, present)| *present) {
        None => Ok(()),
        Some((key, _)) => Err(Error::at(format!("{place}.{key}"), format!("found on {found_on}"))),
    }
}

fn wanted_claims(
    place: &str,
    entries: BTreeMap<String, NonEmpty<ClaimValueEntry>>,
) -> Result<Vec<(ClaimName, Vec<ClaimValue>)>, Error> {
    if entries.is_empty() {
        let problem = "found an empty object, wanted at least one claim";
        return Err(Error::at(format!("{place}.claims"), problem));
    }
    let claim = |(name, NonEmpty(values)): (String, NonEmpty<ClaimValueEntry>)| {
        let wrong = || {
            let problem = format!("found {name:?}, wanted {}", Claim::WANTED);
            Error::at(format!("{place}.claims.{name}"), problem)
        };
        let values = values.into_iter().map(|value| value.0).collect();
        Ok((Claim::read(&name).ok_or_else(wrong)?, values))
    };
    entries.into_iter().map(claim).collect()
}

/// The headers that claims are forwarded in; names that differ in case only are one.
fn forwarded(
    place: &str,
    entries: BTreeMap<String, Text<Claim>>,
) -> Result<Vec<(HeaderName, ClaimName)>, Error> {
    let mut headers: Vec<(HeaderName, ClaimName)> = Vec::new();
    for (name, claim) in entries {
        let wrong = |problem| Error::at(format!("{place}.forward_claims.{name}"), problem);
        let header = Header::read(&name)
            .ok_or_else(|| wrong(format!("found {name:?}, wanted {}", Header::WANTED)))?;
        if headers.iter().any(|(earlier, _)| *earlier == header) {
            return Err(wrong("found the same header in another case, wanted it once".to_owned()));
        }
        headers.push((header, claim.0));
    }
    Ok(headers)
}
