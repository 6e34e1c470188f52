//! The configuration as its users see it: what a document means, and what is said of a wrong one.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints that keep a VM alive also see an integration test's helper functions"
)]

mod accepted;
mod arbitrary;
mod entra;
mod keys;
mod limits;
mod mistakes;
mod prices;
mod sense;
mod shape;
mod token_cache;

use keyless_core::config::Config;
use keyless_core::jwks::{JwksLocation, JwksSource, RemoteJwks};
use keyless_core::jwt::Issuer;
use keyless_core::policy::{Access, Grant};
use serde_json::{Value, json};

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const OTHER_TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// The RSA modulus of RFC 7515, appendix A.2.
const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

/// A valid document: an issuer of each kind, one identity, a route with two grants, one with none,
/// a public one.
fn base() -> Value {
    json!({
        "issuers": [
            {
                "issuer": "https://login.example.com/v2",
                "audiences": ["api://openai-gateway"],
                "jwks": { "cluster": "login", "uri": "https://login.example.com/keys?v=2" },
                "algorithms": ["RS256"],
                "token_types": ["JWT"]
            },
            {
                "name": "partner",
                "issuer": "https://idp.example.com/",
                "audiences": ["openai-gateway"],
                "jwks": {
                    "cluster": "partner_idp", "uri": "http://idp.example.com:8080",
                    "timeout": "2s", "refresh": "30m", "max_age": "12h", "unknown_kid_interval": "1m"
                },
                "algorithms": ["PS256", "RS512"],
                "token_types": ["application/at+jwt", "JWT"],
                "leeway": "0s",
                "max_lifetime": "24h"
            },
            {
                "entra": { "tenants": [TENANT, OTHER_TENANT], "cloud": "public", "clients": ["app"] },
                "audiences": ["api://openai-gateway"],
                "jwks": { "cluster": "entra" }
            },
            {
                "issuer": "https://accounts.example.com/realm/",
                "audiences": ["openai-gateway"],
                "jwks": { "cluster": "accounts", "discovery": true }
            },
            {
                "issuer": "https://offline.example.com",
                "audiences": ["openai-gateway"],
                "jwks": {
                    "inline": { "keys": [{ "kty": "RSA", "kid": "k", "n": MODULUS, "e": "AQAB" }] }
                }
            }
        ],
        "identities": {
            "openai": {
                "resource": "https://cognitiveservices.azure.com",
                "imds": { "cluster": "imds", "client_id": "00000000-0000-0000-0000-000000000000" }
            },
            "container": {
                "resource": "https://cognitiveservices.azure.us",
                "app_service": { "cluster": "platform", "mi_res_id": "/subscriptions/s" }
            },
            "outside": {
                "resource": "https://ai.azure.com",
                "client_credentials": {
                    "cluster": "login", "token_uri": "https://login.example.com/t/oauth2/v2.0/token",
                    "client_id": "app", "client_secret_env": "APP_SECRET",
                    "scope": "https://ai.azure.com/.default"
                }
            },
            "workload": {
                "resource": "https://cognitiveservices.azure.com",
                "workload_identity": {
                    "cluster": "entra", "token_file": { "cluster": "token_file", "path": "/token" },
                    "tenant_id": "72f988bf-86f1-41af-91ab-2d7cd011db47", "client_id": "app",
                    "authority_host": "https://login.microsoftonline.com/"
                }
            }
        },
        "routes": [
            {
                "name": "chat",
                "match": {
                    "methods": ["POST"],
                    "path": "/openai/deployments/{deployment}/chat/completions"
                },
                "allow": [
                    { "scopes": ["openai.chat"] },
                    {
                        "issuer": "partner", "clients": ["app"], "roles": ["ChatUser"],
                        "claims": { "department": ["R&D"] }, "deployments": ["gpt-4o-mini"]
                    }
                ],
                "identity": "openai",
                "forward_claims": { "x-caller-id": "oid" },
                "usage": "ask"
            },
            {
                "name": "models",
                "match": { "methods": ["GET"], "path": "/openai/models", "hosts": ["*.example.com"] },
                "allow": [{}]
            },
            { "name": "healthz", "match": { "methods": ["GET"], "path": "/healthz" }, "public": true }
        ],
        "prices": { "gpt-4o": { "input": "2.50", "cached_input": "1.25", "output": "10.00" } },
        "limits": [{
            "name": "minute", "per": ["issuer", "subject"], "requests": 60, "window": "1m",
            "when": { "routes": ["chat"] }
        }],
        "ledger": { "entries": 2048, "cluster": "ratelimit", "settle": "2s", "unavailable": "refuse" },
        "token_cache": { "max_entries": 1000, "max_bytes": 1_000_000 },
        "protected_resource": { "resource": "https://gateway.example.com" }
    })
}

/// The base document with one value put at a JSON pointer (RFC 6901), or taken away.
fn changed(pointer: &str, value: Option<Value>) -> Value {
    let mut document = base();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/");
    match (document.pointer_mut(parent).unwrap(), value) {
        (Value::Object(members), Some(value)) => drop(members.insert(key, value)),
        (Value::Object(members), None) => drop(members.remove(&key).unwrap()),
        (Value::Array(items), Some(value)) => items[key.parse::<usize>().unwrap()] = value,
        (place, value) => panic!("cannot put {value:?} into {place}"),
    }
    document
}

fn parse(document: &Value) -> Result<Config, String> {
    Config::parse(document.to_string().as_bytes()).map_err(|error| error.to_string())
}

/// The configuration of the base document with one value put at a pointer.
fn accepted(pointer: &str, value: Value) -> Config {
    parse(&changed(pointer, Some(value))).unwrap()
}

fn grants(config: &Config, route: usize) -> &[Grant] {
    match &config.routes[route].access {
        Access::Granted { grants, .. } => grants,
        Access::Health | Access::Public => panic!("a public route"),
    }
}

fn remote(issuer: &Issuer) -> &RemoteJwks {
    match &issuer.jwks {
        JwksSource::Remote(remote) => remote,
        JwksSource::Inline(keys) => panic!("{keys:?}"),
    }
}

/// The authority and the path of a key set whose place is known.
fn known_keys(issuer: &Issuer) -> (&str, &str) {
    match &remote(issuer).location {
        JwksLocation::Known(uri) => (uri.authority.as_str(), uri.path.as_str()),
        JwksLocation::Discovery(uri) => panic!("{uri:?}"),
    }
}

/// What a configuration says in full, since it can be shown but not compared.
fn shown(result: &Result<Config, String>) -> String {
    format!("{result:?}")
}

/// What is said of the base document with one value put at a pointer, or taken away.
fn message(pointer: &str, value: Option<Value>) -> String {
    match parse(&changed(pointer, value)) {
        Ok(_) => format!("{pointer} was accepted"),
        Err(message) => message,
    }
}

/// The way in which messages write a JSON pointer.
fn place(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1).map(|key| match key.parse::<usize>() {
        Ok(at) => format!("[{at}]"),
        Err(_) => format!(".{key}"),
    });
    parts.collect::<String>().trim_start_matches('.').to_owned()
}

/// A value at its place in the base document is refused there.
fn assert_refused(pointer: &str, value: Value, problem: &str) {
    assert_eq!(message(pointer, Some(value)), format!("{}: {problem}", place(pointer)));
}

/// Each of the texts is refused there for being something else than what is expected.
fn assert_texts_refused(pointer: &str, expected: &str, texts: &[&str]) {
    for text in texts {
        let problem = format!("expected {expected}, found {text:?}");
        assert_refused(pointer, json!(text), &problem);
    }
}
