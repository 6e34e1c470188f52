//! Reads the public key of a certificate, for issuers that publish nothing but `x5c` (RFC 7517 §4.7).
//!
//! The certificate is an envelope: the key set says whose key it is, so signature, names and dates of
//! the certificate decide nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use spki::der::asn1::AnyRef;
use spki::der::{Decode as _, Reader, Result, SliceReader, Tag, TagNumber};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

/// Holds the DER of an X.509 certificate (RFC 5280 §4.1).
pub(super) struct Certificate(Vec<u8>);

/// Keys of any RSA signature; one that its certificate restricts to PSS has another.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The version, which a certificate of the first version leaves out (RFC 5280 §4.1.2.1).
const VERSION: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

/// Serial number, signature algorithm, issuer, validity and subject.
const MEMBERS_BEFORE_THE_KEY: usize = 5;

impl Certificate {
    /// Takes the first of a JWK's chain, which is the one of its key, if it is base64.
    pub(super) fn of(jwk: &Map<String, Value>) -> Option<Self> {
        let first = jwk.get("x5c")?.as_array()?.first()?.as_str()?;
        STANDARD.decode(first).ok().map(Self)
    }

    /// Returns modulus and exponent of an RSA key, both big-endian, or `None` if it holds another.
    pub(super) fn rsa(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let info = key_info(&self.0).ok()?;
        if info.algorithm.oid != RSA_ENCRYPTION {
            return None;
        }
        let key = pkcs1::RsaPublicKeyRef::from_der(info.subject_public_key.as_bytes()?).ok()?;
        Some((key.modulus.as_bytes().into(), key.public_exponent.as_bytes().into()))
    }

    /// Returns the coordinates of a key on an elliptic curve, or `None` if it holds another or they
    /// are compressed (SEC 1 §2.3.3).
    pub(super) fn point(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let info = key_info(&self.0).ok()?;
        let (4, point) = info.subject_public_key.as_bytes()?.split_first()? else { return None };
        let (x, y) = point.split_at_checked(point.len().checked_div(2)?)?;
        Some((x.into(), y.into()))
    }
}

fn key_info(certificate: &[u8]) -> Result<SubjectPublicKeyInfoRef<'_>> {
    let mut reader = SliceReader::new(certificate)?;
    reader.sequence(|certificate: &mut SliceReader<'_>| {
        let info = certificate.sequence(signed_key_info)?;
        skip(certificate)?;
        Ok(info)
    })
}

fn signed_key_info<'a>(signed: &mut SliceReader<'a>) -> Result<SubjectPublicKeyInfoRef<'a>> {
    if Tag::peek(signed)? == VERSION {
        AnyRef::decode(signed)?;
    }
    for _ in 0..MEMBERS_BEFORE_THE_KEY {
        AnyRef::decode(signed)?;
    }
    let info = SubjectPublicKeyInfoRef::decode(signed)?;
    skip(signed)?;
    Ok(info)
}

/// Reads what follows, which must be DER, and drops it.
fn skip(reader: &mut SliceReader<'_>) -> Result<()> {
    while !reader.is_finished() {
        AnyRef::decode(reader)?;
    }
    Ok(())
}
