//! A JWKS document becomes a [`KeySet`] (RFC 7517).

use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::http::{Call, FetchError, Uri};
use crate::json;
use crate::secret::Secret;
use crate::signature::{Algorithm, PublicKey};

/// Holds the usable keys of one issuer.
///
/// ```
/// # use keyless_core::{jwks::KeySet, signature::Algorithm};
/// let document = br#"{ "keys": [
///     { "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
///     { "kty": "oct", "kid": "b", "k": "c2VjcmV0" }
/// ] }"#;
/// let keys = KeySet::parse(document, None).unwrap();
/// assert_eq!(keys.len(), 1, "a symmetric key is not usable");
/// assert_eq!(keys.candidates(Some("a"), Algorithm::EdDsa).count(), 1);
/// assert_eq!(keys.candidates(Some("a"), Algorithm::Rs256).count(), 0, "the key is of another type");
/// ```
#[derive(Clone, Debug)]
pub struct KeySet(Vec<Key>);

/// Holds one key: what it is called, what it may be used for, and the key itself.
#[derive(Clone, Debug)]
pub struct Key {
    kid: Option<Box<str>>,
    /// The one algorithm that the key's `alg` names; otherwise what its type allows.
    algorithm: Option<Algorithm>,
    public: Rc<PublicKey>,
}

/// Names a tenant of Entra and the issuer that its keys may name as their own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenant {
    /// The GUID, in lower case, that `tid` must equal.
    pub id: String,
    /// What a key's own member `issuer` must come to.
    pub accepted: Vec<String>,
}

/// Says where an issuer's keys are.
#[derive(Clone, Debug)]
pub enum JwksSource {
    /// In the configuration.
    Inline(KeySet),
    /// At the issuer.
    Remote(RemoteJwks),
}

/// Describes how a key set is fetched and how long it serves.
#[derive(Clone, Debug)]
pub struct RemoteJwks {
    /// Envoy's cluster that leads to the issuer.
    pub cluster: String,
    /// Where to ask.
    pub location: JwksLocation,
    /// How long one call may take.
    pub timeout: Duration,
    /// How old keys get before they are refreshed.
    pub refresh: Duration,
    /// How old keys may get while no fetch succeeds.
    pub max_age: Duration,
    /// The time after which tokens of no known key may cause one more fetch; a few are allowed at
    /// once.
    pub unknown_kid_interval: Duration,
}

/// Says where to ask for a key set.
#[derive(Clone, Debug)]
pub enum JwksLocation {
    /// At the place that this document names (OpenID Connect Discovery 1.0 §4).
    Discovery(Uri),
    /// Here.
    Known(Uri),
}

/// Limits the keys of one set; Entra publishes about ten.
const MAX_KEYS: usize = 1000;

/// Limits the keys that are tried for a token without `kid`, since each try costs a verification.
const MAX_TRIES: usize = 5;

/// Returns the call that fetches an issuer's key set, or the document that says where it is.
pub fn call(source: &RemoteJwks, uri: &Uri) -> Call {
    Call {
        cluster: source.cluster.clone(),
        method: "GET",
        authority: uri.authority.clone(),
        path: uri.path.clone(),
        headers: vec![
            ("accept", Secret::new("application/json")),
            ("user-agent", Secret::new(concat!("keyless/", env!("CARGO_PKG_VERSION")))),
        ],
        body: None,
        timeout: source.timeout,
    }
}

impl Tenant {
    /// Returns true if a key that names this issuer, as a template or in full, is the tenant's.
    pub fn owns(&self, issuer: &str) -> bool {
        let issuer = issuer.replace("{tenantid}", &self.id);
        self.accepted.contains(&issuer)
    }
}

impl KeySet {
    /// Parses a JWKS document.
    ///
    /// A key that cannot be used is left out and spoils nothing: another type, `use` other than
    /// `sig`, `key_ops` without `verify`, an algorithm that cannot be verified, a weak key; and of a
    /// tenant's, a key whose own member `issuer` names somebody else (Microsoft: "Access tokens in
    /// the Microsoft identity platform", on multitenant applications).
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a JSON object with a list `keys`, if the list is too long, or if
    /// no key is left.
    pub fn parse(bytes: &[u8], tenant: Option<&Tenant>) -> Result<Self, FetchError> {
        let mut document = json::object(without_bom(bytes))?;
        let Some(Value::Array(keys)) = document.get_mut("keys") else {
            return Err(FetchError::Malformed("no list of keys"));
        };
        if keys.len() > MAX_KEYS {
            return Err(FetchError::Malformed("too many keys"));
        }
        let jwks = keys.iter_mut().filter_map(Value::as_object_mut).map(without_empty);
        let own = jwks.filter(|jwk| tenant.is_none_or(|tenant| is_of(jwk, tenant)));
        let usable: Vec<Key> = own.filter_map(key).collect();
        if usable.is_empty() {
            return Err(FetchError::Malformed("no usable key"));
        }
        Ok(Self(usable))
    }

