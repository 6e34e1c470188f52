//! Verification inside the VM, by the crate of each algorithm.

use p256::ecdsa::signature::Verifier as _;
use rsa::{Pkcs1v15Sign, Pss};
use sha2::digest::FixedOutputReset;
use sha2::digest::const_oid::AssociatedOid;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::{Algorithm, Crypto, Numbers, PublicKey};

/// Verifies inside the VM; RSA with 2048 bits takes half a millisecond.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox;

impl Crypto for Sandbox {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        match (algorithm, &key.numbers) {
            (Algorithm::EdDsa, Numbers::Ed25519(key)) => {
                ed25519_dalek::Signature::from_slice(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
            (Algorithm::Es256, Numbers::P256(key)) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            (Algorithm::Es384, Numbers::P384(key)) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            (_, Numbers::Rsa(key)) => rsa(algorithm, key, message, signature),
            (_, Numbers::Ed25519(_) | Numbers::P256(_) | Numbers::P384(_)) => false,
        }
    }
}

fn rsa(algorithm: Algorithm, key: &rsa::PublicKey, message: &[u8], signature: &[u8]) -> bool {
    match algorithm {
        Algorithm::EdDsa | Algorithm::Es256 | Algorithm::Es384 => false,
        Algorithm::Ps256 => pss::<Sha256>(key, message, signature),
        Algorithm::Ps384 => pss::<Sha384>(key, message, signature),
        Algorithm::Ps512 => pss::<Sha512>(key, message, signature),
        Algorithm::Rs256 => pkcs1::<Sha256>(key, message, signature),
        Algorithm::Rs384 => pkcs1::<Sha384>(key, message, signature),
        Algorithm::Rs512 => pkcs1::<Sha512>(key, message, signature),
    }
}

/// RSASSA-PSS (RFC 8017 §8.1.2) with a salt as long as the hash (RFC 7518 §3.5).
fn pss<D>(key: &rsa::PublicKey, message: &[u8], signature: &[u8]) -> bool
where
    D: Digest + FixedOutputReset,
{
    key.verify(Pss::<D>::new(), &D::digest(message), signature).is_ok()
}

/// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2.2).
fn pkcs1<D>(key: &rsa::PublicKey, message: &[u8], signature: &[u8]) -> bool
where
    D: Digest + AssociatedOid,
{
    key.verify(Pkcs1v15Sign::new::<D>(), &D::digest(message), signature).is_ok()
}
