//! The plugin's configuration: bytes become a [`Config`], or an [`Error`] that names the place.
//!
//! The shape of the document, and what one value may look like, is in [`document`]; here stand the
//! types that the rest of the house works with, and the rules that span several places. The answer
//! depends on the bytes alone, because every thread of a proxy parses them for itself and must come
//! to the same.

mod document;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use humantime::format_duration;

use crate::signature::Algorithm;
use document::{Document, GrantEntry, IdentityEntry, IssuerEntry, JwksEntry, Object, RouteEntry};
use text::{Header, NonEmpty, Plain, Text, Wait, Word as _};
pub use text::{HeaderName, HostPattern, PathPattern, TokenType};

/// Holds a configuration that is sound as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who is trusted; at least one, each with an `iss` and a name of its own.
    pub issuers: Vec<Issuer>,
    /// The managed identities that routes name by their place in this list.
    pub identities: Vec<Identity>,
    /// At least one; the first that matches a request decides it.
    pub routes: Vec<Route>,
    /// Every header that a caller may not set: credentials, and what any route forwards claims in.
    pub stripped: Vec<HeaderName>,
}

/// Describes an issuer of tokens and what its tokens must be like.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The label in logs and metrics.
    pub name: String,
    /// The exact `iss`.
    pub issuer: String,
    /// `aud` must name one of these.
    pub audiences: Vec<String>,
    /// Where the keys are.
    pub jwks: JwksSource,
    /// `alg` must be one of these.
    pub algorithms: Vec<Algorithm>,
    /// `typ` must be one of these.
    pub token_types: Vec<TokenType>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// The longest `exp − iat`.
    pub max_lifetime: Option<Duration>,
}

/// Describes how a key set is fetched and how long it serves.
#[derive(Clone, Debug)]
pub struct JwksSource {
    /// Envoy's cluster that leads to the issuer.
    pub cluster: String,
    /// The authority of the key set's URI.
    pub authority: String,
    /// The path of the key set's URI, with the query.
    pub path: String,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// How old keys get before they are fetched anew.
    pub refresh: Duration,
    /// How old keys may get while no fetch succeeds.
    pub max_age: Duration,
    /// The least time between fetches that unknown `kid`s cause.
    pub unknown_kid_interval: Duration,
}

/// Describes a managed identity and where its tokens come from.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The label in logs and metrics, and what routes call it.
    pub name: String,
    /// The resource that the token is for.
    pub resource: String,
    /// Envoy's cluster that leads to IMDS.
    pub cluster: String,
    /// Which of the machine's identities.
    pub selector: ImdsSelector,
}

/// Selects one of a machine's identities.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ImdsSelector {
    /// A user-assigned one, by its client id.
    ClientId(String),
    /// A user-assigned one, by its object id.
    ObjectId(String),
    /// A user-assigned one, by its Azure resource id.
    ResourceId(String),
    /// The system-assigned one.
    System,
}

/// Describes which requests a route is for and who may make them.
#[derive(Clone, Debug)]
pub struct Route {
    /// The label in logs and metrics.
    pub name: String,
    /// Any host if empty.
    pub hosts: Vec<HostPattern>,
    /// At least one.
    pub methods: Vec<String>,
    /// What the path looks like.
    pub path: PathPattern,
    /// Who may pass.
    pub access: Access,
}

/// Says who may pass a route, and how the request goes on.
#[derive(Clone, Debug)]
pub enum Access {
    /// Those with a token that satisfies a grant.
    Granted {
        /// At least one; any of them admits.
        grants: Vec<Grant>,
        /// The place in [`Config::identities`] of the identity whose token replaces the caller's.
        identity: Option<usize>,
        /// Headers that are set to the value of a claim.
        forward_claims: Vec<(HeaderName, String)>,
    },
    /// Everybody, without any identity.
    Public,
}

/// Lists conditions that must all hold; an empty list holds always.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The place in [`Config::issuers`] of the token's issuer.
    pub issuer: Option<usize>,
    /// The calling application is one of these.
    pub clients: Vec<String>,
    /// The token carries all of these.
    pub scopes: Vec<String>,
    /// The token carries all of these.
    pub roles: Vec<String>,
    /// Each claim equals or contains one of its values.
    pub claims: Vec<(String, Vec<String>)>,
    /// The deployment is one of these.
    pub deployments: Vec<String>,
}

