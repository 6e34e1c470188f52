//! Mints the callers' tokens: `mint --dir DIR --life SECONDS RS256=100000 ES256=100000 …`.
//!
//! Writes `jwks.json` (today's keys), `next.jwks.json` (with the key of tomorrow beside them), one
//! file of tokens for each algorithm, a token a line (`rs256.tokens` …), `next.tokens`, signed with
//! tomorrow's key, and `unscoped.tokens`, which lack the scope.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use helpers::{AUDIENCE, ISSUER, SCOPE};
use lexopt::ValueExt;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A key pair and the algorithm that it is used with here.
enum Signer<'a> {
    Rs256(&'a RsaKeyPair),
    Ps256(&'a RsaKeyPair),
    Es256(&'a EcdsaKeyPair),
    EdDsa(&'a Ed25519KeyPair),
}

/// What is to be minted: one file.
struct Batch<'a> {
    file: String,
    kid: &'static str,
    signer: Signer<'a>,
    count: usize,
    scopes: String,
}

/// What the command line says.
struct Arguments {
    dir: PathBuf,
    life: u64,
    counts: Vec<(String, usize)>,
}

/// Identifiers of the keys, of the length of Entra's.
const RSA: &str = "rsa-key-rsa-key-rsa-key-rsa";
const EC: &str = "ec--key-ec--key-ec--key-ec-";
const ED: &str = "ed--key-ed--key-ed--key-ed-";
const NEXT: &str = "next-key-next-key-next-key-";

/// How many tokens `next.tokens` holds.
const NEXT_COUNT: usize = 1000;

fn main() -> Outcome<()> {
    let Arguments { dir, life, counts } = arguments()?;
    fs::create_dir_all(&dir)?;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let next = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let ed = Ed25519KeyPair::generate()?;

    let today = vec![rsa_jwk(RSA, &rsa), ec_jwk(&ec), ed_jwk(&ed)];
    let tomorrow = [today.clone(), vec![rsa_jwk(NEXT, &next)]].concat();
    fs::write(dir.join("jwks.json"), json!({ "keys": today }).to_string())?;
    fs::write(dir.join("next.jwks.json"), json!({ "keys": tomorrow }).to_string())?;

    let scopes = format!("{SCOPE} profile");
    let mut batches = vec![
        batch("next", NEXT, Signer::Rs256(&next), NEXT_COUNT, &scopes),
        batch("unscoped", RSA, Signer::Rs256(&rsa), 1, "openai.embeddings profile"),
    ];
    for (name, count) in counts {
        let (kid, signer) = match name.as_str() {
            "RS256" => (RSA, Signer::Rs256(&rsa)),
            "PS256" => (RSA, Signer::Ps256(&rsa)),
            "ES256" => (EC, Signer::Es256(&ec)),
            "EdDSA" => (ED, Signer::EdDsa(&ed)),
            other => return Err(format!("no algorithm {other}").into()),
        };
        batches.push(batch(&name, kid, signer, count, &scopes));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for batch in &batches {
        fs::write(dir.join(&batch.file), batch.mint(now, life)?)?;
    }
    Ok(())
}

fn arguments() -> Outcome<Arguments> {
    let mut arguments = Arguments { dir: PathBuf::new(), life: 0, counts: Vec::new() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("dir") => arguments.dir = parser.value()?.into(),
            lexopt::Arg::Long("life") => arguments.life = parser.value()?.string()?.parse()?,
            lexopt::Arg::Value(pair) => {
                let pair = pair.string()?;
                let (name, count) = pair.split_once('=').ok_or("want ALG=COUNT")?;
                arguments.counts.push((name.to_owned(), count.parse()?));
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(arguments)
}

fn batch<'a>(
    name: &str,
    kid: &'static str,
    signer: Signer<'a>,
    count: usize,
    scopes: &str,
) -> Batch<'a> {
    let file = format!("{}.tokens", name.to_lowercase());
    Batch { file, kid, signer, count, scopes: scopes.to_owned() }
}

impl Batch<'_> {
    /// Mints all tokens, on every core; they come out in the order of their numbers.
    fn mint(&self, now: u64, life: u64) -> Outcome<String> {
        let threads = thread::available_parallelism()?.get();
        let share = self.count.div_ceil(threads);
        let numbers: Vec<usize> = (0..self.count).collect();
        thread::scope(|scope| {
            let part = |part: &[usize]| {
                let part = part.to_vec();
                scope.spawn(move || {
                    part.iter()
                        .map(|number| self.token(*number, now, life))
                        .collect::<Outcome<String>>()
                })
            };
            let parts: Vec<_> = numbers.chunks(share.max(1)).map(part).collect();
            let parts = parts.into_iter().map(|part| part.join().map_err(|_| "a thread died")?);
            parts.collect::<Outcome<String>>()
        })
    }

    fn token(&self, number: usize, now: u64, life: u64) -> Outcome<String> {
        let header = json!({ "typ": "JWT", "alg": self.signer.name(), "kid": self.kid });
        let claims = claims(number, now, life, &self.scopes);
        let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        let signature = self.signer.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}\n", base64(signature)))
    }
}

impl Signer<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Ps256(_) => "PS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Outcome<Vec<u8>> {
        let random = SystemRandom::new();
        let rsa = |key: &RsaKeyPair, encoding: &'static dyn signature::RsaEncoding| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(encoding, &random, message, &mut signature)?;
            Ok(signature)
        };
        match self {
            Self::Rs256(key) => rsa(key, &signature::RSA_PKCS1_SHA256),
            Self::Ps256(key) => rsa(key, &signature::RSA_PSS_SHA256),
            Self::Es256(key) => Ok(key.sign(&random, message)?.as_ref().to_vec()),
            Self::EdDsa(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

/// The twenty claims of an access token of Entra's version 2 for a user, with plausible lengths.
fn claims(number: usize, now: u64, life: u64, scopes: &str) -> Value {
    json!({
        "aud": AUDIENCE,
        "iss": ISSUER,
        "iat": now - 300,
        "nbf": now - 300,
        "exp": now + life,
        "aio": format!("AXQAi/8TAAAA{}", "x".repeat(20)),
        "azp": "11111111-2222-3333-4444-555555555555",
        "azpacr": "1",
        "name": "Somebody Or Other",
        "oid": format!("5b2f8c1e-94d3-4c57-8a0b-{number:012x}"),
        "preferred_username": "somebody@example.com",
        "rh": format!("0.{}", "y".repeat(34)),
        "roles": ["OpenAI.Chat"],
        "scp": scopes,
        "sid": format!("00000000-aaaa-bbbb-cccc-{number:012x}"),
        "sub": format!("{number:011x}-{}", "z".repeat(31)),
        "tid": "72f988bf-86f1-41af-91ab-2d7cd011db47",
        "uti": format!("{number:022x}"),
        "ver": "2.0",
        "xms_idrel": "1 30",
    })
}

fn rsa_jwk(kid: &str, pair: &RsaKeyPair) -> Value {
    let key = pair.public_key();
    let n = base64(key.modulus().big_endian_without_leading_zero());
    let e = base64(key.exponent().big_endian_without_leading_zero());
    json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": n, "e": e })
}

fn ec_jwk(pair: &EcdsaKeyPair) -> Value {
    // An uncompressed point: one byte 4, then both coordinates.
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    json!({ "kty": "EC", "use": "sig", "crv": "P-256", "kid": EC, "x": base64(x), "y": base64(y) })
}

fn ed_jwk(pair: &Ed25519KeyPair) -> Value {
    let x = base64(pair.public_key());
    json!({ "kty": "OKP", "use": "sig", "crv": "Ed25519", "kid": ED, "x": x })
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
