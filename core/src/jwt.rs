//! The token: a strict parse (RFC 7515, 7519, 8725) and the check of its registered claims.
//!
//! What a token says is within reach only after [`Token::verify`], except the issuer it names.

mod claim;
mod claims;
mod issuer;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::denial::Denial;
use crate::json;
use crate::jwks::KeySet;
use crate::signature::{Algorithm, Crypto, PublicKey};
pub use claim::{ClaimName, ClaimValue};
pub use claims::{Claims, KeptClaims};
pub use issuer::{EntryIndex, Issuer, IssuerIndex, TokenType};

/// Holds a token that has the form of a signed JWT and that nobody has vouched for.
///
/// ```
/// # use keyless_core::{jwks::KeySet, jwt::Token, signature::Sandbox};
/// let token = Token::parse(concat!(
///     "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.",
///     "eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbS8iLCJhdWQiOiJhcGki",
///     "LCJleHAiOjE3MDAwMDAwNjAsInNjcCI6ImNoYXQifQ.",
///     "XVn9ExYwlEQI7UU1-dbJti_oTpVAWMYrPcPdm-rw1VIUACOXXlsxctxb_pcCyXIein5hsMvHm7aaitK03jKvDQ",
/// ))
/// .unwrap();
/// assert_eq!((token.issuer(), token.kid()), ("https://idp.example.com/", Some("a")));
///
/// let keys = br#"{ "keys": [
///     { "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }
/// ] }"#;
/// let verified = token.verify(&KeySet::parse(keys, None).unwrap(), &Sandbox).unwrap();
/// assert!(verified.claims().has_scope("chat"));
/// ```
pub struct Token<'a> {
    claims: Claims,
    header: Header,
    signature: Vec<u8>,
    signed: &'a str,
    times: Times,
}

/// The members of a JOSE header that count (RFC 7515 §4.1).
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

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

/// Limits `kid`, in bytes.
const MAX_KID: usize = 256;

impl<'a> Token<'a> {
    /// Parses the compact serialization of a signed JWT (RFC 7515 §7.1).
    ///
    /// `jku`, `x5u`, `x5c` and `jwk` are ignored: keys come from the issuer alone.
    ///
    /// # Errors
    ///
    /// - [`Denial::TokenMalformed`]: not three parts of canonical, unpadded base64url; a header or
    ///   payload that is no JSON object or repeats a member; a `typ` or `alg` that is no string.
    /// - [`Denial::TokenEncrypted`]: the five parts of an encrypted JWT (RFC 7516 §7.1).
    /// - [`Denial::KidMalformed`]: a `kid` that is no string, or too long.
    /// - [`Denial::ExtensionUnsupported`]: the header has `crit`.
    /// - [`Denial::AlgorithmForbidden`]: `alg` cannot be verified with a public key.
    /// - [`Denial::ClaimsMalformed`]: `iss` or `exp` is absent, or a registered claim has the wrong
    ///   type.
    pub fn parse(text: &'a str) -> Result<Self, Denial> {
        Self::read(text, None).map_err(|denial| encrypted(text).unwrap_or(denial))
    }

    /// Parses a token in the same way, and keeps only these of its claims.
    ///
    /// # Errors
    ///
    /// Those of [`Token::parse`]; what is not kept is not looked into, but may not repeat either.
    pub fn parse_for(text: &'a str, kept: &KeptClaims) -> Result<Self, Denial> {
        Self::read(text, Some(kept)).map_err(|denial| encrypted(text).unwrap_or(denial))
    }

    fn read(text: &'a str, kept: Option<&KeptClaims>) -> Result<Self, Denial> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Denial::TokenMalformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Denial::TokenMalformed)?;
        let header = Header::parse(&decoded_text(header)?)?;
        let claims = Claims::parse(&decoded_text(payload)?, kept)?;
        let times = claims.times()?;
        let signature = decoded(signature)?;
        Ok(Self { claims, header, signature, signed, times })
    }

    /// Returns the `iss` that the token claims, which selects the issuer that must vouch for it.
    pub fn issuer(&self) -> &str {
        self.claims.text("iss").unwrap_or_default()
    }

    /// Returns the `kid` that the token claims.
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Checks, before anything expensive is done, all that the issuer's entry demands except the
    /// signature: `alg`, `typ`, `exp`, `nbf`, `iat`, the lifetime, of Entra's `tid`, and `aud`.
    ///
    /// # Errors
    ///
    /// Returns the [`Denial`] for the first of these that does not hold.
    pub fn check(&self, issuer: &Issuer, now: SystemTime) -> Result<(), Denial> {
        self.checks(issuer, now).into_iter().try_for_each(|(_, outcome)| outcome)
    }

