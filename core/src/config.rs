//! The plugin's configuration: bytes become a [`Config`], or an [`Error`] that names the place.
//!
//! It stands on top of the rooms whose types it makes, and none of them knows it. The shape of the
//! document is in [`document`], what one value may look like in [`text`]; here are the rules that
//! span several entries. The answer depends on the bytes alone, because every thread of a proxy
//! parses them for itself and must come to the same.

mod claims;
mod document;
mod identities;
mod issuers;
mod resource;
mod routes;
#[cfg(feature = "schema")]
mod schema;
mod text;

use std::collections::BTreeSet;
use std::fmt;

use crate::http::HeaderName;
use crate::identity::Identity;
use crate::jwt::{Issuer, Wanted};
use crate::metadata::ProtectedResource;
use crate::policy::{Access, Route};
use crate::token_cache::Limits;
use document::{Document, Object, TokenCacheEntry};
#[cfg(feature = "schema")]
pub use schema::schema;
use text::Count;

/// Holds a configuration that is sound as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who is trusted; at least one, and no two accept the same `iss`.
    pub issuers: Vec<Issuer>,
    /// The identities that routes name by their place in this list.
    pub identities: Vec<Identity>,
    /// At least one; the first that matches a request decides it.
    pub routes: Vec<Route>,
    /// Every header that a caller may not set: credentials, and what any route forwards claims in.
    pub stripped: Vec<HeaderName>,
    /// The claims that are worth keeping: any grant asks for them, or any route forwards them.
    pub claims: Wanted,
    /// How many verified tokens a thread remembers.
    pub token_cache: Limits,
    /// Nobody is refused for a fault of its own; what would be said is recorded.
    pub report_only: bool,
    /// What the gateway tells clients that do not know it.
    pub protected_resource: Option<ProtectedResource>,
}

/// Says what is wrong with a configuration, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    place: String,
    problem: String,
}

/// What a caller may never send on: its credentials for the backend.
const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "api-key", "ocp-apim-subscription-key"];

// A few thousand callers, each with a token of Entra's usual size, in about 20 MB for each thread.
const TOKEN_CACHE: Limits = Limits { max_entries: 4096, max_bytes: 32 << 20 };

impl Config {
    /// Parses the JSON document of the plugin's configuration.
    ///
    /// # Errors
    ///
    /// Returns the first [`Error`], be it in the document's shape or in its sense.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::try_from(Document::parse(bytes)?)
    }
}

impl Error {
    fn at(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for Error {}

impl TryFrom<Document> for Config {
    type Error = Error;

    fn try_from(document: Document) -> Result<Self, Error> {
        let entries = numbered("issuers", document.issuers.0, issuers::issuers)?;
        let of_entries = entries.iter().filter_map(|issuers| issuers.first());
        let issuer_names: Vec<_> = of_entries.map(|issuer| issuer.name.to_string()).collect();
        unique("issuers", "name", issuer_names.iter().map(String::as_str))?;
        let issuers = entries.concat();
        check_accepted(&issuers)?;
        let entries = document.identities.into_iter();
        let identities: Vec<_> = entries.map(identities::identity).collect::<Result<_, _>>()?;
        let names = Names {
            issuers: issuer_names,
            identities: identities.iter().map(|identity| identity.name.clone()).collect(),
        };
        let routes = numbered("routes", document.routes.0, |place, _, entry| {
            routes::route(place, entry, &names)
        })?;
        unique("routes", "name", routes.iter().map(|route| &*route.name))?;
        let stripped = stripped(&routes);
        let claims = claims(&routes);
        let token_cache = limits(document.token_cache);
        let protected_resource = document
            .protected_resource
            .map(|entry| resource::protected_resource(entry, &issuers, &routes));
        Ok(Self {
            issuers,
            identities,
            routes,
            stripped,
            claims,
            token_cache,
            report_only: document.report_only,
            protected_resource,
        })
    }
}

/// What routes and grants may name.
struct Names {
    issuers: Vec<String>,
    identities: Vec<String>,
}

/// Two issuers that accept the same `iss` would leave open whose keys count.
fn check_accepted(issuers: &[Issuer]) -> Result<(), Error> {
    for (at, issuer) in issuers.iter().enumerate() {
        let clash = issuers.iter().take(at).find_map(|earlier| {
            let iss = issuer.accepted.iter().find(|iss| earlier.accepted.contains(iss));
            iss.map(|iss| (iss, earlier.entry.0))
        });
        if let Some((iss, earlier)) = clash {
            let key = if issuer.tenant.is_some() { "entra.tenants" } else { "issuer" };
            let place = format!("issuers[{}].{key}", issuer.entry.0);
            let problem =
                format!("found {iss:?}, which issuers[{earlier}] has already, wanted another");
            return Err(Error::at(place, problem));
        }
    }
    Ok(())
}

fn limits(entry: Option<Object<TokenCacheEntry>>) -> Limits {
    let Some(Object(entry)) = entry else { return TOKEN_CACHE };
    let or = |given: Option<Count>, default| given.map_or(default, |count| count.0);
    Limits {
        max_entries: or(entry.max_entries, TOKEN_CACHE.max_entries),
        max_bytes: or(entry.max_bytes, TOKEN_CACHE.max_bytes),
    }
}

/// Every header that is removed from what callers send, on every route.
fn stripped(routes: &[Route]) -> Vec<HeaderName> {
    let mut names: BTreeSet<_> = CREDENTIAL_HEADERS.into_iter().map(HeaderName::known).collect();
    for route in routes {
        if let Access::Granted { forward_claims, .. } = &route.access {
            names.extend(forward_claims.iter().map(|(header, _)| header.clone()));
        }
    }
    names.into_iter().collect()
}

/// Every claim that a route looks at.
fn claims(routes: &[Route]) -> Wanted {
    let mut names = Vec::new();
    for route in routes {
        if let Access::Granted { grants, forward_claims, .. } = &route.access {
            let asked_for = grants.iter().flat_map(|grant| &grant.claims);
            names.extend(asked_for.map(|(name, _)| name.member()));
            names.extend(forward_claims.iter().map(|(_, name)| name.member()));
        }
    }
    Wanted::new(names)
}

/// Converts each entry of a list, telling it its place, in words and as a number.
fn numbered<E, T>(
    list: &str,
    entries: Vec<E>,
    convert: impl Fn(&str, usize, E) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let entries = entries.into_iter().enumerate();
    entries.map(|(at, entry)| convert(&format!("{list}[{at}]"), at, entry)).collect()
}

/// The place in `names` of a name that must be there, if one is given.
fn known(
    place: &str,
    key: &str,
    name: Option<String>,
    names: &[String],
) -> Result<Option<usize>, Error> {
    let Some(name) = name else { return Ok(None) };
    let at = names.iter().position(|known| *known == name);
    at.map(Some).ok_or_else(|| {
        let wanted = match names {
            [] => "none, since there are none to name".to_owned(),
            names => format!("one of: {}", names.join(", ")),
        };
        Error::at(format!("{place}.{key}"), format!("found {name:?}, wanted {wanted}"))
    })
}

fn unique<'a>(list: &str, key: &str, values: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let mut seen: Vec<&str> = Vec::new();
    for (at, value) in values.enumerate() {
        if let Some(first) = seen.iter().position(|earlier| *earlier == value) {
            let problem =
                format!("found {value:?}, which {list}[{first}] has already, wanted another");
            return Err(Error::at(format!("{list}[{at}].{key}"), problem));
        }
        seen.push(value);
    }
    Ok(())
}
