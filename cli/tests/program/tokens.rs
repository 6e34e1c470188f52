//! Tokens of an issuer whose one key is always the same.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};

/// When the tokens are used, in Unix seconds.
pub(crate) const NOW: u64 = 2_000_000_000;

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

/// The public key.
pub(crate) fn jwk() -> Value {
    let point = key().verifying_key().to_sec1_point(false);
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({
        "kty": "EC", "crv": "P-256", "kid": "k",
        "x": number(point.x().unwrap()), "y": number(point.y().unwrap())
    })
}

/// A token with these members in the place of the usual claims; `null` takes one away.
pub(crate) fn token(claims: &Value) -> String {
    signed(&json!({ "alg": "ES256", "kid": "k" }), claims)
}

/// The same with this header.
pub(crate) fn signed(header: &Value, claims: &Value) -> String {
    let mut usual = json!({
        "iss": "https://idp.example.com/", "aud": "api", "iat": NOW, "exp": NOW + 600,
        "sub": "subject-of-the-token", "oid": "object-of-the-token"
    });
    for (name, value) in claims.as_object().unwrap() {
        usual[name] = value.clone();
    }
    usual.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(&usual));
    let signature: Signature = key().sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}
