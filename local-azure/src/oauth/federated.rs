//! Federated credentials: tokens of other issuers that Entra takes in place of a secret.
//!
//! Source: Microsoft, "Workload identity federation"; the numbers are those of its error codes.

use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::signature::Verifier;
use rsa::{BoxedUint, PublicKey};
use serde_json::Value;
use sha2::Sha256;

use super::Refusal;
use crate::clock;

/// Names whose tokens the application may present. Entra compares all three exactly.
#[derive(Clone, Debug)]
pub struct FederatedCredential {
    /// The `iss` of the tokens.
    pub issuer: String,
    /// Their `sub`, such as `system:serviceaccount:NAMESPACE:NAME`.
    pub subject: String,
    /// One of their `aud`, such as `api://AzureADTokenExchange`.
    pub audience: String,
    /// The issuer's keys as it publishes them, a JWKS (RFC 7517), which Entra fetches by discovery.
    pub keys: Value,
}

/// Checks an assertion; one that is good was signed by a key of a credential's issuer.
pub(super) fn check(assertion: &str, credentials: &[FederatedCredential]) -> Result<(), Refusal> {
    let refused = |code, what: &str| Refusal {
        status: StatusCode::UNAUTHORIZED,
        ..Refusal::new("invalid_client", code, what)
    };
    let token = Token::parse(assertion)
        .ok_or_else(|| refused(50_027, "JWT token is invalid or malformed."))?;
    let record = "No matching federated identity record found for presented assertion";
    if credentials.is_empty() {
        return Err(refused(
            70_025,
            "The client has no configured federated identity credentials.",
        ));
    }
    let by_issuer = |one: &&FederatedCredential| token.claims["iss"] == *one.issuer;
    let of_issuer: Vec<_> = credentials.iter().filter(by_issuer).collect();
    let Some(first) = of_issuer.first() else {
        return Err(refused(700_211, &format!("{record} issuer {}.", token.claims["iss"])));
    };
    let by_subject = |one: &&&FederatedCredential| token.claims["sub"] == *one.subject;
    let Some(credential) = of_issuer.iter().find(by_subject) else {
        return Err(refused(700_213, &format!("{record} subject {}.", token.claims["sub"])));
    };
    if !token.names(&credential.audience) {
        return Err(refused(700_212, &format!("{record} audience {}.", token.claims["aud"])));
    }
    if !token.is_signed_by(&first.keys) {
        return Err(refused(700_027, "The key was not found, or the signature is not valid."));
    }
    if !token.is_in_time() {
        return Err(refused(700_024, "Client assertion is not within its valid time range."));
    }
    Ok(())
}

struct Token<'a> {
    header: Value,
    claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part: &str| serde_json::from_slice(&decode(part)?).ok();
        let (header, claims) = (json(header)?, json(claims)?);
        Some(Self { header, claims, signed, signature: decode(signature)? })
    }

    /// Returns true if `aud` is this text or a list with it.
    fn names(&self, audience: &str) -> bool {
        match &self.claims["aud"] {
            Value::Array(all) => all.iter().any(|one| one == audience),
            one => one == audience,
        }
    }

    fn is_in_time(&self) -> bool {
        let seconds = |name: &str| self.claims[name].as_u64();
        let now = clock::now();
        seconds("exp").is_some_and(|end| now < end)
            && seconds("nbf").is_none_or(|start| start <= now)
    }

    /// Returns true if the key that `kid` names has signed the token by RS256, which is all that
    /// Entra takes.
    fn is_signed_by(&self, keys: &Value) -> bool {
        let keys = keys["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        let key = keys.iter().find(|key| key["kid"] == self.header["kid"]).and_then(public_key);
        let signature = Signature::try_from(self.signature.as_slice());
        let (Some(key), Ok(signature)) = (key, signature) else { return false };
        let verifier = VerifyingKey::<Sha256>::new(key);
        self.header["alg"] == "RS256" && verifier.verify(self.signed.as_bytes(), &signature).is_ok()
    }
}

fn public_key(key: &Value) -> Option<PublicKey> {
    let number = |name: &str| Some(BoxedUint::from_be_slice_vartime(&decode(key[name].as_str()?)?));
    PublicKey::new(number("n")?, number("e")?).ok()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}
