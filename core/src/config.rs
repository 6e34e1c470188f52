//! The plugin's configuration: bytes become a [`Config`], or [`Errors`] that name
//! each mistake and its place.
//!
//! It stands on top of the rooms whose types it makes, and none of them knows it. The shape of the
//! document is in `document`, what one value may look like in `scalars`; here are the rules that
//! span several entries. The answer depends on the bytes alone, because every thread of a proxy
//! parses them for itself and must come to the same.

mod claim_value;
mod document;
mod entry;
mod error;
mod identities;
mod issuers;
mod limits;
mod node;
mod prices;
mod resource;
mod routes;
mod scalars;
#[cfg(feature = "schema")]
mod schema;

use std::collections::BTreeSet;

use crate::credentials::Stripped;
use crate::identity::Identity;
use crate::jwt::{ClaimName, Issuer, KeptClaims};
use crate::limit::Limit;
use crate::log::Line;
use crate::metadata::ProtectedResource;
use crate::policy::{Access, Route};
use crate::price::Prices;
use crate::settle::Fleet;
use crate::token_cache::Limits;
use document::{Document, StripEntry, TokenCacheEntry};
use entry::{Entry, NonEmpty};
pub use error::{Error, Errors};
use scalars::Count;
#[cfg(feature = "schema")]
pub use schema::schema;

/// Holds a configuration that is valid as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who is trusted; at least one, and no two accept the same `iss`.
    pub issuers: Vec<Issuer>,
    /// The identities that routes name by their place in this list.
    pub identities: Vec<Identity>,
    /// At least one; the first that matches a request decides it.
    pub routes: Vec<Route>,
    /// What a caller may not send, beside every credential: what any route forwards claims or the
    /// deployment in, and what the configuration names.
    pub stripped: Stripped,
    /// The claims that are worth keeping: any grant asks for them, or any route forwards them.
    pub claims: KeptClaims,
    /// How many verified tokens a thread remembers.
    pub token_cache: Limits,
    /// What tokens cost, by deployment.
    pub prices: Prices,
    /// Who may use how much.
    pub limits: Vec<Limit>,
    /// How many counters of limits a proxy keeps.
    pub ledger_entries: usize,
    /// Where the proxies of a fleet count together.
    pub fleet: Option<Fleet>,
    /// Dry run: denials are recorded and not enforced.
    pub report_only: bool,
    /// What the gateway tells clients that do not know it.
    pub protected_resource: Option<ProtectedResource>,
}

// A few thousand callers, each with a token of Entra's usual size, in about 20 MB for each thread.
const TOKEN_CACHE: Limits = Limits { max_entries: 4096, max_bytes: 32 << 20 };

impl Config {
    /// Returns what the log says of it when this version of keyless begins with it, and what verifies
    /// signatures.
    pub fn introduction(&self, version: &str, crypto: &str) -> Vec<Line> {
        let (issuers, routes) = (self.issuers.len(), self.routes.len());
        let report_only = self.report_only;
        let own = Line::info(format!(
            "keyless version={version} issuers={issuers} routes={routes} crypto={crypto} \
             report_only={report_only}"
        ));
        let warning = "report_only=true: denials are logged and counted, but not enforced";
        let warning = report_only.then(|| Line::warn(warning.to_owned()));
        [own].into_iter().chain(warning).collect()
    }

    /// Parses the JSON document of the plugin's configuration.
    ///
    /// ```
    /// # use keyless_core::config::Config;
    /// let errors = Config::parse(br#"{ "issuers": [], "routes": {} }"#).unwrap_err();
    /// assert_eq!(
    ///     errors.to_string(),
    ///     "issuers: expected at least one item, found an empty list\n\
    ///      routes: expected a list, found an object"
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// Returns every mistake in the document's shape and in its sense. What can be said only of an
    /// entry without mistakes is not said of one with mistakes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let document = Document::parse(bytes, &mut errors);
        let config = document.map(|(document, wrong)| convert(document, &wrong, &mut errors));
        config.filter(|_| errors.is_empty()).ok_or(errors)
    }
}

