//! What is likely wrong where a step fails, and what cures it: guesses from what the token says and
//! what the configuration expects. They name claims and kinds of values, never a value of the token.

mod audience;
mod issuer;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyless_core::config::Config;
use keyless_core::denial::Denial;
use keyless_core::gate::Step;
use keyless_core::jwks::{JwksSource, KeySet, MAX_TRIES};
use keyless_core::jwt::Issuer;
use keyless_core::policy::Grant;
use serde_json::{Map, Value};

use super::grants::Granting;
use crate::summary::Entry;

/// How Google's access tokens begin, which are opaque and have dots.
const GOOGLES: &str = "ya29.";

/// What a token says, whoever made it; what is no JSON says nothing.
pub(super) struct Said {
    text: String,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Said {
    /// Reads a token.
    pub(super) fn by(token: &[u8]) -> Self {
        let text = String::from_utf8_lossy(token).into_owned();
        let part = |at| {
            let part = URL_SAFE_NO_PAD.decode(text.split('.').nth(at)?).ok()?;
            serde_json::from_slice(&part).ok()
        };
        let (header, claims) = (part(0).unwrap_or_default(), part(1).unwrap_or_default());
        Self { text, header, claims }
    }

    fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }
}

/// Returns what may cure each step that failed, by what the step is about.
pub(super) fn entries(
    config: &Config,
    said: &Said,
    steps: &[Step],
    granting: Option<&Granting<'_>>,
) -> Vec<Entry> {
    let issuer = steps.iter().find_map(|step| match step {
        Step::Issuer(Ok(index)) => config.issuers.get(index.0),
        _ => None,
    });
    let cured = steps.iter().filter_map(|step| of_step(config, issuer, said, step));
    let mut entries: Vec<Entry> = cured.map(|(name, line)| (name.to_owned(), vec![line])).collect();
    let grants = granting.map_or(&[][..], |granting| granting.grants);
    for (at, grant) in grants.iter().enumerate() {
        let lines = granting.map_or_else(Vec::new, |granting| lacking(grant, granting, said));
        if !lines.is_empty() {
            entries.push((format!("allow[{at}]"), lines));
        }
    }
    entries
}

/// What a failed step is about, and what may cure it.
fn of_step(
    config: &Config,
    issuer: Option<&Issuer>,
    said: &Said,
    step: &Step,
) -> Option<(&'static str, String)> {
    match step {
        Step::Form(Err(Denial::ClaimsMalformed { claim }))
        | Step::Registered(_, Err(Denial::ClaimsMalformed { claim })) => {
            Some((claim, malformed(said, claim)))
        }
        Step::Form(Err(denial)) => Some(("form", form(said, denial)?)),
        Step::Issuer(Err(_)) => Some(("iss", issuer::cure(config, said)?)),
        Step::Registered("alg", Err(_)) => Some(("alg", algorithm(issuer?))),
        Step::Registered("aud", Err(_)) => Some(("aud", audience::cure(issuer?, said)?)),
        Step::Signature(Err(denial)) => match &issuer?.jwks {
            JwksSource::Inline(keys) => Some(("signature", signature(keys, said, denial)?)),
            JwksSource::Remote(_) => None,
        },
        _ => None,
    }
}

/// What may be wrong with a credential that is no signed JWT.
fn form(said: &Said, denial: &Denial) -> Option<String> {
    let line = match denial {
        Denial::TokenEncrypted => {
            "five parts are an encrypted token (JWE), made for somebody who holds a private key; have \
             the issuer sign tokens for this API and not encrypt them (Auth0: ask with an `audience`)"
                .to_owned()
        }
        Denial::TokenMalformed if said.text.starts_with(GOOGLES) => {
            "an opaque token of Google, which only Google can look up; send an ID token for the \
             audience of this API"
                .to_owned()
        }
        Denial::TokenMalformed if !said.text.contains('.') => {
            "no dots: an opaque token, which only its issuer can look up; ask the issuer for an \
             access token of this API, as a JWT (Auth0: with an `audience`)"
                .to_owned()
        }
        Denial::KidMalformed => {
            let kid = kind(said.header.get("kid"));
            format!(
                "the header's kid is {kid}; it must be a text of up to 256 bytes (RFC 7515 §4.1.4), \
                 so the issuer has to change it"
            )
        }
        Denial::AlgorithmForbidden => {
            "the header's alg is none that has a public key; have the issuer sign with RS256, not \
             with a secret (HS256)"
                .to_owned()
        }
        _ => return None,
    };
    Some(line)
}

