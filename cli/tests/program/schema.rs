//! `keyless schema`.

use boon::{Compiler, Schemas};
use keyless_core::config::Config;
use serde_json::{Value, json};

use crate::{configuration, keyless};

fn schema() -> Value {
    serde_json::from_str(&keyless(&["schema"], "").out).unwrap()
}

/// Why a document does not fit the schema.
fn misfit(document: &Value) -> Option<String> {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("keyless.json", schema()).unwrap();
    let index = compiler.compile("keyless.json", &mut schemas).unwrap();
    schemas.validate(document, index).err().map(|error| format!("{error:#}"))
}

fn is_valid(document: &Value) -> bool {
    Config::parse(document.to_string().as_bytes()).is_ok()
}

/// A configuration that has every key of the page's examples and more.
fn samples() -> Vec<Value> {
    let blocks = include_str!("../../../docs/configuration.md").split("```json\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    let values = blocks.map(|block| serde_json::from_str::<Value>(block).unwrap());
    let mut samples: Vec<_> = values.filter(|value| value.get("issuers").is_some()).collect();
    let mut odd = configuration();
    odd["protected_resource"] = json!({ "resource": "https://gateway.example.com/@all" });
    odd["identities"]["openai"] = json!({ "resource": "r", "client_credentials": {
        "cluster": "c", "token_uri": "HTTPS://idp.example.com:8443/@all/token?a=b", "client_id": "i",
        "client_secret_env": "S"
    } });
    odd["issuers"][0]["leeway"] = "0s".into();
    odd["issuers"][0]["max_lifetime"] = "1h 30m".into();
    samples.extend([configuration(), odd]);
    for seed in ["discovery", "inline", "least", "most"] {
        let text = std::fs::read(format!("../fuzz/corpus/configuration/{seed}")).unwrap();
        samples.push(serde_json::from_slice(&text).unwrap());
    }
    samples
}

#[test]
fn the_schema_in_the_tree_is_that_of_the_types() {
    let said = keyless(&["schema"], "");
    assert_eq!(said.status, 0);
    let stored = include_str!("../../../keyless.schema.json");
    assert!(said.out == stored, "run: cargo run -p keyless-cli -- schema > keyless.schema.json");
    assert_eq!(schema()["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn what_is_valid_fits() {
    for sample in samples() {
        assert!(is_valid(&sample), "{sample}");
        assert_eq!(misfit(&sample), None, "{sample}");
    }
}

#[test]
fn what_the_shape_forbids_does_not_fit_and_is_invalid() {
    let place = |pointer: &str, value: Value| {
        let mut sample = samples().swap_remove(0);
        let (object, key) = pointer.rsplit_once('/').unwrap();
        sample.pointer_mut(object).unwrap()[key] = value;
        sample
    };
    for (pointer, value) in [
        ("/surprise", json!(1)),
        ("/$schema", json!("keyless.schema.json")),
        ("/issuers", json!([])),
        ("/token_cache", Value::Null),
        ("/token_cache", json!({ "max_entries": 0 })),
        ("/token_cache", json!({ "max_entries": 1.5 })),
        ("/report_only", json!("true")),
        ("/protected_resource", json!({ "resource": "http://gateway.example.com" })),
        ("/protected_resource", json!({ "resource": "https://gateway.example.com", "path": "a" })),
        ("/issuers/0/surprise", json!(1)),
        ("/issuers/0/issuer", json!("https://idp.example.com/")),
        ("/issuers/0/name", json!("a b")),
        ("/issuers/0/leeway", json!("60")),
        ("/issuers/0/leeway", json!(60)),
        ("/issuers/0/algorithms", json!(["HS256"])),
        ("/issuers/0/entra", json!({ "tenants": ["common"] })),
        ("/issuers/0/jwks/inline", json!({ "keys": [] })),
        ("/issuers/1/jwks/uri", json!("idp.example.com")),
        ("/identities/openai/surprise", json!(1)),
        ("/identities/a b", json!({ "resource": "r", "imds": { "cluster": "c" } })),
        ("/identities/openai", json!({ "resource": "r" })),
        ("/routes/0/allow", json!([])),
        ("/routes/0/deployment", json!("body")),
        ("/routes/0/match/methods", json!(["get"])),
        ("/routes/0/match/methods", json!(["CONNECT"])),
        ("/routes/0/match/path", json!("a")),
        ("/routes/0/match/hosts", json!(["a..b"])),
        ("/routes/0/allow/0/scopes", json!(["a b"])),
        ("/routes/0/allow/0/claims", json!({ "a": [{}] })),
        ("/routes/1/public", Value::Null),
    ] {
        let sample = place(pointer, value.clone());
        assert!(!is_valid(&sample), "{pointer}: {value}");
        assert!(misfit(&sample).is_some(), "{pointer}: {value}");
    }
}

#[test]
fn every_key_is_described_in_the_words_of_the_page() {
    let schema = schema();
    let objects = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for (key, property) in objects.flat_map(|one| one["properties"].as_object().unwrap()) {
        assert!(property["description"].is_string(), "{key}: {property}");
    }
    let cluster = &schema["$defs"]["JwksEntry"]["properties"]["cluster"];
    let page = include_str!("../../../docs/configuration.md");
    let row = page.lines().find(|line| line.starts_with("| `issuers[].jwks.cluster` |"));
    let meaning = cluster["description"].as_str().unwrap().lines().next().unwrap();
    assert!(row.unwrap().contains(meaning), "{meaning}");
}
