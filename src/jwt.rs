//! The token: a strict parse (RFC 7515, 7519, 8725) and the check of its registered claims.
//!
//! What a token says is within reach only after [`Token::verify`], except the issuer it names.

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::config::Issuer;
use crate::denial::Denial;
use crate::json;
use crate::jwks::KeySet;
use crate::signature::{Algorithm, Crypto, PublicKey};

/// Holds a token that has the form of a signed JWT and that nobody has vouched for.
pub struct Token<'a> {
    algorithm: Algorithm,
    claims: Claims,
    kid: Option<String>,
    signature: Vec<u8>,
    signed: &'a str,
    times: Times,
    typ: Option<String>,
}

/// Holds the claims of a verified token (RFC 7519 §4).
#[derive(Clone)]
pub struct Claims(Map<String, Value>);

/// Holds what the signature of one of its issuer's keys vouches for.
pub struct Verified {
    algorithm: Algorithm,
    claims: Claims,
    key: Rc<PublicKey>,
    kid: Option<String>,
    times: Times,
}

/// The registered claims that are dates, in whole seconds since the epoch.
struct Times {
    expires: Duration,
    issued_at: Option<Duration>,
    not_before: Option<Duration>,
}

/// The claims that are looked at whatever the configuration says.
pub const CLAIMS: [&str; 14] = [
    "appid",
    "aud",
    "azp",
    "client_id",
    "exp",
    "iat",
    "iss",
    "jti",
    "nbf",
    "roles",
    "scope",
    "scp",
    "sub",
    "tid",
];

/// Limits `kid`, in bytes.
const MAX_KID: usize = 256;

/// Limits a date: `serde_json` reads greater integers as floats, and no honest clock reaches it.
const MAX_DATE: f64 = 9_007_199_254_740_992.0;

impl<'a> Token<'a> {
    /// Parses the compact serialization of a signed JWT (RFC 7515 §7.1).
    ///
    /// `jku`, `x5u`, `x5c` and `jwk` are ignored: keys come from the issuer alone.
    ///
    /// # Errors
    ///
    /// - [`Denial::TokenMalformed`]: not three parts of canonical, unpadded base64url; a header or
    ///   payload that is no JSON object or repeats a member; a `kid`, `typ` or `alg` that is no
    ///   string.
    /// - [`Denial::ExtensionUnsupported`]: the header has `crit`.
    /// - [`Denial::AlgorithmForbidden`]: `alg` cannot be verified with a public key.
    /// - [`Denial::ClaimsMalformed`]: `iss` or `exp` is absent, or a registered claim has the wrong
    ///   type.
    pub fn parse(text: &'a str) -> Result<Self, Denial> {
        Self::read(text, json::object)
    }

    /// Parses a token likewise and keeps of its claims those that are wanted and those of
    /// [`CLAIMS`].
    ///
    /// # Errors
    ///
    /// Those of [`Token::parse`]; what is not kept is not looked into, but may not repeat either.
    pub fn parse_for(text: &'a str, wanted: &BTreeSet<String>) -> Result<Self, Denial> {
        let is_wanted = |name: &str| CLAIMS.contains(&name) || wanted.contains(name);
        Self::read(text, |payload| json::members(payload, is_wanted))
    }

