//! Verification by Envoy's foreign function `verify_signature`, thirty times as fast as in the VM.

use prost::Message;
use proxy_wasm::hostcalls;

use keyless_core::signature::{Algorithm, Crypto, PublicKey, Sandbox};

/// Has the host verify what it can, RS* and ES*, and the sandbox the rest.
#[derive(Debug)]
pub(crate) struct HostCrypto;

/// Envoy's `VerifySignatureArguments`; of the two ways to name a key, this is known to every version.
#[derive(Message)]
struct Arguments {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

/// Envoy's `VerifySignatureResult`; a bad signature is an answer too, so only `result` counts.
#[derive(Message)]
struct Answer {
    #[prost(bool, tag = "1")]
    result: bool,
}

impl HostCrypto {
    /// Returns the host's crypto if the host has it and it can tell a good signature from a bad one.
    pub(crate) fn offered() -> Option<Self> {
        let key = PublicKey::p256(&sample::X, &sample::Y)?;
        let verify =
            |message: &[u8]| Self.verify(Algorithm::Es256, &key, message, &sample::SIGNATURE);
        (verify(sample::SIGNED) && !verify(b"something else")).then_some(Self)
    }
}

impl Crypto for HostCrypto {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let hash_function = match algorithm {
            Algorithm::Es256 | Algorithm::Rs256 => "sha256",
            Algorithm::Es384 | Algorithm::Rs384 => "sha384",
            Algorithm::Rs512 => "sha512",
            Algorithm::EdDsa | Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => {
                return Sandbox.verify(algorithm, key, message, signature);
            }
        };
        let Some(signature) = key.asn1_signature(signature).filter(|_| key.fits(algorithm)) else {
            return false;
        };
        let arguments = Arguments {
            hash_function: hash_function.to_owned(),
            public_key: key.spki().to_vec(),
            signature,
            text: message.to_vec(),
        };
        is_valid(&arguments.encode_to_vec())
    }
}

fn is_valid(arguments: &[u8]) -> bool {
    let answer = hostcalls::call_foreign_function("verify_signature", Some(arguments));
    let Ok(Some(bytes)) = answer else { return false };
    Answer::decode(bytes.as_slice()).is_ok_and(|answer| answer.result)
}

/// RFC 7515, appendix A.3: a key, what it signed, and the signature.
mod sample {
    pub(crate) const X: [u8; 32] = [
        127, 205, 206, 39, 112, 246, 196, 93, 65, 131, 203, 238, 111, 219, 75, 123, 88, 7, 51, 53,
        123, 233, 239, 19, 186, 207, 110, 60, 123, 209, 84, 69,
    ];
    pub(crate) const Y: [u8; 32] = [
        199, 241, 68, 205, 27, 189, 155, 126, 135, 44, 223, 237, 185, 238, 185, 244, 179, 105, 93,
        110, 169, 11, 36, 173, 138, 70, 35, 40, 133, 136, 229, 173,
    ];
    pub(crate) const SIGNED: &[u8] =
        b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkz\
        ODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    pub(crate) const SIGNATURE: [u8; 64] = [
        14, 209, 33, 83, 121, 99, 108, 72, 60, 47, 127, 21, 88, 7, 212, 2, 163, 178, 40, 3, 58,
        249, 124, 126, 23, 129, 154, 195, 22, 158, 166, 101, 197, 10, 7, 211, 140, 60, 112, 229,
        216, 241, 45, 175, 8, 74, 84, 128, 166, 101, 144, 197, 242, 147, 80, 154, 143, 63, 127,
        138, 131, 163, 84, 213,
    ];
}
