//! Issuers: who is trusted, and what their tokens must be like.

use std::rc::Rc;
use std::time::Duration;

use super::claim::is_printable;
use crate::jwks::{JwksSource, Tenant};
use crate::signature::Algorithm;

/// Identifies an entry of the configuration's `issuers`; the tenants of one `entra` share theirs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EntryIndex(pub usize);

/// Identifies an issuer: an `iss`, or a tenant of Entra, of an entry of the configuration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct IssuerIndex(pub usize);

/// Describes an issuer of tokens and what its tokens must be like.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its entry in the configuration, which several tenants may share.
    pub entry: EntryIndex,
    /// The label in logs and metrics.
    pub name: Rc<str>,
    /// The exact `iss`; Entra has two for each tenant, of its versions 2 and 1.
    pub accepted: Vec<String>,
    /// The tenant of Entra whose tokens these are.
    pub tenant: Option<Tenant>,
    /// `aud` must name one of these.
    pub audiences: Vec<String>,
    /// The claim that must name one of these where tokens have no `aud`; a text.
    pub audience_claim: Option<Rc<str>>,
    /// The calling application must be one of these, if there are any.
    pub clients: Vec<String>,
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

/// Names an accepted `typ`, in lower case and without `application/` (RFC 7515 §4.1.9).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenType(String);

impl Issuer {
    /// Returns true if the calling application may be this one.
    pub fn admits_client(&self, client: Option<&str>) -> bool {
        let is_listed = |client| self.clients.iter().any(|listed| listed == client);
        self.clients.is_empty() || client.is_some_and(is_listed)
    }
}

impl TokenType {
    /// Parses a type such as `at+jwt`, in any case and with or without `application/`.
    pub fn parse(text: &str) -> Option<Self> {
        let name = short_type(text);
        is_printable(name).then(|| Self(name.to_ascii_lowercase()))
    }

    /// The types of access tokens: RFC 7519's general one and RFC 9068's.
    pub(crate) fn defaults() -> Vec<Self> {
        vec![Self("jwt".to_owned()), Self("at+jwt".to_owned())]
    }

    /// Returns the type, in lower case and without `application/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if a header's `typ` means this type; an absent one means `JWT`.
    pub fn accepts(&self, token_type: Option<&str>) -> bool {
        self.0.eq_ignore_ascii_case(short_type(token_type.unwrap_or("JWT")))
    }
}

/// A media type without its `application/`, which may be left out (RFC 7515 §4.1.9).
fn short_type(text: &str) -> &str {
    match text.split_once('/') {
        Some((class, rest)) if class.eq_ignore_ascii_case("application") => rest,
        Some(_) | None => text,
    }
}