    fn read(
        text: &'a str,
        claims: impl Fn(&[u8]) -> serde_json::Result<Map<String, Value>>,
    ) -> Result<Self, Denial> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Denial::TokenMalformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Denial::TokenMalformed)?;
        let header = part(header)?;
        if header.contains_key("crit") {
            return Err(Denial::ExtensionUnsupported);
        }
        let algorithm = text_of(&header, "alg")?.ok_or(Denial::TokenMalformed)?;
        let algorithm = Algorithm::named(&algorithm).ok_or(Denial::AlgorithmForbidden)?;
        let kid = text_of(&header, "kid")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(Denial::TokenMalformed);
        }
        let typ = text_of(&header, "typ")?;
        let claims = Claims(claims(&decode(payload)?).map_err(|_| Denial::TokenMalformed)?);
        let times = claims.times()?;
        claims.text("iss").ok_or(Denial::ClaimsMalformed)?;
        if ["jti", "sub"].iter().any(|name| claims.0.get(*name).is_some_and(|id| !id.is_string())) {
            return Err(Denial::ClaimsMalformed);
        }
        let signature = decode(signature)?;
        Ok(Self { algorithm, claims, kid, signature, signed, times, typ })
    }

    /// Returns the `iss` that the token claims, which selects the issuer that must vouch for it.
    pub fn issuer(&self) -> &str {
        self.claims.text("iss").unwrap_or_default()
    }

    /// Returns the `kid` that the token claims.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Checks, before anything dear is done, all that the issuer's entry demands except the
    /// signature: `alg`, `typ`, `aud`, `exp`, `nbf`, `iat`, the lifetime, and of Entra's, `tid`.
    ///
    /// # Errors
    ///
    /// Returns the [`Denial`] for the first of these that does not hold.
    pub fn check(&self, issuer: &Issuer, now: SystemTime) -> Result<(), Denial> {
        if !issuer.algorithms.contains(&self.algorithm) {
            return Err(Denial::AlgorithmForbidden);
        }
        if !issuer.token_types.iter().any(|wanted| wanted.accepts(self.typ.as_deref())) {
            return Err(Denial::TypeForbidden);
        }
        self.times.check(issuer, now)?;
        let tenant = issuer.tenant.as_ref().map(|tenant| tenant.id.as_str());
        if tenant.is_some() && self.claims.text("tid") != tenant {
            return Err(Denial::TenantMismatch);
        }
        self.claims.check_audience(&issuer.audiences)
    }

    /// Verifies the signature and, if it is that of one of the keys, gives out what it vouches for.
    ///
    /// # Errors
    ///
    /// - [`Denial::KeyUnknown`]: no key of that `kid`, or no key at all that could have signed.
    /// - [`Denial::AlgorithmForbidden`]: the key of that `kid` is for another algorithm.
    /// - [`Denial::SignatureInvalid`]: the signature is of none of the keys.
    pub fn verify(self, keys: &KeySet, crypto: &dyn Crypto) -> Result<Verified, Denial> {
        let key = Rc::clone(self.signer(keys, crypto)?);
        let Self { algorithm, claims, kid, times, .. } = self;
        Ok(Verified { algorithm, claims, key, kid, times })
    }

    fn signer<'k>(
        &self,
        keys: &'k KeySet,
        crypto: &dyn Crypto,
    ) -> Result<&'k Rc<PublicKey>, Denial> {
        let message = self.signed.as_bytes();
        let mut candidates = keys.candidates(self.kid(), self.algorithm).peekable();
        let may_be_signed = candidates.peek().is_some();
        let signer =
            candidates.find(|key| crypto.verify(self.algorithm, key, message, &self.signature));
        signer.ok_or_else(|| match self.kid() {
            _ if may_be_signed => Denial::SignatureInvalid,
            Some(kid) if keys.names(kid) => Denial::AlgorithmForbidden,
            Some(_) | None => Denial::KeyUnknown,
        })
    }
}

impl Verified {
    /// Returns what the token says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Returns true if these are keys with which [`Token::verify`] would have come to the same.
    pub fn is_signed_by(&self, keys: &KeySet) -> bool {
        keys.candidates(self.kid.as_deref(), self.algorithm).any(|key| *key == self.key)
    }

    /// Checks that the token is still good, as [`Token::check`] did when it was new.
    ///
    /// # Errors
    ///
    /// Returns the [`Denial`] that the clock calls for.
    pub fn check(&self, issuer: &Issuer, now: SystemTime) -> Result<(), Denial> {
        self.times.check(issuer, now)
    }
}

impl Claims {
    /// Returns a claim that is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Returns the calling application: `azp`, Entra v1's `appid`, or RFC 9068's `client_id`.
    pub fn client(&self) -> Option<&str> {
        ["azp", "appid", "client_id"].into_iter().find_map(|name| self.text(name))
    }

