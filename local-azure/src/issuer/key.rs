//! One RSA key of the issuer: what it signs, and how it is published.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer};
use rsa::traits::PublicKeyParts;
use rsa::{PrivateKey, PublicKey, pss};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Signs under one `kid`, with RS256 unless told otherwise.
pub(super) struct Key {
    kid: String,
    private: PrivateKey,
    public: PublicKey,
    signing: SigningKey<Sha256>,
}

impl Key {
    /// Makes a new key of 2048 bits, the least that RFC 7518, section 3.3, allows.
    ///
    /// Blocks for a fraction of a second.
    pub(super) fn generate() -> Self {
        let private = PrivateKey::new(&mut rand::rng(), 2048).expect("2048 bits make a key");
        let public = private.to_public_key();
        let signing = SigningKey::new(private.clone());
        Self { kid: thumbprint(&public), private, public, signing }
    }

    /// Returns the same key under another `kid`.
    pub(super) fn named(self, kid: String) -> Self {
        Self { kid, ..self }
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

    /// Returns the signature of one of the algorithms that RFC 7518, sections 3.3 and 3.5, has for
    /// RSA, or `None` if it is none of them.
    pub(super) fn sign(&self, algorithm: &str, input: &[u8]) -> Option<Vec<u8>> {
        let private = || self.private.clone();
        let random = &mut rand::rng();
        Some(match algorithm {
            "RS256" => self.signing.sign(input).to_vec(),
            "RS384" => SigningKey::<Sha384>::new(private()).sign(input).to_vec(),
            "RS512" => SigningKey::<Sha512>::new(private()).sign(input).to_vec(),
            "PS256" => {
                pss::SigningKey::<Sha256>::new(private()).sign_with_rng(random, input).to_vec()
            }
            "PS384" => {
                pss::SigningKey::<Sha384>::new(private()).sign_with_rng(random, input).to_vec()
            }
            "PS512" => {
                pss::SigningKey::<Sha512>::new(private()).sign_with_rng(random, input).to_vec()
            }
            _ => return None,
        })
    }
}

/// Returns the compact serialisation (RFC 7515, section 7.1), or `None` if there is no signature.
pub(super) fn compact(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Option<String> {
    let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let input = format!("{}.{}", encode(header), encode(claims));
    let signature = sign(input.as_bytes())?;
    Some(format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

/// Names a key by its own bytes: the JWK thumbprint (RFC 7638), cut to the 20 bytes of the
/// certificate thumbprint that Entra uses.
fn thumbprint(key: &PublicKey) -> String {
    let members = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, exponent(key), modulus(key));
    BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(members)[..20])
}

fn modulus(key: &PublicKey) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(key.n().to_be_bytes_trimmed_vartime())
}

fn exponent(key: &PublicKey) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(key.e().to_be_bytes_trimmed_vartime())
}
