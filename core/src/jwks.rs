//! A JWKS document becomes a [`KeySet`] (RFC 7517).

mod certificate;
mod key;

use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::http::{Call, FetchError, Uri};
use crate::json;
use crate::secret::Secret;
use crate::signature::{Algorithm, PublicKey};
use key::Unfit;
pub use key::{Key, UnusableKey};

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
pub struct KeySet {
    keys: Vec<Key>,
    unusable: Unusable,
}

/// Tells of the keys of a set that cannot be used, though they may be meant for signatures.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Unusable {
    /// How many there are.
    pub count: usize,
    /// The first few.
    pub first: Vec<UnusableKey>,
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

/// Limits the unusable keys that are told of one set.
const MAX_TOLD: usize = 4;

/// Limits the keys that are tried for a token without `kid`, since each try costs a verification.
pub const MAX_TRIES: usize = 5;

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
    /// the Microsoft identity platform", on multitenant applications). [`KeySet::unusable`] tells of
    /// those that seem to be mistakes.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a JSON object with a list `keys`, if the list is too long, or if
    /// no key is left; then it says why.
    pub fn parse(bytes: &[u8], tenant: Option<&Tenant>) -> Result<Self, FetchError> {
        let mut document = json::object(without_bom(bytes))?;
        let is_discovery = document.contains_key("jwks_uri");
        let Some(Value::Array(list)) = document.get_mut("keys") else {
            return Err(FetchError::Malformed(if is_discovery {
                "a discovery document and no key set; set `discovery` in place of `uri`"
            } else {
                "no list of keys"
            }));
        };
        if list.len() > MAX_KEYS {
            return Err(FetchError::Malformed("too many keys"));
        }
        let (mut keys, mut unusable, mut other) = (Vec::new(), Unusable::default(), None);
        for jwk in list.iter_mut().filter_map(Value::as_object_mut).map(key::without_empty) {
            match Key::parse(jwk, tenant) {
                Ok(key) => keys.push(key),
                Err(Unfit::Unusable(reason)) => unusable.note(UnusableKey::new(jwk, reason)),
                Err(Unfit::OtherPurpose(reason)) => other = Some(UnusableKey::new(jwk, reason)),
            }
        }
        if keys.is_empty() {
            let why = unusable.first.first().or(other.as_ref()).map(ToString::to_string);
            return Err(FetchError::NoUsableKey(
                why.unwrap_or_else(|| "none at all".into()).into(),
            ));
        }
        Ok(Self { keys, unusable })
    }

    /// Tells of the keys that cannot be used, without those that are for something else by what
    /// they say, such as encryption.
    pub fn unusable(&self) -> &Unusable {
        &self.unusable
    }

    /// Returns true if a key of that name is in the set.
    pub fn names(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Returns the keys that may have signed with `algorithm`: those named `kid`, or without a
    /// `kid` a handful of those that fit.
    pub fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Rc<PublicKey>> {
        self.keys
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
        matches!(self.keys.as_slice(), [Key { kid: None, .. }])
    }

    /// Returns how many keys are in the set; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a key set is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Unusable {
    fn note(&mut self, key: UnusableKey) {
        self.count = self.count.saturating_add(1);
        if self.first.len() < MAX_TOLD {
            self.first.push(key);
        }
    }
}

/// A byte order mark says nothing in UTF-8, and parsers may ignore it (RFC 8259 §8.1).
fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

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