/// Says what is wrong with a configuration, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    place: String,
    problem: String,
}

/// What a caller may never send on: its credentials for the backend.
const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "api-key", "ocp-apim-subscription-key"];

// One fetch: Envoy gives up, counts a failure and keeps the connection pool healthy.
const JWKS_TIMEOUT: Duration = Duration::from_secs(5);
// Microsoft's guidance: refresh hourly, keep for a day.
const JWKS_REFRESH: Duration = Duration::from_hours(1);
const JWKS_MAX_AGE: Duration = Duration::from_hours(24);
// Short enough for an emergency rollover, long enough that forged `kid`s do not burden the issuer.
const UNKNOWN_KID_INTERVAL: Duration = Duration::from_secs(30);
// Envoy's own default for clock skew.
const LEEWAY: Duration = Duration::from_mins(1);

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
        let issuers = numbered("issuers", document.issuers.0, Issuer::from_entry)?;
        unique("issuers", "issuer", issuers.iter().map(|issuer| &issuer.issuer))?;
        unique("issuers", "name", issuers.iter().map(|issuer| &issuer.name))?;
        let entries = document.identities.into_iter();
        let identities: Vec<_> = entries.map(Identity::from_entry).collect::<Result<_, _>>()?;
        let names = Names {
            issuers: issuers.iter().map(|issuer| issuer.name.clone()).collect(),
            identities: identities.iter().map(|identity| identity.name.clone()).collect(),
        };
        let routes = numbered("routes", document.routes.0, |place, entry| {
            Route::from_entry(place, entry, &names)
        })?;
        unique("routes", "name", routes.iter().map(|route| &route.name))?;
        let stripped = stripped(&routes);
        Ok(Self { issuers, identities, routes, stripped })
    }
}

impl Issuer {
    fn from_entry(place: &str, Object(entry): Object<IssuerEntry>) -> Result<Self, Error> {
        let issuer = entry.issuer.0;
        let name = match entry.name {
            Some(name) => name.0,
            None => text::host_label(&issuer).ok_or_else(|| {
                let problem = format!("missing field `name`: found no host in issuer {issuer:?}");
                Error::at(place, problem)
            })?,
        };
        Ok(Self {
            name,
            issuer,
            audiences: entry.audiences.into_values(),
            jwks: JwksSource::from_entry(place, entry.jwks)?,
            algorithms: entry.algorithms.map_or(vec![Algorithm::Rs256], NonEmpty::into_values),
            token_types: entry.token_types.map_or_else(TokenType::defaults, NonEmpty::into_values),
            leeway: entry.leeway.map_or(LEEWAY, |leeway| leeway.0),
            max_lifetime: entry.max_lifetime.map(|lifetime| lifetime.0),
        })
    }
}

impl JwksSource {
    fn from_entry(place: &str, Object(entry): Object<JwksEntry>) -> Result<Self, Error> {
        let span = |given: Option<Text<Wait>>, default| given.map_or(default, |text| text.0);
        let refresh = span(entry.refresh, JWKS_REFRESH);
        let max_age = span(entry.max_age, JWKS_MAX_AGE.max(refresh));
        if max_age < refresh {
            let (found, wanted) = (format_duration(max_age), format_duration(refresh));
            let problem = format!("found {found}, wanted at least `refresh`, which is {wanted}");
            return Err(Error::at(format!("{place}.jwks.max_age"), problem));
        }
        Ok(Self {
            cluster: entry.cluster.0,
            authority: entry.uri.0.authority,
            path: entry.uri.0.path,
            timeout: span(entry.timeout, JWKS_TIMEOUT),
            refresh,
            max_age,
            unknown_kid_interval: span(entry.unknown_kid_interval, UNKNOWN_KID_INTERVAL),
        })
    }
}

impl Identity {
    fn from_entry((name, Object(entry)): (String, Object<IdentityEntry>)) -> Result<Self, Error> {
        let place = format!("identities.{name}");
        if !text::is_label(&name) {
            let problem = format!("found the name {name:?}, wanted {}", text::LABEL);
            return Err(Error::at(place, problem));
        }
        let Object(imds) = entry.imds;
        let selectors = [
            imds.client_id.map(|id| ImdsSelector::ClientId(id.0)),
            imds.object_id.map(|id| ImdsSelector::ObjectId(id.0)),
            imds.msi_res_id.map(|id| ImdsSelector::ResourceId(id.0)),
        ];
        let mut chosen = selectors.into_iter().flatten();
        let selector = chosen.next().unwrap_or(ImdsSelector::System);
        if chosen.next().is_some() {
            let problem = "found several of client_id, object_id, msi_res_id, wanted at most one";
            return Err(Error::at(format!("{place}.imds"), problem));
        }
        Ok(Self { name, resource: entry.resource.0, cluster: imds.cluster.0, selector })
    }
}

