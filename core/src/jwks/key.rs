//! A JWK becomes a [`Key`], or says why it is none.

use std::fmt;
use std::rc::Rc;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::Tenant;
use super::certificate::Certificate;
use crate::signature::{Algorithm, PublicKey};

/// Holds one key: what it is called, what it may be used for, and the key itself.
#[derive(Clone, Debug)]
pub struct Key {
    pub(super) kid: Option<Box<str>>,
    /// The one algorithm that the key's `alg` names; otherwise what its type allows.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) public: Rc<PublicKey>,
}

/// Says why a key of a set is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unfit {
    /// It is for something else than signatures of this issuer, as its members say.
    OtherPurpose(&'static str),
    /// It cannot be used, though it may be meant to.
    Unusable(&'static str),
}

/// Names a key of a set that cannot be used, and why; shown as `kid="…" reason="…"`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnusableKey {
    /// Its `kid`, escaped so that it can stand in a log, and cut off after 64 bytes.
    pub kid: Option<String>,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Limits a `kid` in the log, in bytes.
const MAX_LOGGED_KID: usize = 64;

impl Key {
    pub(super) fn signs(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|pinned| pinned == algorithm) && self.public.fits(algorithm)
    }

    /// Makes a key of a JWK, or says why it must not be used to verify signatures.
    pub(super) fn parse(jwk: &Map<String, Value>, tenant: Option<&Tenant>) -> Result<Self, Unfit> {
        check_purpose(jwk, tenant)?;
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.as_str().into()),
            Some(_) => return Err(Unfit::Unusable("kid is not a string")),
        };
        let algorithm = match jwk.get("alg").map(Value::as_str) {
            None => None,
            Some(name) => {
                let named = name.and_then(Algorithm::named);
                Some(named.ok_or(Unfit::Unusable("alg is not one that can be verified"))?)
            }
        };
        let public = Rc::new(public(jwk).map_err(Unfit::Unusable)?);
        if algorithm.is_some_and(|algorithm| !public.fits(algorithm)) {
            return Err(Unfit::Unusable("alg does not fit kty and crv"));
        }
        Ok(Self { kid, algorithm, public })
    }
}

impl UnusableKey {
    pub(super) fn new(jwk: &Map<String, Value>, reason: &'static str) -> Self {
        let kid = jwk.get("kid").and_then(Value::as_str).map(|kid| {
            let whole: String = kid.escape_default().take(MAX_LOGGED_KID + 1).collect();
            match whole.get(..MAX_LOGGED_KID) {
                Some(start) if whole.len() > MAX_LOGGED_KID => format!("{start}..."),
                Some(_) | None => whole,
            }
        });
        Self { kid, reason }
    }
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(formatter, "kid=\"{kid}\" reason=\"{}\"", self.reason),
            None => write!(formatter, "kid=none reason=\"{}\"", self.reason),
        }
    }
}

/// RFC 7517 §4.2 and §4.3: both members are optional, and both bind where they stand. Entra's keys
/// may say whose they are; one that does not say is its document's.
fn check_purpose(jwk: &Map<String, Value>, tenant: Option<&Tenant>) -> Result<(), Unfit> {
    let by_use = jwk.get("use").is_none_or(|purpose| purpose == "sig");
    let by_operations = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|list| list.iter().any(|name| name == "verify"))
    });
    let is_owned = |tenant: &Tenant| {
        let owns = |issuer: &Value| issuer.as_str().is_some_and(|name| tenant.owns(name));
        jwk.get("issuer").is_none_or(owns)
    };
    if !by_use {
        return Err(Unfit::OtherPurpose("use is not sig"));
    }
    if !by_operations {
        return Err(Unfit::OtherPurpose("key_ops is without verify"));
    }
    if !tenant.is_none_or(is_owned) {
        return Err(Unfit::OtherPurpose("issuer is another one"));
    }
    Ok(())
}

/// Leaves out what some serializers write for a member that is absent: null, and no operations. Whose
/// a key is, is never guessed.
pub(super) fn without_empty(jwk: &mut Map<String, Value>) -> &Map<String, Value> {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    jwk.retain(|name, value| match name.as_str() {
        "issuer" => true,
        "key_ops" => !value.is_null() && !is_empty(value),
        _ => !value.is_null(),
    });
    jwk
}

/// Reads the key itself (RFC 7518 §6, RFC 8037 §2).
fn public(jwk: &Map<String, Value>) -> Result<PublicKey, &'static str> {
    let text = |name| jwk.get(name).and_then(Value::as_str);
    match text("kty") {
        Some("RSA") => {
            let (n, e) = match certificate(jwk, ["n", "e"])? {
                Some(found) => found.rsa().ok_or("x5c holds no RSA key")?,
                None => (
                    number(jwk, "n", "no n", "n is not base64url")?,
                    number(jwk, "e", "no e", "e is not base64url")?,
                ),
            };
            PublicKey::rsa(&n, &e).ok_or("n is not of 2048 to 8192 bits or is weak, or e is unfit")
        }
        Some("EC") => {
            let (x, y) = match certificate(jwk, ["x", "y"])? {
                Some(found) => found.point().ok_or("x5c holds no point")?,
                None => (
                    number(jwk, "x", "no x", "x is not base64url")?,
                    number(jwk, "y", "no y", "y is not base64url")?,
                ),
            };
            let key = match text("crv") {
                Some("P-256") => PublicKey::p256(&x, &y),
                Some("P-384") => PublicKey::p384(&x, &y),
                Some(_) => return Err("crv is not P-256 or P-384"),
                None => return Err("no crv"),
            };
            key.ok_or("x and y are not a point of crv")
        }
        Some("OKP") if text("crv") == Some("Ed25519") => {
            let x = number(jwk, "x", "no x", "x is not base64url")?;
            PublicKey::ed25519(&x).ok_or("x is not a point of crv, or a weak one")
        }
        Some("OKP") => Err("crv is not Ed25519"),
        Some("oct") => Err("kty is oct, a shared secret"),
        Some(_) => Err("kty is not RSA, EC or OKP"),
        None => Err("no kty"),
    }
}

/// The certificate of a key that has none of the members which its type asks for. Where one is there,
/// it is the key, whatever a certificate says.
fn certificate(
    jwk: &Map<String, Value>,
    members: [&str; 2],
) -> Result<Option<Certificate>, &'static str> {
    if !jwk.contains_key("x5c") || members.iter().any(|name| jwk.contains_key(*name)) {
        return Ok(None);
    }
    Certificate::of(jwk).map(Some).ok_or("x5c is not base64")
}

/// A `Base64urlUInt` (RFC 7518 §2). Some issuers pad it, which leaves its meaning the same.
fn number(
    jwk: &Map<String, Value>,
    name: &str,
    absent: &'static str,
    malformed: &'static str,
) -> Result<Vec<u8>, &'static str> {
    let value = jwk.get(name).ok_or(absent)?;
    value.as_str().and_then(|text| NUMBER.decode(text).ok()).ok_or(malformed)
}

/// Base64url with padding or without.
const NUMBER: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
