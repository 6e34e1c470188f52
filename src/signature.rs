//! Is this the signature of that key over these bytes? (RFC 7518 §3)
//!
//! [`Crypto`] is a port with two makers: [`Sandbox`] computes inside the VM, the host adapter has
//! Envoy compute natively. Both see only keys that [`PublicKey`] found fit for use.

use std::fmt;

use jwt_compact::alg::Rsa;
use jwt_compact::{Algorithm as _, AlgorithmSignature as _};
use rsa::pkcs8::EncodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPublicKey};

/// Names a signature algorithm of RFC 7518 §3.1. `none` and HS* cannot be named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

impl Algorithm {
    /// Lists what can be verified, by the names that `alg` uses.
    pub const ALL: [(&str, Self); 6] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
    ];

    /// Returns the algorithm of that name; names are case-sensitive (RFC 7515 §4.1.1).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }
}

/// Verifies signatures.
pub trait Crypto {
    /// Returns true only if `signature` is that of `key` over `message`.
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> bool;
}

/// Holds a public key that is fit for use, in the forms that the makers of [`Crypto`] need.
#[derive(Clone)]
pub struct PublicKey {
    rsa: RsaPublicKey,
    /// DER of the `SubjectPublicKeyInfo` (RFC 5280 §4.1), which is what Envoy takes.
    spki: Box<[u8]>,
}

/// RFC 7518 §3.3 sets the least; above the most, one verification costs a worker too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

impl PublicKey {
    /// Makes an RSA key of the big-endian modulus and exponent of a JWK (RFC 7518 §6.3.1).
    ///
    /// Returns `None` for a key that must not be used: a modulus outside 2048 to 8192 bits, or an
    /// exponent that is even, below 3 or above 2³³.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let n = BigUint::from_bytes_be(modulus);
        let e = BigUint::from_bytes_be(exponent);
        let rsa = RsaPublicKey::new_with_max_size(n, e, *RSA_BITS.end()).ok()?;
        if !RSA_BITS.contains(&rsa.n().bits()) {
            return None;
        }
        let spki = rsa.to_public_key_der().ok()?.into_vec().into();
        Some(Self { rsa, spki })
    }

    /// Returns true if a key of this type can make signatures of that algorithm.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512
            | Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512 => true,
        }
    }

    /// Returns the DER of the key's `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey(RSA, {} bits)", self.rsa.n().bits())
    }
}

/// Verifies inside the VM, with `jwt-compact`'s algorithms; about 500 µs for RSA with 2048 bits.
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
        let maker = match algorithm {
            Algorithm::Ps256 => Rsa::ps256(),
            Algorithm::Ps384 => Rsa::ps384(),
            Algorithm::Ps512 => Rsa::ps512(),
            Algorithm::Rs256 => Rsa::rs256(),
            Algorithm::Rs384 => Rsa::rs384(),
            Algorithm::Rs512 => Rsa::rs512(),
        };
        // RFC 8017 §8.2.2 step 1: a signature is exactly as long as the modulus.
        signature.len() == key.rsa.size()
            && <Rsa as jwt_compact::Algorithm>::Signature::try_from_slice(signature)
                .is_ok_and(|signature| maker.verify_signature(&signature, &key.rsa, message))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    // RFC 7515, appendix A.2: an RS256 key, what it signed, and the signature.
    const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

    fn decode(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    #[test]
    fn the_signature_of_rfc_7515_is_valid_for_its_algorithm_alone() {
        let key = PublicKey::rsa(&decode(N), &[1, 0, 1]).unwrap();
        for (name, algorithm) in Algorithm::ALL {
            let valid = Sandbox.verify(algorithm, &key, SIGNED.as_bytes(), &decode(SIGNATURE));
            assert_eq!(valid, name == "RS256", "{name}");
        }
    }

    #[test]
    fn a_changed_message_or_signature_is_not_valid() {
        let key = PublicKey::rsa(&decode(N), &[1, 0, 1]).unwrap();
        let verify = |message: &[u8], signature: &[u8]| {
            Sandbox.verify(Algorithm::Rs256, &key, message, signature)
        };
        let signature = decode(SIGNATURE);
        assert!(!verify(b"", &signature));
        assert!(!verify(SIGNED.as_bytes(), b""));
        assert!(!verify(SIGNED.as_bytes(), &signature[1..]));
        assert!(!verify(SIGNED.as_bytes(), &[&[0], signature.as_slice()].concat()));
        for at in [0, 100, 255] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!verify(SIGNED.as_bytes(), &changed));
        }
    }

    #[test]
    fn weak_keys_cannot_be_made() {
        let modulus = decode(N);
        assert!(PublicKey::rsa(&modulus, &[3]).is_some());
        for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[0xff; 9]] {
            assert!(PublicKey::rsa(&modulus, exponent).is_none(), "exponent {exponent:?}");
        }
        assert!(PublicKey::rsa(&[], &[1, 0, 1]).is_none());
        assert!(PublicKey::rsa(&modulus[1..], &[1, 0, 1]).is_none(), "2040 bits");
        assert!(PublicKey::rsa(&[0xff; 1024], &[1, 0, 1]).is_some(), "8192 bits");
        assert!(PublicKey::rsa(&[0xff; 1025], &[1, 0, 1]).is_none(), "8200 bits");
    }

    #[test]
    fn names_of_algorithms_are_exact() {
        assert_eq!(Algorithm::named("RS256"), Some(Algorithm::Rs256));
        for name in ["none", "None", "rs256", "HS256", "RS1", "ES256K", ""] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
    }
}
