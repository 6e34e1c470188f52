//! One RSA key of the issuer: what it signs, and how it is published.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rsa::rand_core::OsRng;
use rsa::sha2::{Digest, Sha256};
use rsa::signature::{SignatureEncoding, Signer};
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use serde_json::{Value, json};

/// Signs with RS256 under one `kid`.
pub(super) struct Key {
    kid: String,
    public: RsaPublicKey,
    signing: SigningKey<Sha256>,
}

impl Key {
    /// Makes a new key of 2048 bits, the least that RFC 7518, section 3.3, allows.
    ///
    /// Blocks for a fraction of a second.
    pub(super) fn generate() -> Self {
        let private = RsaPrivateKey::new(&mut OsRng, 2048).expect("2048 bits make a key");
        let public = private.to_public_key();
        Self { kid: thumbprint(&public), public, signing: SigningKey::new(private) }
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn public_key_pem(&self) -> String {
        self.public.to_public_key_pem(LineEnding::LF).expect("an RSA key has a PEM form")
    }

    /// Returns the public key as Entra publishes it: no `alg`, `x5t` equal to `kid`, and the
    /// non-standard member `issuer`.
    pub(super) fn jwk(&self, issuer: &str) -> Value {
        json!({
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": modulus(&self.public),
            "e": exponent(&self.public),
            "issuer": issuer,
        })
    }

    /// Returns the compact serialisation (RFC 7515, section 7.1) with an RS256 signature, whatever
    /// the header promises.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signing.sign(input.as_bytes()).to_vec();
        format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Names a key by its own bytes: the JWK thumbprint (RFC 7638), cut to the 20 bytes of the
/// certificate thumbprint that Entra uses.
fn thumbprint(key: &RsaPublicKey) -> String {
    let members = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, exponent(key), modulus(key));
    BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(members)[..20])
}

fn modulus(key: &RsaPublicKey) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(key.n().to_bytes_be())
}

fn exponent(key: &RsaPublicKey) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(key.e().to_bytes_be())
}
