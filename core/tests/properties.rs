//! What holds for every input: a token is taken as it was signed or not at all, and no bytes whatever
//! make a parser panic.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail loudly, and its values are made for it"
)]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyless_core::body::{self, Format};
use keyless_core::config::Config;
use keyless_core::credentials::Stripped;
use keyless_core::denial::Denial;
use keyless_core::http::Uri;
use keyless_core::jwks::{JwksSource, KeySet, discovered};
use keyless_core::jwt::{Issuer, Token};
use keyless_core::request::Head;
use keyless_core::signature::Sandbox;
use keyless_core::{bearer, identity};
use p256::ecdsa;
use p256::elliptic_curve::Generate as _;
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{pkcs1v15, pss};
use serde_json::{Value, json};
use sha2::Sha256;

const CASES: u32 = 1000;
const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://idp.example.com/";

/// A key set with a key for each of four algorithms, and two good tokens of each key.
struct World {
    keys: Value,
    tokens: Vec<String>,
}

/// A change of one character, or the loss of all that follow.
#[derive(Clone, Debug)]
enum Edit {
    Cut,
    Delete,
    Insert(char),
    Replace(char),
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl World {
    fn new() -> Self {
        let random = &mut rand::rng();
        let rsa = rsa::PrivateKey::new(random, 2048).unwrap();
        let number = |number: &rsa::BoxedUint| encode(number.to_be_bytes_trimmed_vartime());
        let rsa_jwk = |alg| {
            json!({ "kty": "RSA", "kid": alg, "alg": alg,
                    "n": number(rsa.n()), "e": number(rsa.e()) })
        };
        let p256 = ecdsa::SigningKey::generate_from_rng(random);
        let point = p256.verifying_key().to_sec1_point(false);
        let (x, y) = (encode(point.x().unwrap()), encode(point.y().unwrap()));
        let ed25519 = ed25519_dalek::SigningKey::from_bytes(&rand::random());
        let keys = [
            rsa_jwk("RS256"),
            rsa_jwk("PS256"),
            json!({ "kty": "EC", "kid": "ES256", "crv": "P-256", "x": x, "y": y }),
            json!({ "kty": "OKP", "kid": "EdDSA", "crv": "Ed25519", "x": encode(ed25519.verifying_key()) }),
        ];
        let pkcs1 = pkcs1v15::SigningKey::<Sha256>::new(rsa.clone());
        let padded = pss::SigningKey::<Sha256>::new(rsa.clone());
        let tokens = ["a?>~", "b"].into_iter().flat_map(|subject| {
            let sign = |signed: &[u8]| -> ecdsa::Signature { p256.sign(signed) };
            [
                token("RS256", subject, |signed| pkcs1.sign(signed).to_vec()),
                token("PS256", subject, |signed| padded.sign_with_rng(random, signed).to_vec()),
                token("ES256", subject, |signed| sign(signed).to_vec()),
                token("EdDSA", subject, |signed| ed25519.sign(signed).to_bytes().to_vec()),
            ]
        });
        Self { keys: json!({ "inline": { "keys": keys } }), tokens: tokens.collect() }
    }

    fn accepts(&self, text: &str) -> bool {
        self.verdict(text).is_ok()
    }

    fn verdict(&self, text: &str) -> Result<(), Denial> {
        let token = Token::parse(text)?;
        let issuer = issuer(&self.keys);
        token.check(&issuer, now())?;
        let JwksSource::Inline(keys) = &issuer.jwks else { panic!("not inline") };
        token.verify(keys, &Sandbox).map(drop)
    }
}

fn token(alg: &str, subject: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let header = json!({ "alg": alg, "kid": alg, "typ": "JWT" });
    let claims = json!({ "iss": ISSUER, "aud": "api", "exp": NOW + 3600, "sub": subject });
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    format!("{signed}.{}", encode(sign(signed.as_bytes())))
}

fn document(jwks: &Value) -> Value {
    let matching = json!({ "methods": ["GET"], "path": "/" });
    json!({
        "issuers": [{ "issuer": ISSUER, "audiences": ["api"], "jwks": jwks,
                      "algorithms": ["RS256", "PS256", "ES256", "EdDSA"] }],
        "routes": [{ "name": "all", "match": matching, "allow": [{}] }]
    })
}

fn issuer(jwks: &Value) -> Issuer {
    Config::parse(document(jwks).to_string().as_bytes()).unwrap().issuers.remove(0)
}

/// The text with one edit at a place, which may leave it as it was.
fn edited(text: &str, at: Index, edit: &Edit) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = at.index(characters.len());
    match edit {
        Edit::Cut => characters.truncate(at),
        Edit::Delete => drop(characters.remove(at)),
        Edit::Insert(character) => characters.insert(at, *character),
        Edit::Replace(character) => characters[at] = *character,
    }
    characters.into_iter().collect()
}

