//! The claims of a token (RFC 7519 §4), and which of them are worth keeping.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::claim::{ClaimName, ClaimValue, is_printable};
use super::{Issuer, Times};
use crate::denial::Denial;
use crate::json;

/// Holds the claims of a verified token; they are few, so they are found by looking through them.
#[derive(Clone)]
pub struct Claims(Vec<(Rc<str>, Value)>);

/// Lists the claims that somebody looks at; the others need not be kept.
#[derive(Clone, Debug)]
pub struct KeptClaims(Vec<Rc<str>>);

/// The claims that are looked at whatever the configuration says.
const REGISTERED: [&str; 15] = [
    "appid",
    "aud",
    "azp",
    "cid",
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

/// Limits a date: `serde_json` reads greater integers as floats, and no honest clock reaches it.
const MAX_DATE: f64 = 9_007_199_254_740_992.0;

impl KeptClaims {
    /// Makes the list of the claims that every token is checked for, and of these.
    pub fn new<'a>(others: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<Rc<str>> = Vec::new();
        for name in REGISTERED.into_iter().chain(others) {
            if !names.iter().any(|known| **known == *name) {
                names.push(name.into());
            }
        }
        Self(names)
    }

    fn named(&self, name: &str) -> Option<Rc<str>> {
        self.0.iter().find(|known| ***known == *name).cloned()
    }
}

impl Claims {
    pub(super) fn parse(text: &str, kept: Option<&KeptClaims>) -> Result<Self, Denial> {
        let keep = |name: &str| kept.map_or_else(|| Some(name.into()), |list| list.named(name));
        let members = json::members(text, keep).map_err(|_| Denial::TokenMalformed)?;
        let claims = Self(members);
        claims.text("iss").ok_or(Denial::ClaimsMalformed { claim: "iss" })?;
        let is_text = |name: &&str| claims.value(name).is_none_or(Value::is_string);
        match ["jti", "sub"].into_iter().find(|name| !is_text(name)) {
            Some(claim) => Err(Denial::ClaimsMalformed { claim }),
            None => Ok(claims),
        }
    }

    /// Returns a claim that is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_str()
    }

    /// Returns the calling application: `azp`, Entra v1's `appid`, RFC 9068's `client_id`, or Okta's
    /// `cid`.
    pub fn client(&self) -> Option<&str> {
        ["azp", "appid", "client_id", "cid"].into_iter().find_map(|name| self.text(name))
    }

    /// Returns true if the token carries the scope, in `scp` (Entra) or `scope` (RFC 8693 §4.2).
    pub fn has_scope(&self, scope: &str) -> bool {
        let names = |list: &str| {
            list.as_bytes().split(|byte| *byte == b' ').any(|one| one == scope.as_bytes())
        };
        ["scp", "scope"].into_iter().filter_map(|name| self.value(name)).any(|value| {
            match value.as_str() {
                Some(list) => names(list),
                None => contains(value, scope),
            }
        })
    }

    /// Returns true if the token carries the role (RFC 9068 §2.2.3.1).
    pub fn has_role(&self, role: &str) -> bool {
        self.value("roles").is_some_and(|value| contains(value, role))
    }

    /// Returns true if the claim is one of the values, or a list that contains one.
    pub fn has(&self, name: &ClaimName, values: &[ClaimValue]) -> bool {
        self.claim(name).is_some_and(|claim| values.iter().any(|value| value.is_met_by(claim)))
    }

    /// Returns a claim as the value of a header: a string, number or boolean without control
    /// characters.
    pub fn printable(&self, name: &ClaimName) -> Option<String> {
        let text = match self.claim(name)? {
            Value::String(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::Array(_) | Value::Null | Value::Object(_) => return None,
        };
        is_printable(&text).then_some(text)
    }

    /// Checks the audience: `aud`, and where the issuer's entry names a claim that stands for it,
    /// that claim. A token without the claim is refused, so that no other kind of token of the same
    /// issuer passes; and a token that has `aud` as well is held to it.
    pub(super) fn check_audience(&self, issuer: &Issuer) -> Result<(), Denial> {
        let audiences = issuer.audiences.as_slice();
        let Some(name) = &issuer.audience_claim else { return self.check_aud(audiences) };
        let claim = self.value(name).ok_or(Denial::AudienceMismatch { is_missing: true })?;
        if !audiences.iter().any(|audience| claim == audience) {
            return Err(Denial::AudienceMismatch { is_missing: false });
        }
        if self.value("aud").is_some() { self.check_aud(audiences) } else { Ok(()) }
    }

    /// Checks `aud`: one string or a list of strings (RFC 7519 §4.1.3), compared exactly.
    fn check_aud(&self, audiences: &[String]) -> Result<(), Denial> {
        let named = |value: &str| audiences.iter().any(|audience| audience == value);
        let matches = match self.value("aud") {
            Some(Value::String(audience)) => named(audience),
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(Value::as_str).any(named)
            }
            None => return Err(Denial::AudienceMismatch { is_missing: true }),
            Some(_) => return Err(Denial::ClaimsMalformed { claim: "aud" }),
        };
        if matches { Ok(()) } else { Err(Denial::AudienceMismatch { is_missing: false }) }
    }

    pub(super) fn times(&self) -> Result<Times, Denial> {
        Ok(Times {
            expires: self.date("exp")?.ok_or(Denial::ClaimsMalformed { claim: "exp" })?,
            issued_at: self.date("iat")?,
            not_before: self.date("nbf")?,
        })
    }

    /// A `NumericDate` (RFC 7519 §2); fractions of a second are cut off.
    fn date(&self, name: &'static str) -> Result<Option<Duration>, Denial> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let seconds = value.as_f64().ok_or(Denial::ClaimsMalformed { claim: name })?;
        if !(0.0..=MAX_DATE).contains(&seconds) {
            return Err(Denial::ClaimsMalformed { claim: name });
        }
        Ok(Some(Duration::from_secs_f64(seconds.floor())))
    }

    /// Returns a claim.
    pub fn claim(&self, name: &ClaimName) -> Option<&Value> {
        name.within(self.value(name.member())?)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }
}

#[cfg(test)]
impl Claims {
    /// Makes the claims of a token that somebody has vouched for.
    pub(crate) fn of(members: Value) -> Self {
        let Value::Object(members) = members else { panic!("not an object") };
        Self(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Claims(…)")
    }
}

fn contains(value: &Value, item: &str) -> bool {
    match value {
        Value::String(text) => text == item,
        Value::Array(list) => list.iter().any(|one| one == item),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => false,
    }
}
