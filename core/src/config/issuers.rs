//! Issuers: who is trusted, what their tokens must be like, and where their keys are.

use std::rc::Rc;
use std::time::Duration;

use humantime::format_duration;
use serde_json::Value;

use super::document::{EntraEntry, IssuerEntry, JwksEntry};
use super::entry::{Entry, NonEmpty, Object};
use super::scalars::{self, Cloud, Plain, Text, Wait};
use super::{Error, Errors, unexpected};
use crate::http::{FetchError, Uri};
use crate::jwks::{JwksLocation, JwksSource, KeySet, RemoteJwks, Tenant};
use crate::jwt::{EntryIndex, Issuer, TokenType};
use crate::signature::Algorithm;

// One fetch: Envoy gives up, counts a failure and keeps the connection pool healthy.
const JWKS_TIMEOUT: Duration = Duration::from_secs(5);
// Microsoft's guidance: refresh hourly, keep for a day.
const JWKS_REFRESH: Duration = Duration::from_hours(1);
const JWKS_MAX_AGE: Duration = Duration::from_hours(24);
// Short enough for an emergency rollover, long enough that forged `kid`s do not burden the issuer.
const UNKNOWN_KID_INTERVAL: Duration = Duration::from_secs(30);
// Envoy's own default for clock skew.
const LEEWAY: Duration = Duration::from_mins(1);
/// What an issuer's URL is followed by (OpenID Connect Discovery 1.0 §4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// One `iss`, or one tenant of Entra, of an entry.
struct Trusted {
    accepted: Vec<String>,
    tenant: Option<Tenant>,
    /// Where the keys are, if that follows from the tenant.
    keys: Option<Uri>,
}

/// Makes the issuers of one entry: one, or each tenant's.
pub(super) fn issuers(
    path: &str,
    at: usize,
    entry: Entry<IssuerEntry>,
    errors: &mut Errors,
) -> Option<Vec<Issuer>> {
    let entry = entry.read(path, errors)?;
    let name = errors.check(name(path, &entry));
    if let (Some(claim), Some(_)) = (&entry.audience_claim, &entry.entra) {
        let expected = "no such key beside `entra`, whose tokens have `aud`";
        errors.add(Error::new(format!("{path}.audience_claim"), expected, &claim.0));
    }
    let audience_claim: Option<Rc<str>> = entry.audience_claim.map(|claim| claim.0.into());
    let (trusted, clients) = errors.check(trusted(path, entry.issuer, entry.entra))?;
    let name: Rc<str> = name?.into();
    let Object(jwks) = entry.jwks;
    let path = format!("{path}.jwks");
    let audiences = entry.audiences.into_values();
    let algorithms = entry.algorithms.map_or(vec![Algorithm::Rs256], NonEmpty::into_values);
    let token_types = entry.token_types.map_or_else(TokenType::defaults, NonEmpty::into_values);
    let leeway = entry.leeway.map_or(LEEWAY, |leeway| leeway.0);
    let max_lifetime = entry.max_lifetime.map(|lifetime| lifetime.0);
    let issuer = |trusted: Trusted| {
        Some(Issuer {
            entry: EntryIndex(at),
            name: name.clone(),
            jwks: jwks_source(&path, &jwks, &trusted, errors)?,
            accepted: trusted.accepted,
            tenant: trusted.tenant,
            audiences: audiences.clone(),
            audience_claim: audience_claim.clone(),
            clients: clients.clone(),
            algorithms: algorithms.clone(),
            token_types: token_types.clone(),
            leeway,
            max_lifetime,
        })
    };
    trusted.into_iter().map(issuer).collect()
}

fn name(path: &str, entry: &IssuerEntry) -> Result<String, Error> {
    match (&entry.name, &entry.issuer) {
        (Some(name), _) => Ok(name.0.clone()),
        (None, None) => Ok("entra".to_owned()),
        (None, Some(issuer)) => scalars::host_label(&issuer.0).ok_or_else(|| {
            let expected = "the key `name`, or an issuer whose host can be the name";
            Error::new(path, expected, format_args!("the issuer {:?}", issuer.0))
        }),
    }
}

/// Who an entry trusts, and which applications.
fn trusted(
    path: &str,
    issuer: Option<Text<Plain>>,
    entra: Option<Object<EntraEntry>>,
) -> Result<(Vec<Trusted>, Vec<String>), Error> {
    let wrong = |found| Err(Error::new(path, "`issuer` or `entra`", found));
    match (issuer, entra) {
        (Some(issuer), None) => {
            let trusted = Trusted { accepted: vec![issuer.0], tenant: None, keys: None };
            Ok((vec![trusted], Vec::new()))
        }
        (None, Some(Object(entra))) => {
            let cloud = entra.cloud.map_or(Cloud::Public, |cloud| cloud.0);
            let tenants = entra.tenants.into_values().into_iter();
            let clients = entra.clients.into_iter().map(|client| client.0).collect();
            Ok((tenants.map(|tenant| Trusted::tenant(tenant, cloud)).collect(), clients))
        }
        (Some(_), Some(_)) => wrong("both"),
        (None, None) => wrong("neither"),
    }
}