/// What routes and grants may name.
struct Names {
    issuers: Vec<String>,
    identities: Vec<String>,
}

impl Route {
    fn from_entry(
        place: &str,
        Object(mut entry): Object<RouteEntry>,
        names: &Names,
    ) -> Result<Self, Error> {
        let Object(matching) = entry.matching;
        let path = matching.path.0;
        let access = match (entry.public, entry.allow.take()) {
            (false, None) => {
                return Err(Error::at(place, "missing field `allow`: the route is not public"));
            }
            (false, Some(allow)) => Access::Granted {
                grants: numbered(&format!("{place}.allow"), allow.0, |place, grant| {
                    Grant::from_entry(place, grant, names, &path)
                })?,
                identity: known(place, "identity", entry.identity, &names.identities)?,
                forward_claims: forwarded(place, entry.forward_claims)?,
            },
            (true, allow) => {
                let extra = [
                    ("allow", allow.is_some()),
                    ("identity", entry.identity.is_some()),
                    ("forward_claims", !entry.forward_claims.is_empty()),
                ];
                public(place, extra)?
            }
        };
        let hosts = matching.hosts.map_or_else(Vec::new, NonEmpty::into_values);
        Ok(Self {
            name: entry.name.0,
            hosts,
            methods: matching.methods.into_values(),
            path,
            access,
        })
    }
}

impl Grant {
    fn from_entry(
        place: &str,
        Object(entry): Object<GrantEntry>,
        names: &Names,
        path: &PathPattern,
    ) -> Result<Self, Error> {
        if entry.deployments.is_some() && !path.names_deployment() {
            let problem =
                "found on a route whose `match.path` names none, wanted a segment {deployment}";
            return Err(Error::at(format!("{place}.deployments"), problem));
        }
        let claims = entry.claims.into_iter();
        Ok(Self {
            issuer: known(place, "issuer", entry.issuer, &names.issuers)?,
            clients: entry.clients.map_or_else(Vec::new, NonEmpty::into_values),
            scopes: entry.scopes.map_or_else(Vec::new, NonEmpty::into_values),
            roles: entry.roles.map_or_else(Vec::new, NonEmpty::into_values),
            claims: claims.map(|(name, values)| (name, values.into_values())).collect(),
            deployments: entry.deployments.map_or_else(Vec::new, NonEmpty::into_values),
        })
    }
}

/// A public route with anything that only a token could satisfy is a mistake, not a wish.
fn public(place: &str, extra: [(&str, bool); 3]) -> Result<Access, Error> {
    match extra.into_iter().find(|(_, present)| *present) {
        None => Ok(Access::Public),
        Some((key, _)) => {
            let problem = "found on a public route, wanted none: it asks for no token";
            Err(Error::at(format!("{place}.{key}"), problem))
        }
    }
}

/// The headers that claims are forwarded in; names that differ in case only are one.
fn forwarded(
    place: &str,
    entries: BTreeMap<String, Text<Plain>>,
) -> Result<Vec<(HeaderName, String)>, Error> {
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
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

/// Converts each entry of a list, telling it its place.
fn numbered<E, T>(
    list: &str,
    entries: Vec<E>,
    convert: impl Fn(&str, E) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let entries = entries.into_iter().enumerate();
    entries.map(|(at, entry)| convert(&format!("{list}[{at}]"), entry)).collect()
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

fn unique<'a>(
    list: &str,
    key: &str,
    values: impl Iterator<Item = &'a String>,
) -> Result<(), Error> {
    let mut seen: Vec<&String> = Vec::new();
    for (at, value) in values.enumerate() {
        if let Some(first) = seen.iter().position(|earlier| *earlier == value) {
            let problem = format!("found {value:?}, which {list}[{first}] has already");
            return Err(Error::at(format!("{list}[{at}].{key}"), problem));
        }
        seen.push(value);
    }
    Ok(())
}
