//! The configurations, heads and answers that plays are made of: good ones, and such as nobody should
//! be admitted by.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::envoy::Headers;

/// The one issuer: its key, and the one token that it has signed.
static ISSUER: LazyLock<Issuer> = LazyLock::new(Issuer::new);

struct Issuer {
    key_set: String,
    token: String,
}

/// What the metadata service gives the gateway.
pub const IDENTITY_TOKEN: &str = "the-gateways-own-token";

/// The cluster of the issuer; the others are that of the metadata service, and the fleet's.
pub const ISSUERS_CLUSTER: &[u8] = b"issuer";

/// How many kinds of configurations there are that are taken.
pub const CONFIGURATIONS: u8 = 4;

impl Issuer {
    fn new() -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap();
        let (_, point) = key.public_key().as_ref().split_first().unwrap();
        let (x, y) = point.split_at(32);
        let key_set = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }] });
        let signed = unsigned(&json!({ "alg": "ES256", "typ": "JWT", "kid": "k" }));
        let signature = key.sign(&random, signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Self { key_set: key_set.to_string(), token }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn unsigned(header: &Value) -> String {
    let claims = json!({
        "iss": "https://idp.example.com/", "aud": "api://openai-gateway", "sub": "somebody",
        "scp": "openai.chat", "iat": now(), "nbf": now(), "exp": now() + 86_400,
    });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(header), encode(&claims))
}

/// The one token that admits.
pub fn token() -> &'static str {
    &ISSUER.token
}

/// A configuration: a plain one, one that looks into bodies, one with limits, and one of a fleet.
pub fn configuration(kind: u8, number: u16) -> String {
    let chat = json!({
        "name": "chat",
        "match": { "methods": ["POST"], "path": "/openai/deployments/{deployment}/chat/completions" },
        "allow": [{ "scopes": ["openai.chat"] }], "identity": "openai", "usage": "ask",
    });
    let by_body = json!({
        "name": "chat-v1", "deployment": "body.model",
        "match": { "methods": ["POST"], "path": "/openai/v1/chat/completions" },
        "allow": [{ "scopes": ["openai.chat"], "deployments": ["gpt-4o"] }],
        "identity": "openai", "usage": "read",
    });
    let health = json!({ "name": "health", "match": { "methods": ["GET"], "path": "/healthz" }, "public": true });
    let ready = json!({ "name": "ready", "match": { "methods": ["GET"], "path": "/readyz" }, "health": true });
    let mut configuration = json!({
        "issuers": [{
            "name": "idp", "issuer": "https://idp.example.com/", "algorithms": ["ES256"],
            "audiences": ["api://openai-gateway"],
            "jwks": { "uri": "https://idp.example.com/jwks.json", "cluster": "issuer" },
        }],
        "identities": { "openai": {
            "resource": "https://cognitiveservices.azure.com", "imds": { "cluster": "imds" },
        } },
        "routes": [chat, health, ready],
        "token_cache": { "max_entries": 16 + u32::from(number) },
    });
    if kind % CONFIGURATIONS == 1 {
        configuration["routes"][1] = by_body;
    }
    if kind % CONFIGURATIONS > 1 {
        configuration["limits"] = json!([
            { "name": "user", "per": ["issuer", "subject"], "requests": 1_000_000, "window": "365d" },
            { "name": "tokens", "per": ["deployment"], "tokens": 1_000_000_000, "window": "365d" },
        ]);
    }
    if kind % CONFIGURATIONS == 3 {
        configuration["ledger"] = json!({ "cluster": "ratelimit" });
    }
    configuration.to_string()
}

