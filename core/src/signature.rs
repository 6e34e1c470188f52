//! Is this the signature of that key over these bytes? (RFC 7518 §3, RFC 8037)
//!
//! [`Crypto`] is a port with two makers: [`Sandbox`] computes inside the VM, the host adapter has
//! Envoy compute natively. Both see only keys that [`PublicKey`] found fit for use.

mod sandbox;

use std::fmt;
use std::iter::successors;

use p256::pkcs8::EncodePublicKey as _;
use rsa::BoxedUint;
use rsa::traits::PublicKeyParts as _;

pub use sandbox::Sandbox;

/// Names a signature algorithm of RFC 7518 §3.1 or RFC 9864. `none` and HS* cannot be named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// Edwards-curve signatures, on Ed25519; `EdDSA` by RFC 8037, `Ed25519` by RFC 9864.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
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
    pub const ALL: [(&str, Self); 10] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
        ("Ed25519", Self::EdDsa),
    ];

    /// Returns the algorithm of that name; names are case-sensitive (RFC 7515 §4.1.1).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }
}

/// Verifies signatures.
pub trait Crypto {
    /// Returns true only if `signature`, in the form that JWS gives it, is that of `key` over
    /// `message`.
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
    numbers: Numbers,
    /// DER of the `SubjectPublicKeyInfo` (RFC 5280 §4.1), which is what Envoy takes; empty for a
    /// key that Envoy cannot use.
    spki: Box<[u8]>,
}

/// The key itself, by its type.
#[derive(Clone)]
enum Numbers {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Rsa(rsa::PublicKey),
}

/// RFC 7518 §3.3 sets the least; above the most, one verification costs a worker too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The primes that give away a modulus of ROCA's (CVE-2017-15361).
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

impl PublicKey {
    /// Makes an RSA key of the big-endian modulus and exponent of a JWK (RFC 7518 §6.3.1).
    ///
    /// Returns `None` for a key that must not be used: a modulus outside 2048 to 8192 bits or one
    /// that ROCA can factor, or an exponent that is even, below 3 or above 2³³.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (n, e) = (number(modulus), number(exponent));
        let key = rsa::PublicKey::new_with_size_limits(n, e, RSA_BITS).ok()?;
        // After the limit, so that nobody's endless number is divided that often.
        if is_of_roca(&key.n_bytes()) {
            return None;
        }
        let spki = key.to_public_key_der().ok()?.into_vec().into();
        Some(Self { numbers: Numbers::Rsa(key), spki })
    }

    /// Makes a P-256 key of the coordinates of a JWK (RFC 7518 §6.2.1), or `None` if they are not
    /// those of a point on the curve.
    pub fn p256(x: &[u8], y: &[u8]) -> Option<Self> {
        let key = p256::PublicKey::from_sec1_bytes(&sec1(x, y, 32)?).ok()?;
        let spki = key.to_public_key_der().ok()?.into_vec().into();
        Some(Self { numbers: Numbers::P256(key.into()), spki })
    }

    /// Makes a P-384 key from its coordinates.
    pub fn p384(x: &[u8], y: &[u8]) -> Option<Self> {
        let key = p384::PublicKey::from_sec1_bytes(&sec1(x, y, 48)?).ok()?;
        let spki = key.to_public_key_der().ok()?.into_vec().into();
        Some(Self { numbers: Numbers::P384(key.into()), spki })
    }

    /// Makes an Ed25519 key of the public key of a JWK (RFC 8037 §2), or `None` if it is not one
    /// or one of the few points for which anybody can make signatures.
    pub fn ed25519(x: &[u8]) -> Option<Self> {
        let key = ed25519_dalek::VerifyingKey::try_from(x).ok().filter(|key| !key.is_weak())?;
        Some(Self { numbers: Numbers::Ed25519(key), spki: Box::default() })
    }

    /// Returns true if a key of this type can make signatures of that algorithm.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::EdDsa => matches!(self.numbers, Numbers::Ed25519(_)),
            Algorithm::Es256 => matches!(self.numbers, Numbers::P256(_)),
            Algorithm::Es384 => matches!(self.numbers, Numbers::P384(_)),
            Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512
            | Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512 => matches!(self.numbers, Numbers::Rsa(_)),
        }
    }

    /// Returns the DER of the key's `SubjectPublicKeyInfo`; it is empty for Ed25519.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Returns the signature in the form that ASN.1 users such as Envoy expect: RSA's as it is, if
    /// it is as long as the modulus (RFC 8017 §8.2.2), ECDSA's `r‖s` (RFC 7518 §3.4) as DER.
    ///
    /// Returns `None` for a signature that this key cannot have made.
    pub fn asn1_signature(&self, signature: &[u8]) -> Option<Vec<u8>> {
        match &self.numbers {
            Numbers::Ed25519(_) => None,
            Numbers::P256(_) => {
                let signature = p256::ecdsa::Signature::from_slice(signature).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Numbers::P384(_) => {
                let signature = p384::ecdsa::Signature::from_slice(signature).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Numbers::Rsa(key) => (signature.len() == key.size()).then(|| signature.to_vec()),
        }
    }
}

impl Eq for PublicKey {}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        match (&self.numbers, &other.numbers) {
            (Numbers::Ed25519(one), Numbers::Ed25519(two)) => one == two,
            _ => !self.spki.is_empty() && self.spki == other.spki,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.numbers {
            Numbers::Ed25519(_) => formatter.write_str("PublicKey(Ed25519)"),
            Numbers::P256(_) => formatter.write_str("PublicKey(P-256)"),
            Numbers::P384(_) => formatter.write_str("PublicKey(P-384)"),
            Numbers::Rsa(key) => {
                write!(formatter, "PublicKey(RSA, {} bits)", key.n().bit_width_vartime())
            }
        }
    }
}

/// Reads big-endian bytes. Zeros in front count for nothing: with them each verification would take longer.
fn number(bytes: &[u8]) -> BoxedUint {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    BoxedUint::from_be_slice_vartime(bytes.get(zeros..).unwrap_or_default())
}

/// Returns true for a modulus as the library of Infineon made them (Nemec and others, "The Return of
/// Coppersmith's Attack", 2017): a power of 65537 modulo each of the small primes, which one honest
/// modulus in some hundred millions is so at random.
fn is_of_roca(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|&prime| {
        let reduce = |value: u32| value.checked_rem(prime).unwrap_or_default();
        let rest = modulus.iter().fold(0, |rest, byte| reduce(rest << 8 | u32::from(*byte)));
        let powers = successors(Some(1), |power: &u32| Some(reduce(power.saturating_mul(65_537))));
        powers.zip(0..prime).any(|(power, _)| power == rest)
    })
}

/// The uncompressed point (SEC 1 §2.3.3) of two coordinates that are exactly as long as the field.
fn sec1(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}

#[cfg(test)]
mod tests;