    /// Returns true if the token carries the scope, in `scp` (Entra) or `scope` (RFC 8693 §4.2).
    pub fn has_scope(&self, scope: &str) -> bool {
        ["scp", "scope"].into_iter().filter_map(|name| self.0.get(name)).any(|value| {
            match value.as_str() {
                Some(list) => list.split(' ').any(|one| one == scope),
                None => contains(value, scope),
            }
        })
    }

    /// Returns true if the claim equals `wanted`, or is a list that contains it.
    pub fn has(&self, name: &str, wanted: &str) -> bool {
        self.0.get(name).is_some_and(|value| contains(value, wanted))
    }

    /// Returns a claim as the value of a header: a string, number or boolean without control
    /// characters.
    pub fn printable(&self, name: &str) -> Option<String> {
        let text = match self.0.get(name)? {
            Value::String(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::Array(_) | Value::Null | Value::Object(_) => return None,
        };
        (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
    }

    fn times(&self) -> Result<Times, Denial> {
        Ok(Times {
            expires: self.date("exp")?.ok_or(Denial::ClaimsMalformed)?,
            issued_at: self.date("iat")?,
            not_before: self.date("nbf")?,
        })
    }

    /// A `NumericDate` (RFC 7519 §2); fractions of a second are cut off.
    fn date(&self, name: &str) -> Result<Option<Duration>, Denial> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_f64().ok_or(Denial::ClaimsMalformed)?;
        if !(0.0..=MAX_DATE).contains(&seconds) {
            return Err(Denial::ClaimsMalformed);
        }
        Ok(Some(Duration::from_secs_f64(seconds.floor())))
    }

    /// `aud` is one string or a list of strings (RFC 7519 §4.1.3), compared exactly.
    fn check_audience(&self, audiences: &[String]) -> Result<(), Denial> {
        let named = |value: &str| audiences.iter().any(|audience| audience == value);
        let matches = match self.0.get("aud") {
            Some(Value::String(audience)) => named(audience),
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(Value::as_str).any(named)
            }
            None => false,
            Some(_) => return Err(Denial::ClaimsMalformed),
        };
        if matches { Ok(()) } else { Err(Denial::AudienceMismatch) }
    }
}

#[cfg(test)]
impl Verified {
    /// Makes what a good signature vouches for.
    pub(crate) fn sample() -> Self {
        let times = Times { expires: Duration::MAX, issued_at: None, not_before: None };
        let key = Rc::new(PublicKey::rsa(&[0xff; 256], &[1, 0, 1]).unwrap());
        let claims = Claims::of(Value::Object(Map::new()));
        Self { algorithm: Algorithm::Rs256, claims, key, kid: None, times }
    }
}

#[cfg(test)]
impl Claims {
    /// Makes the claims of a token that somebody has vouched for.
    pub(crate) fn of(members: Value) -> Self {
        let Value::Object(members) = members else { panic!("not an object") };
        Self(members)
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Token({:?})", self.algorithm)
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Verified(by {:?})", self.key)
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Claims(…)")
    }
}

impl Times {
    fn check(&self, issuer: &Issuer, now: SystemTime) -> Result<(), Denial> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if now >= self.expires.saturating_add(issuer.leeway) {
            return Err(Denial::TokenExpired);
        }
        let latest_start = now.saturating_add(issuer.leeway);
        if self.not_before > Some(latest_start) || self.issued_at > Some(latest_start) {
            return Err(Denial::TokenNotYetValid);
        }
        if let Some(most) = issuer.max_lifetime {
            let issued_at = self.issued_at.ok_or(Denial::ClaimsMalformed)?;
            if self.expires.saturating_sub(issued_at) > most {
                return Err(Denial::LifetimeExceeded);
            }
        }
        Ok(())
    }
}

/// One part of the compact serialization that holds a JSON object.
fn part(text: &str) -> Result<Map<String, Value>, Denial> {
    json::object(&decode(text)?).map_err(|_| Denial::TokenMalformed)
}

/// Canonical base64url without padding (RFC 7515 §2); stray bits are refused.
fn decode(text: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Denial::TokenMalformed)
}

fn text_of(header: &Map<String, Value>, name: &str) -> Result<Option<String>, Denial> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Denial::TokenMalformed),
    }
}

fn contains(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Array(list) => list.iter().any(|item| item == wanted),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests;