/// What a registered claim is, and what it has to be.
fn malformed(said: &Said, claim: &str) -> String {
    let expected = match claim {
        "exp" | "iat" | "nbf" => "a number, in seconds since 1970 (RFC 7519 §2)",
        "aud" => "a text or a list of texts",
        _ => "a text",
    };
    let found = kind(said.claims.get(claim));
    format!("{claim} is {found}; it must be {expected}, so the issuer has to change it")
}

/// An algorithm that the issuer's entry does not list.
fn algorithm(issuer: &Issuer) -> String {
    let entry = format!("issuers[{}]", issuer.entry.0);
    format!(
        "alg is none of {entry}.algorithms; if the issuer signs with it on purpose, list it there"
    )
}

/// What may be wrong with a signature, by the keys that were given.
fn signature(keys: &KeySet, said: &Said, denial: &Denial) -> Option<String> {
    let Some(kid) = said.header.get("kid").and_then(Value::as_str) else {
        return (keys.len() > MAX_TRIES).then(|| {
            format!(
                "the token has no kid and the key set has {} keys, of which the first {MAX_TRIES} that \
                 fit are tried; have the issuer set kid",
                keys.len()
            )
        });
    };
    match denial {
        Denial::KeyUnknown => {
            let unusable = &keys.unusable().first;
            let named = unusable.iter().find(|key| key.kid.as_deref() == Some(kid));
            Some(named.map_or_else(
                || {
                    "no key of the set has the token's kid: it is old, or of another issuer than the \
                     token; the gateway's own is at jwks.uri or found by discovery"
                        .to_owned()
                },
                |key| {
                    format!("the key set has a key of this kid that cannot be used: {}", key.reason)
                },
            ))
        }
        Denial::SignatureInvalid => Some(
            "the key of this kid did not sign it: if the issuer has a new key under an old kid, the \
             gateway fetches it; give --jwks the newest key set"
                .to_owned(),
        ),
        _ => None,
    }
}

/// What may be wrong where a grant does not hold.
fn lacking(grant: &Grant, granting: &Granting<'_>, said: &Said) -> Vec<String> {
    let claims = granting.claims;
    let mut lines = Vec::new();
    let unmet = grant.claims.iter().filter(|(name, values)| !claims.has(name, values));
    for (name, _) in unmet {
        lines.extend(of_claim(&name.to_string(), said));
    }
    if grant.roles.iter().any(|role| !claims.has_role(role)) {
        let nested = said.claims.get("realm_access").and_then(|access| access.get("roles"));
        if !said.claims.contains_key("roles") && nested.is_some() {
            let line = "the token has no roles, but realm_access.roles (Keycloak); ask for those with \
                        \"claims\": {\"/realm_access/roles\": […]}";
            lines.push(line.to_owned());
        }
    }
    let is_full = |scope: &&String| scope.contains("://") && !claims.has_scope(scope);
    for scope in grant.scopes.iter().filter(is_full) {
        let short = scope.rsplit('/').next().unwrap_or_default();
        if claims.has_scope(short) {
            lines.push(format!(
                "scp has the short name (Entra): write the scope as {short:?}, and what stands before \
                 it as `protected_resource.scope_prefix`"
            ));
        }
    }
    lines
}

/// What may be wrong with a claim that has none of a grant's values.
fn of_claim(name: &str, said: &Said) -> Option<String> {
    let overage = said.claims.get("_claim_names").and_then(Value::as_object);
    let is_left_out = overage.is_some_and(|names| names.contains_key(name))
        || name == "groups" && said.claims.get("hasgroups") == Some(&Value::Bool(true));
    if is_left_out {
        return Some(format!(
            "{name} is left out of the token, which names it in _claim_names (Entra's overage: the \
             caller is in too many); use app roles with `roles`, or have the application emit only \
             the groups assigned to it"
        ));
    }
    if !said.claims.contains_key(name) && name.contains('.') {
        let pointer = format!("/{}", name.replace('.', "/"));
        let is_there = Value::Object(said.claims.clone()).pointer(&pointer).is_some();
        return is_there.then(|| {
            format!("the token has no claim {name:?}, but the value at the pointer {pointer:?}; write that")
        });
    }
    let value = said.claims.get(name);
    match value {
        Some(Value::Object(_)) => Some(format!(
            "{name} is an object; name the value in it with a pointer, such as \"/{name}/roles\""
        )),
        _ => None,
    }
}

/// What sort of value this is.
fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None => "absent",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(text)) if text.len() > 256 => "a text of more than 256 bytes",
        Some(Value::String(_)) => "a text",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    }
}