impl Trusted {
    /// A tenant's issuers of version 2 and 1, and the keys that both sign with (Microsoft: "Access
    /// tokens in the Microsoft identity platform", "National clouds").
    fn tenant(id: String, cloud: Cloud) -> Self {
        let (authority, sts) = match cloud {
            Cloud::China => ("login.partner.microsoftonline.cn", "sts.chinacloudapi.cn"),
            Cloud::Public => ("login.microsoftonline.com", "sts.windows.net"),
            Cloud::UsGovernment => ("login.microsoftonline.us", "sts.windows.net"),
        };
        let version_2 = format!("https://{authority}/{id}/v2.0");
        let accepted = vec![version_2, format!("https://{sts}/{id}/")];
        let path = format!("/{id}/discovery/v2.0/keys");
        let keys = Some(Uri { authority: authority.to_owned(), path });
        let tenant = Some(Tenant { id, accepted: accepted.clone() });
        Self { accepted, tenant, keys }
    }
}

fn jwks_source(
    path: &str,
    entry: &JwksEntry,
    trusted: &Trusted,
    errors: &mut Errors,
) -> Option<JwksSource> {
    if let Some(inline) = &entry.inline {
        let keys = errors.check(inline_keys(path, inline, trusted));
        check_inline(path, entry, errors);
        return keys.map(JwksSource::Inline);
    }
    let Some(cluster) = &entry.cluster else {
        errors.add(Error::new(path, "`cluster` or `inline`", "neither"));
        return None;
    };
    let span = |given: &Option<Text<Wait>>, default| given.as_ref().map_or(default, |text| text.0);
    let refresh = span(&entry.refresh, JWKS_REFRESH);
    let max_age = span(&entry.max_age, JWKS_MAX_AGE.max(refresh));
    if max_age < refresh {
        let least = format_duration(refresh);
        let expected = format!("at least `refresh`, which is {least}");
        let path = format!("{path}.max_age");
        errors.add(Error::new(path, expected, format_duration(max_age)));
    }
    Some(JwksSource::Remote(RemoteJwks {
        cluster: cluster.0.clone(),
        location: errors.check(jwks_location(path, entry, trusted))?,
        timeout: span(&entry.timeout, JWKS_TIMEOUT),
        refresh,
        max_age,
        unknown_kid_interval: span(&entry.unknown_kid_interval, UNKNOWN_KID_INTERVAL),
    }))
}

fn inline_keys(path: &str, inline: &Value, trusted: &Trusted) -> Result<KeySet, Error> {
    let keys = KeySet::parse(inline.to_string().as_bytes(), trusted.tenant.as_ref());
    keys.map_err(|error| {
        let found = if let FetchError::Malformed(what) = error {
            what.to_owned()
        } else if let FetchError::NoUsableKey(why) = error {
            why.into()
        } else {
            error.to_string()
        };
        Error::new(format!("{path}.inline"), "a JWKS with at least one usable key", found)
    })
}

/// Nothing is fetched where the keys are in the configuration.
fn check_inline(path: &str, entry: &JwksEntry, errors: &mut Errors) {
    let keys = [
        ("cluster", entry.cluster.is_some()),
        ("uri", entry.uri.is_some()),
        ("discovery", entry.discovery),
        ("timeout", entry.timeout.is_some()),
        ("refresh", entry.refresh.is_some()),
        ("max_age", entry.max_age.is_some()),
        ("unknown_kid_interval", entry.unknown_kid_interval.is_some()),
    ];
    unexpected(path, keys, "no such key beside `inline`, since nothing is fetched", errors);
}

fn jwks_location(path: &str, entry: &JwksEntry, trusted: &Trusted) -> Result<JwksLocation, Error> {
    let of_tenant = |key| {
        let expected = "no such key beside `entra`, since the keys are the tenant's";
        Err(Error::new(format!("{path}.{key}"), expected, "one"))
    };
    match (&trusted.keys, &entry.uri, entry.discovery) {
        (Some(keys), None, false) => Ok(JwksLocation::Known(keys.clone())),
        (Some(_), Some(_), _) => of_tenant("uri"),
        (Some(_), None, true) => of_tenant("discovery"),
        (None, Some(uri), false) => Ok(JwksLocation::Known(uri.0.clone())),
        (None, Some(_), true) => Err(Error::new(path, "`uri` or `discovery`", "both")),
        (None, None, false) => {
            Err(Error::new(path, "one of `uri`, `discovery`, `inline`", "none of them"))
        }
        (None, None, true) => {
            let issuer = trusted.accepted.first().map_or("", String::as_str);
            let document = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
            let below = Uri::parse(&document).filter(|_| !issuer.contains(['?', '#']));
            below.map(JwksLocation::Discovery).ok_or_else(|| {
                let expected = "an issuer that is a URL without query or fragment";
                let found = format!("the issuer {issuer:?}");
                Error::new(format!("{path}.discovery"), expected, found)
            })
        }
    }
}