/// A head of a request. Those with a token of the issuer's are among them, and a few that look so.
pub fn head(kind: u8, more: &[u8]) -> Headers {
    let chat = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
    let v1 = "/openai/v1/chat/completions";
    let good = format!("Bearer {}", token());
    let none = unsigned(&json!({ "alg": "none", "kid": "k" }));
    let unknown = unsigned(&json!({ "alg": "ES256", "kid": "another" }));
    let changed = format!("{}A", token().trim_end_matches(|last: char| last != '.'));
    let json = ("content-type", "application/json".to_owned());
    let (method, path, rest): (_, _, Vec<(&str, String)>) = match kind % 14 {
        0 | 1 => ("POST", chat, vec![json, ("authorization", good)]),
        2 => ("POST", v1, vec![json, ("authorization", good), ("content-length", "40".to_owned())]),
        3 => ("POST", chat, vec![("authorization", format!("Bearer {none}."))]),
        4 => ("POST", chat, vec![("authorization", format!("Bearer {unknown}.AAAA"))]),
        5 => ("POST", chat, vec![("authorization", format!("Bearer {changed}"))]),
        6 => ("POST", chat, vec![("authorization", good.clone()), ("authorization", good)]),
        7 => ("POST", chat, vec![]),
        8 => ("GET", "/healthz", vec![]),
        9 => ("GET", "/readyz", vec![]),
        10 => {
            ("POST", "/openai/deployments/%2e%2e/chat/completions", vec![("authorization", good)])
        }
        11 => ("POST", chat, vec![("authorization", "Bearer ".repeat(4000))]),
        12 => ("OPTIONS", chat, vec![("origin", "https://example.com".to_owned())]),
        _ => ("", "", vec![]),
    };
    let own =
        [(":method", method), (":path", path), (":authority", "gateway"), (":scheme", "http")];
    let own = own.into_iter().filter(|(_, value)| !value.is_empty() || kind.is_multiple_of(2));
    let own = own.map(|(name, value)| (name, value.to_owned()));
    let mut headers: Headers =
        own.chain(rest).map(|(name, value)| (name.into(), value.into_bytes())).collect();
    if !more.is_empty() {
        let (name, value) = more.split_at(more.len() / 2);
        headers.push((name.to_ascii_lowercase(), value.to_vec()));
    }
    headers
}

/// An answer to a call: what was asked for, or something else.
pub fn answer(kind: u8, cluster: &[u8], more: &[u8]) -> (Headers, Vec<Vec<u8>>) {
    let good = if cluster == ISSUERS_CLUSTER {
        ISSUER.key_set.clone()
    } else {
        json!({ "access_token": IDENTITY_TOKEN, "expires_in": "86400", "token_type": "Bearer" })
            .to_string()
    };
    let status = |status: &str| vec![(b":status".to_vec(), status.as_bytes().to_vec())];
    let retry = (b"retry-after".to_vec(), more.to_vec());
    match kind % 8 {
        0..=3 => {
            let (begin, end) = good.as_bytes().split_at(good.len() / 3);
            (status("200"), vec![begin.to_vec(), end.to_vec()])
        }
        4 => (Headers::new(), Vec::new()),
        5 => (status("200"), vec![more.to_vec()]),
        6 => (status("429").into_iter().chain([retry]).collect(), vec![Vec::new()]),
        _ => (vec![(b":status".to_vec(), more.to_vec())], vec![good.into_bytes()]),
    }
}

/// The head of a backend's answer.
pub fn response_head(kind: u8, more: &[u8]) -> Headers {
    let (status, content) = match kind % 5 {
        0 => ("200", "application/json"),
        1 => ("200", "text/event-stream"),
        2 => ("401", "application/json"),
        3 => ("503", "text/plain"),
        _ => ("", ""),
    };
    vec![
        (b":status".to_vec(), status.into()),
        (b"content-type".to_vec(), content.into()),
        (b"x-more".to_vec(), more.to_vec()),
    ]
}

/// A piece of a body, of a request or an answer.
pub fn piece(kind: u8, more: &[u8]) -> Vec<u8> {
    match kind % 8 {
        0 => br#"{"model":"gpt-4o","stream":true,"messages":[]}"#.to_vec(),
        1 => br#"{"model":"gpt-4o","#.to_vec(),
        2 => br#""messages":[{"role":"user","content":"Who?"}]}"#.to_vec(),
        3 => br#"{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#.to_vec(),
        4 => b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n"
            .to_vec(),
        5 => b"data: [DONE]\n\n".to_vec(),
        _ => more.to_vec(),
    }
}