fn edit() -> impl Strategy<Value = Edit> {
    let character = || {
        prop_oneof![4 => "[A-Za-z0-9_.-]", 1 => "[+/=~ %\\n]", 1 => any::<char>().prop_map(String::from)]
            .prop_map(|text| text.chars().next().unwrap())
    };
    prop_oneof![
        Just(Edit::Cut),
        Just(Edit::Delete),
        character().prop_map(Edit::Insert),
        character().prop_map(Edit::Replace),
    ]
}

/// Bytes that are anything, or a valid document with a few bytes changed.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let jwks = world().keys["inline"].clone();
    let answer = json!({ "token_type": "Bearer", "access_token": "a", "expires_in": "60" });
    let discovery = json!({ "issuer": ISSUER, "jwks_uri": ISSUER });
    let remote = json!({ "cluster": "idp", "uri": ISSUER });
    let documents = vec![jwks, answer, discovery, document(&remote)];
    let byte = prop_oneof![b' '..=b'~', any::<u8>()];
    let changed = (select(documents), prop::collection::vec((any::<Index>(), byte), 0..4));
    prop_oneof![
        any::<Vec<u8>>(),
        changed.prop_map(|(document, changes)| {
            let mut bytes = document.to_string().into_bytes();
            for (at, byte) in changes {
                *at.get_mut(&mut bytes) = byte;
            }
            bytes
        }),
    ]
}

fn head(target: &[u8]) -> Head {
    Head::new(vec![(":path".to_owned(), target.to_vec())])
}

/// Paths of pieces that readers understand differently, and of plain ones.
fn target() -> impl Strategy<Value = String> {
    let plain = "(/[a-z]{1,3}|/|%20|%C3%A9|[.][a-z]|:)";
    let dubious = "(/|[.]|;|\\\\|%2[0-9A-Fa-f]|%5[cC]|%[0-9a-fA-F]{2}|%|#|[?]|[ -~])";
    let pieces = prop_oneof![6 => plain.boxed(), 1 => dubious.boxed()];
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn query() -> impl Strategy<Value = String> {
    let pairs = "((access_token|api-key|API-Key|subscription-key|%61pi-key|x|api-version)(=[a-z?]{0,3})?&?){0,4}";
    pairs.prop_map(|query| format!("/a?{query}"))
}

/// A JSON object with one member written once more, before or after the others.
fn repeated(object: &str, at: Index, value: &Value, first: bool, escaped: bool) -> String {
    let members: serde_json::Map<String, Value> = serde_json::from_str(object).unwrap();
    let name = members.keys().nth(at.index(members.len())).unwrap();
    let (start, rest) = name.split_at(1);
    let start = u32::from(start.chars().next().unwrap());
    let name = if escaped { format!("\\u{start:04x}{rest}") } else { name.clone() };
    let inner = &object[1..object.len() - 1];
    if first {
        format!("{{\"{name}\":{value},{inner}}}")
    } else {
        format!("{{{inner},\"{name}\":{value}}}")
    }
}

/// The same bytes, or nearly, in base64url that is not the canonical one.
fn other_spellings(part: &str) -> Vec<String> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = part.split_at(part.len() - 1);
    let value = ALPHABET.find(last).unwrap();
    let stray = [1, 1, 16, 4][part.len() % 4];
    let block = value / stray * stray;
    let strays = (block..block + stray)
        .filter(|other| *other != value)
        .map(|other| format!("{start}{}", &ALPHABET[other..=other]));
    let padded = ["=", "==", "\n", " "].map(|end| format!("{part}{end}"));
    let standard = [part.replace('-', "+"), part.replace('_', "/")];
    strays.chain(padded).chain(standard.into_iter().filter(|other| other != part)).collect()
}

#[test]
fn every_token_that_the_others_are_made_of_is_accepted() {
    for token in &world().tokens {
        assert_eq!(world().verdict(token), Ok(()));
    }
}

#[test]
fn parts_of_two_tokens_make_none() {
    let tokens = &world().tokens;
    let parts = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let parts: Vec<_> = tokens.iter().map(|text| parts(text)).collect();
    for header in &parts {
        for payload in &parts {
            for signature in &parts {
                let text = format!("{}.{}.{}", header[0], payload[1], signature[2]);
                assert_eq!(world().accepts(&text), tokens.contains(&text), "{text}");
            }
        }
    }
}