    /// Makes the same checks, and gives each one's name and outcome.
    pub fn checks(
        &self,
        issuer: &Issuer,
        now: SystemTime,
    ) -> [(&'static str, Result<(), Denial>); 7] {
        let or = |holds: bool, denial| if holds { Ok(()) } else { Err(denial) };
        let now = since_epoch(now);
        let Header { algorithm, typ, .. } = &self.header;
        let accepts = |accepted: &TokenType| accepted.accepts(typ.as_deref());
        let tenant = issuer.tenant.as_ref().map(|tenant| tenant.id.as_str());
        let is_of_tenant = tenant.is_none() || self.claims.text("tid") == tenant;
        [
            ("alg", or(issuer.algorithms.contains(algorithm), Denial::AlgorithmForbidden)),
            ("typ", or(issuer.token_types.iter().any(accepts), Denial::TypeForbidden)),
            ("exp", self.times.check_end(issuer, now)),
            ("nbf, iat", self.times.check_start(issuer, now)),
            ("lifetime", self.times.check_lifetime(issuer)),
            ("tid", or(is_of_tenant, Denial::TenantMismatch)),
            ("aud", self.claims.check_audience(issuer)),
        ]
    }

    /// Returns what the token says although nobody vouches for it, for people who ask why a request
    /// was refused.
    pub fn unverified(&self) -> &Claims {
        &self.claims
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
        let Self { claims, header: Header { algorithm, kid, .. }, times, .. } = self;
        Ok(Verified { algorithm, claims, key, kid, times })
    }

    fn signer<'k>(
        &self,
        keys: &'k KeySet,
        crypto: &dyn Crypto,
    ) -> Result<&'k Rc<PublicKey>, Denial> {
        let message = self.signed.as_bytes();
        let algorithm = self.header.algorithm;
        let mut candidates = keys.candidates(self.kid(), algorithm).peekable();
        let may_be_signed = candidates.peek().is_some();
        let signer = candidates.find(|key| crypto.verify(algorithm, key, message, &self.signature));
        signer.ok_or_else(|| match self.kid() {
            _ if may_be_signed => Denial::SignatureInvalid,
            Some(kid) if keys.names(kid) => Denial::AlgorithmForbidden,
            Some(_) | None => Denial::KeyUnknown,
        })
    }
}

impl Header {
    fn parse(text: &str) -> Result<Self, Denial> {
        let known = |name: &str| ["alg", "crit", "kid", "typ"].into_iter().find(|one| *one == name);
        let mut members = json::members(text, known).map_err(|_| Denial::TokenMalformed)?;
        if members.iter().any(|(name, _)| *name == "crit") {
            return Err(Denial::ExtensionUnsupported);
        }
        let mut text = |name| match members.iter_mut().find(|(known, _)| *known == name) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(std::mem::take(text))),
            Some(_) => Err(Denial::TokenMalformed),
        };
        let algorithm = text("alg")?.ok_or(Denial::TokenMalformed)?;
        let algorithm = Algorithm::named(&algorithm).ok_or(Denial::AlgorithmForbidden)?;
        let typ = text("typ")?;
        let kid = text("kid").map_err(|_| Denial::KidMalformed)?;
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(Denial::KidMalformed);
        }
        Ok(Self { algorithm, kid, typ })
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

#[cfg(test)]
impl Verified {
    /// Makes what a good signature vouches for.
    pub(crate) fn sample() -> Self {
        let times = Times { expires: Duration::MAX, issued_at: None, not_before: None };
        let key = Rc::new(PublicKey::rsa(&[0xff; 256], &[1, 0, 1]).unwrap());
        let claims = Claims::of(serde_json::json!({}));
        Self { algorithm: Algorithm::Rs256, claims, key, kid: None, times }
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Token({:?})", self.header.algorithm)
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Verified(by {:?})", self.key)
    }
}

impl Times {
    fn check(&self, issuer: &Issuer, now: SystemTime) -> Result<(), Denial> {
        let now = since_epoch(now);
        self.check_end(issuer, now)?;
        self.check_start(issuer, now)?;
        self.check_lifetime(issuer)
    }

    fn check_end(&self, issuer: &Issuer, now: Duration) -> Result<(), Denial> {
        if now >= self.expires.saturating_add(issuer.leeway) {
            return Err(Denial::TokenExpired);
        }
        Ok(())
    }

    fn check_start(&self, issuer: &Issuer, now: Duration) -> Result<(), Denial> {
        let latest_start = now.saturating_add(issuer.leeway);
        if self.not_before > Some(latest_start) || self.issued_at > Some(latest_start) {
            return Err(Denial::TokenNotYetValid);
        }
        Ok(())
    }

    fn check_lifetime(&self, issuer: &Issuer) -> Result<(), Denial> {
        let Some(most) = issuer.max_lifetime else { return Ok(()) };
        let issued_at = self.issued_at.ok_or(Denial::ClaimsMalformed { claim: "iat" })?;
        if self.expires.saturating_sub(issued_at) > most {
            return Err(Denial::LifetimeExceeded);
        }
        Ok(())
    }
}

fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Canonical base64url without padding (RFC 7515 §2); stray bits are refused.
fn decoded(text: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Denial::TokenMalformed)
}

/// Says of what is no signed JWT that it is an encrypted one: five parts, and a header with `enc`
/// (RFC 7516 §4.1.2, §7.1).
fn encrypted(text: &str) -> Option<Denial> {
    let (header, rest) = text.split_once('.')?;
    let is_enc = |name: &str| (name == "enc").then_some(());
    let members = json::members(&decoded_text(header).ok()?, is_enc).ok()?;
    let has_five_parts = rest.bytes().filter(|byte| *byte == b'.').count() == 3;
    (has_five_parts && !members.is_empty()).then_some(Denial::TokenEncrypted)
}

fn decoded_text(text: &str) -> Result<String, Denial> {
    String::from_utf8(decoded(text)?).map_err(|_| Denial::TokenMalformed)
}

#[cfg(test)]
mod tests;
