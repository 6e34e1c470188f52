//! Verification by AWS-LC, with keys that are parsed once.

use std::cell::RefCell;
use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use keyless_core::signature::{Algorithm, Crypto, PublicKey, Sandbox};

/// Verifies for one thread.
#[derive(Default)]
pub(crate) struct NativeCrypto {
    keys: RefCell<Vec<Key>>,
}

struct Key {
    algorithm: Algorithm,
    spki: Box<[u8]>,
    parsed: ParsedPublicKey,
}

/// How many keys are kept parsed. A thread that meets more parses again.
const MAX_KEYS: usize = 64;

impl Crypto for NativeCrypto {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let Some(native) = native(algorithm) else {
            return Sandbox.verify(algorithm, key, message, signature);
        };
        if !key.fits(algorithm) {
            return false;
        }
        let mut keys = self.keys.borrow_mut();
        let is_it = |known: &Key| known.algorithm == algorithm && *known.spki == *key.spki();
        if let Some(known) = keys.iter().find(|known| is_it(known)) {
            return known.parsed.verify_sig(message, signature).is_ok();
        }
        let Ok(parsed) = ParsedPublicKey::new(native, key.spki()) else { return false };
        let is_valid = parsed.verify_sig(message, signature).is_ok();
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.push(Key { algorithm, spki: key.spki().into(), parsed });
        is_valid
    }
}

/// What AWS-LC verifies; the signatures of ECDSA are in the form that JWS gives them (RFC 7518 §3.4).
fn native(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::EdDsa => return None,
    })
}

impl fmt::Debug for NativeCrypto {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NativeCrypto({} keys)", self.keys.borrow().len())
    }
}