    /// Returns true if a key of that name is in the set.
    pub fn names(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Returns the keys that may have signed with `algorithm`: those named `kid`, or without a
    /// `kid` a handful of those that fit.
    pub fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Rc<PublicKey>> {
        self.0
            .iter()
            .filter(move |key| {
                kid.is_none() || key.kid.as_deref() == kid || self.is_one_without_kid()
            })
            .filter(move |key| key.signs(algorithm))
            .take(MAX_TRIES)
            .map(|key| &key.public)
    }

    /// Returns true if there is only one key and it has no `kid`: then it is the key of every `kid`.
    pub fn is_one_without_kid(&self) -> bool {
        matches!(self.0.as_slice(), [Key { kid: None, .. }])
    }

    /// Returns how many keys are in the set; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a key set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    fn signs(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|pinned| pinned == algorithm) && self.public.fits(algorithm)
    }
}

/// A byte order mark says nothing in UTF-8, and parsers may ignore it (RFC 8259 §8.1).
fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Leaves out what some serializers write for a member that is absent: null, and no operations. Whose
/// a key is, is never guessed.
fn without_empty(jwk: &mut Map<String, Value>) -> &Map<String, Value> {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    jwk.retain(|name, value| match name.as_str() {
        "issuer" => true,
        "key_ops" => !value.is_null() && !is_empty(value),
        _ => !value.is_null(),
    });
    jwk
}

/// Makes a key of a JWK, or nothing if it must not be used to verify signatures.
fn key(jwk: &Map<String, Value>) -> Option<Key> {
    let algorithm = match jwk.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::named(name.as_str()?)?),
    };
    let kid = match jwk.get("kid") {
        None => None,
        Some(kid) => Some(kid.as_str()?.into()),
    };
    let public = match jwk.get("kty")?.as_str()? {
        "EC" => match jwk.get("crv")?.as_str()? {
            "P-256" => PublicKey::p256(&number(jwk, "x")?, &number(jwk, "y")?)?,
            "P-384" => PublicKey::p384(&number(jwk, "x")?, &number(jwk, "y")?)?,
            _ => return None,
        },
        "OKP" if jwk.get("crv")? == "Ed25519" => PublicKey::ed25519(&number(jwk, "x")?)?,
        "RSA" => PublicKey::rsa(&number(jwk, "n")?, &number(jwk, "e")?)?,
        _ => return None,
    };
    let fits = algorithm.is_none_or(|algorithm| public.fits(algorithm));
    (is_for_signatures(jwk) && fits).then(|| Key { kid, algorithm, public: Rc::new(public) })
}

/// Entra's keys may say whose they are; one that does not say is its document's.
fn is_of(jwk: &Map<String, Value>, tenant: &Tenant) -> bool {
    jwk.get("issuer").is_none_or(|issuer| issuer.as_str().is_some_and(|name| tenant.owns(name)))
}

/// RFC 7517 §4.2 and §4.3: both members are optional, and both bind where they stand.
fn is_for_signatures(jwk: &Map<String, Value>) -> bool {
    let by_use = jwk.get("use").is_none_or(|purpose| purpose == "sig");
    let by_operations = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|list| list.iter().any(|name| name == "verify"))
    });
    by_use && by_operations
}

/// A `Base64urlUInt` (RFC 7518 §2). Some issuers pad it, which leaves its meaning the same.
fn number(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    NUMBER.decode(jwk.get(name)?.as_str()?).ok()
}

/// Base64url with padding or without.
const NUMBER: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a discovery document and says where the keys are (OpenID Connect Discovery 1.0 §3, §4.3).
///
/// # Errors
///
/// Fails if the document is not of exactly this issuer, or if its `jwks_uri` leads to another host
/// than the issuer's own, which the cluster would not reach and an attacker might.
pub fn discovered(bytes: &[u8], issuer: &str) -> Result<Uri, FetchError> {
    let document = json::object(without_bom(bytes))?;
    let text = |name| document.get(name).and_then(Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err(FetchError::Malformed("the document of another issuer"));
    }
    let keys = text("jwks_uri").and_then(Uri::parse);
    let keys = keys.ok_or(FetchError::Malformed("no jwks_uri that may be asked"))?;
    let host = Uri::parse(issuer).map(|uri| uri.authority);
    if host.is_none_or(|host| !host.eq_ignore_ascii_case(&keys.authority)) {
        return Err(FetchError::Malformed("a jwks_uri on another host than the issuer's"));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
