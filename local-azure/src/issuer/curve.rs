//! The issuer's keys on elliptic curves, one for each algorithm that needs one.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use p256::elliptic_curve::Generate as _;
use rsa::signature::Signer;
use serde_json::{Value, json};

/// Signs with the one algorithm of its curve under a `kid` that says which (RFC 7518, section 3.4;
/// RFC 8037, section 3.1).
pub(super) enum CurveKey {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl CurveKey {
    /// Makes a new key for an algorithm, or none if the algorithm needs no curve.
    pub(super) fn generate(algorithm: &str) -> Option<Self> {
        match algorithm {
            "EdDSA" => Some(Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&rand::random()))),
            "ES256" => {
                Some(Self::P256(p256::ecdsa::SigningKey::generate_from_rng(&mut rand::rng())))
            }
            "ES384" => {
                Some(Self::P384(p384::ecdsa::SigningKey::generate_from_rng(&mut rand::rng())))
            }
            _ => None,
        }
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
        }
    }

    pub(super) fn kid(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "on-ed25519",
            Self::P256(_) => "on-p-256",
            Self::P384(_) => "on-p-384",
        }
    }

    /// Returns the public key (RFC 7518, section 6.2.1; RFC 8037, section 2) with the members that
    /// Entra's keys have.
    pub(super) fn jwk(&self, issuer: &str) -> Value {
        let (kind, curve, x, y) = match self {
            Self::Ed25519(key) => ("OKP", "Ed25519", encoded(Some(key.verifying_key())), None),
            Self::P256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                ("EC", "P-256", encoded(point.x()), Some(encoded(point.y())))
            }
            Self::P384(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                ("EC", "P-384", encoded(point.x()), Some(encoded(point.y())))
            }
        };
        let mut jwk = json!({
            "kty": kind, "use": "sig", "kid": self.kid(), "crv": curve, "x": x, "issuer": issuer,
        });
        if let Some(y) = y {
            jwk["y"] = y.into();
        }
        jwk
    }

    pub(super) fn sign(&self, input: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(input).to_bytes().to_vec(),
            Self::P256(key) => {
                Signer::<p256::ecdsa::Signature>::sign(key, input).to_bytes().to_vec()
            }
            Self::P384(key) => {
                Signer::<p384::ecdsa::Signature>::sign(key, input).to_bytes().to_vec()
            }
        }
    }
}

fn encoded(coordinate: Option<impl AsRef<[u8]>>) -> String {
    coordinate.map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default()
}