#[test]
fn each_part_has_one_spelling() {
    let mut seen = 0;
    for token in &world().tokens {
        let parts: Vec<_> = token.split('.').collect();
        for at in 0..3 {
            for other in other_spellings(parts[at]) {
                let mut parts = parts.clone();
                parts[at] = &other;
                let denial = world().verdict(&parts.join("."));
                assert_eq!(denial, Err(Denial::TokenMalformed), "{other}");
                seen += 1;
            }
        }
    }
    assert!(seen > 8 * 3 * 4, "{seen} spellings, padding alone makes four of each part");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn a_token_with_one_edit_is_refused(token in 0..8_usize, at in any::<Index>(), edit in edit()) {
        let token = &world().tokens[token];
        let text = edited(token, at, &edit);
        prop_assert_eq!(world().accepts(&text), text == *token);
    }

    #[test]
    fn a_member_that_appears_twice_is_malformed(
        part in 0..2_usize, at in any::<Index>(), first in any::<bool>(), escaped in any::<bool>(),
        value in prop_oneof![Just(json!("RS256")), Just(json!(null)), Just(json!([1])), any::<u64>().prop_map(Value::from)],
    ) {
        let mut parts: Vec<_> = world().tokens[0].split('.').map(str::to_owned).collect();
        let object = String::from_utf8(URL_SAFE_NO_PAD.decode(&parts[part]).unwrap()).unwrap();
        parts[part] = encode(repeated(&object, at, &value, first, escaped));
        prop_assert_eq!(Token::parse(&parts.join(".")).err(), Some(Denial::TokenMalformed));
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in bytes()) {
        drop(bearer::credential(&[&bytes]));
        drop(bearer::token(&bytes));
        drop(Token::parse(&String::from_utf8_lossy(&bytes)));
        drop(KeySet::parse(&bytes, None));
        drop(discovered(&bytes, ISSUER));
        drop(identity::parse(&bytes, "https://cognitiveservices.azure.com", now()));
        drop(Config::parse(&bytes));
        drop(head(&bytes).path());
        drop(head(&bytes).cleaned_target(&Stripped::default()));
        for format in [Format::Json, Format::Form("B".to_owned())] {
            let model = body::model(&format, &bytes).ok().flatten();
            prop_assert!(model.is_none_or(|name| name.bytes().all(|byte| byte.is_ascii_graphic())));
        }
    }

    #[test]
    fn no_header_or_payload_makes_the_token_parser_panic(
        header in any::<Vec<u8>>(), payload in any::<Vec<u8>>(), signature in any::<Vec<u8>>(),
    ) {
        let good: Vec<_> = world().tokens[0].split('.').collect();
        let header = [&encode(header), good[1], good[2]].join(".");
        let payload = [good[0], &encode(payload), good[2]].join(".");
        prop_assert!(!world().accepts(&header) && !world().accepts(&payload));
        for token in &world().tokens[..4] {
            let (signed, _) = token.rsplit_once('.').unwrap();
            let text = [signed, &encode(&signature)].join(".");
            prop_assert!(!world().accepts(&text));
        }
    }

    #[test]
    fn a_uri_becomes_what_headers_can_hold(text in "https?://[a-z:.\u{e9}]{1,4}[/?#]?[ -~\u{e9}]{0,4}") {
        let Some(Uri { authority, path }) = Uri::parse(&text) else { return Ok(()) };
        prop_assert!(path.starts_with('/') && !path.contains('#'), "{}", path);
        prop_assert!([authority, path].concat().bytes().all(|byte| byte.is_ascii_graphic()));
    }

    #[test]
    fn an_accepted_path_is_unambiguous(target in target()) {
        let head = head(target.as_bytes());
        let Ok(path) = head.path() else { return Ok(()) };
        prop_assert!(target.starts_with(path));
        for ambiguous in ["//", "/./", "/../", ";", "\\", "#", "?", "%2f", "%2F", "%2e", "%2E", "%25"] {
            prop_assert!(!path.contains(ambiguous), "{} in {}", ambiguous, path);
        }
        prop_assert!(path.starts_with('/') && !path.ends_with("/.") && !path.ends_with("/.."));
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        for character in ['/', '.', ';', '\\'] {
            prop_assert_eq!(decoded.matches(character).count(), path.matches(character).count());
        }
        prop_assert!(!decoded.contains('%'), "decoding it again changes nothing");
    }

    #[test]
    fn a_cleaned_target_has_no_credentials_left(query in query()) {
        let cleaned = head(query.as_bytes()).cleaned_target(&Stripped::default());
        let text = cleaned.clone().unwrap_or_else(|| query.clone().into_bytes());
        let decoded = percent_decode_str(str::from_utf8(&text).unwrap()).decode_utf8().unwrap();
        let is_credential = |pair: &str| {
            let name = pair.split('=').next().unwrap().to_ascii_lowercase();
            ["access_token", "api-key", "subscription-key"].contains(&name.as_str())
        };
        let parameters = decoded.split_once('?').map_or("", |(_, parameters)| parameters);
        prop_assert!(!parameters.split('&').any(is_credential), "{}", decoded);
        prop_assert_eq!(head(&text).cleaned_target(&Stripped::default()), None);
    }
}