/// Converts the document, which lacks the keys that are wrong; the configuration is whole only if no
/// mistake was found.
fn convert(document: Document, wrong: &[String], errors: &mut Errors) -> Config {
    let is_wrong = |key| wrong.iter().any(|wrong| wrong == key);
    let entries = document.issuers.map_or_else(Vec::new, |entries| entries.0);
    let entries = numbered("issuers", entries, errors, issuers::issuers);
    let of_entry = |entry: &Option<Vec<Issuer>>| Some(entry.as_ref()?.first()?.name.to_string());
    let mut issuer_names: Vec<_> = entries.iter().map(of_entry).collect();
    check_unique("issuers", &mut issuer_names, errors);
    let issuers: Vec<_> = entries.into_iter().flatten().flatten().collect();
    check_accepted(&issuers, errors);
    if issuer_names.is_empty() {
        issuer_names.push(None);
    }
    let mut identity_names: Vec<_> = document.identities.keys().cloned().map(Some).collect();
    if is_wrong("identities") {
        identity_names.push(None);
    }
    let entries = document.identities.into_iter();
    let identities = entries.filter_map(|entry| identities::identity(entry, errors)).collect();
    let names = Names { issuers: issuer_names, identities: identity_names };
    let entries = document.routes.map_or_else(Vec::new, |entries| entries.0);
    let routes = numbered("routes", entries, errors, |path, _, entry, errors| {
        routes::route(path, entry, &names, errors)
    });
    let name = |route: &Option<Route>| Some(route.as_ref()?.name.to_string());
    let mut route_names: Vec<_> = routes.iter().map(name).collect();
    check_unique("routes", &mut route_names, errors);
    if route_names.is_empty() {
        route_names.push(None);
    }
    let entries = document.limits.map_or_else(Vec::new, |entries| entries.0);
    let limits = numbered("limits", entries, errors, |path, _, entry, errors| {
        limits::limit(path, entry, &names, &route_names, errors)
    });
    let name = |limit: &Option<Limit>| Some(limit.as_ref()?.name.to_string());
    check_unique("limits", &mut limits.iter().map(name).collect::<Vec<_>>(), errors);
    let limits: Vec<_> = limits.into_iter().flatten().collect();
    let routes: Vec<_> = routes.into_iter().flatten().collect();
    let (ledger_entries, fleet) = limits::ledger(document.ledger, errors);
    let resource = document.protected_resource;
    let resource = resource.and_then(|entry| entry.read("protected_resource", errors));
    Config {
        stripped: stripped(document.strip, &routes, errors),
        claims: claims(&issuers, &routes, &limits),
        token_cache: token_cache(document.token_cache, errors),
        prices: prices::prices(document.prices, errors),
        ledger_entries,
        fleet,
        limits,
        report_only: document.report_only,
        protected_resource: resource
            .map(|entry| resource::protected_resource(entry, &issuers, &routes)),
        issuers,
        identities,
        routes,
    }
}

/// What routes and grants may name, by its place; the name of a wrong entry may not be known.
struct Names {
    issuers: Vec<Option<String>>,
    identities: Vec<Option<String>>,
}

/// Two issuers that accept the same `iss` would leave open whose keys count.
fn check_accepted(issuers: &[Issuer], errors: &mut Errors) {
    for (at, issuer) in issuers.iter().enumerate() {
        let clash = issuers.iter().take(at).find_map(|earlier| {
            let iss = issuer.accepted.iter().find(|iss| earlier.accepted.contains(iss));
            iss.map(|iss| (iss, earlier.entry.0))
        });
        if let Some((iss, earlier)) = clash {
            let key = if issuer.tenant.is_some() { "entra.tenants" } else { "issuer" };
            let path = format!("issuers[{}].{key}", issuer.entry.0);
            errors.add(repeated(path, iss, &format!("issuers[{earlier}]")));
        }
    }
}

/// Reports each name that an earlier entry has, and takes it out: what it should be is not known.
fn check_unique(list: &str, names: &mut [Option<String>], errors: &mut Errors) {
    let mut seen: Vec<(usize, String)> = Vec::new();
    for (at, slot) in names.iter_mut().enumerate() {
        let Some(name) = slot.take() else { continue };
        if let Some((first, _)) = seen.iter().find(|(_, earlier)| *earlier == name) {
            errors.add(repeated(format!("{list}[{at}].name"), &name, &format!("{list}[{first}]")));
        } else {
            seen.push((at, name.clone()));
            *slot = Some(name);
        }
    }
}

fn repeated(path: String, value: &str, earlier: &str) -> Error {
    Error::new(path, "a value of its own", format_args!("{value:?}, which {earlier} has already"))
}

fn token_cache(entry: Option<Entry<TokenCacheEntry>>, errors: &mut Errors) -> Limits {
    let entry = entry.and_then(|entry| entry.read("token_cache", errors));
    let Some(entry) = entry else { return TOKEN_CACHE };
    let or = |given: Option<Count>, default| given.map_or(default, |count| count.0);
    Limits {
        max_entries: or(entry.max_entries, TOKEN_CACHE.max_entries),
        max_bytes: or(entry.max_bytes, TOKEN_CACHE.max_bytes),
    }
}

/// What is removed from what callers send, on every route, beside every credential.
fn stripped(entry: Option<Entry<StripEntry>>, routes: &[Route], errors: &mut Errors) -> Stripped {
    let entry = entry.and_then(|entry| entry.read("strip", errors));
    let (headers, query) = entry.map_or((None, None), |entry| (entry.headers, entry.query));
    let mut names = BTreeSet::new();
    names.extend(headers.map_or_else(Vec::new, NonEmpty::into_values));
    for route in routes {
        if let Access::Granted { forward_claims, .. } = &route.access {
            names.extend(forward_claims.iter().map(|(header, _)| header.clone()));
            names.extend(route.deployment_header.clone());
        }
    }
    let parameters = query.map_or_else(Vec::new, NonEmpty::into_values);
    Stripped { headers: names.into_iter().collect(), parameters }
}

/// Every claim that an issuer's entry, a route or a limit looks at.
fn claims(issuers: &[Issuer], routes: &[Route], limits: &[Limit]) -> KeptClaims {
    let mut names: Vec<_> =
        issuers.iter().filter_map(|one| one.audience_claim.as_deref()).collect();
    for route in routes {
        if let Access::Granted { grants, forward_claims, .. } = &route.access {
            let conditions = grants.iter().flat_map(|grant| &grant.claims);
            names.extend(conditions.map(|(name, _)| name.member()));
            names.extend(forward_claims.iter().map(|(_, name)| name.member()));
        }
    }
    for limit in limits {
        names.extend(limit.per_claims.iter().map(ClaimName::member));
        names.extend(limit.when.claims.iter().map(|(name, _)| name.member()));
    }
    KeptClaims::new(names)
}

/// Converts each entry of a list, telling it its path and its number.
fn numbered<E, T>(
    list: &str,
    entries: Vec<E>,
    errors: &mut Errors,
    mut convert: impl FnMut(&str, usize, E, &mut Errors) -> Option<T>,
) -> Vec<Option<T>> {
    let entries = entries.into_iter().enumerate();
    entries.map(|(at, entry)| convert(&format!("{list}[{at}]"), at, entry, errors)).collect()
}

/// The place in `names` of a name that must be there, if one is given. If some names are unknown,
/// because their entries are wrong, it may be one of those.
fn known(
    path: &str,
    key: &str,
    name: Option<String>,
    names: &[Option<String>],
) -> Result<Option<usize>, Error> {
    let Some(name) = name else { return Ok(None) };
    let at = names.iter().position(|known| known.as_deref() == Some(&*name));
    if at.is_some() || names.contains(&None) {
        return Ok(at);
    }
    let quoted: Vec<_> = names.iter().flatten().map(|name| format!("{name:?}")).collect();
    let expected = match quoted.as_slice() {
        [] => "no such key, since there is nothing to name".to_owned(),
        names => format!("one of {}", names.join(", ")),
    };
    Err(Error::new(format!("{path}.{key}"), expected, format_args!("{name:?}")))
}

/// A mistake for each key that must not be there, for the reason that `expected` gives.
fn unexpected<const N: usize>(
    path: &str,
    keys: [(&str, bool); N],
    expected: &str,
    errors: &mut Errors,
) {
    for (key, _) in keys.into_iter().filter(|(_, present)| *present) {
        errors.add(Error::new(format!("{path}.{key}"), expected, "one"));
    }
}
