//! What is wrong with a document before any of its values is looked at.

use keyless_core::config::Config;
use serde_json::{Value, json};

use super::{TENANT, assert_refused, base, message, place};

fn raw(bytes: impl AsRef<[u8]>) -> String {
    match Config::parse(bytes.as_ref()) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

const ISSUER_KEYS: &str = "expected one of `name`, `issuer`, `entra`, `audiences`, \
                           `audience_claim`, `jwks`, `algorithms`, `token_types`, `leeway`, `max_lifetime`";
const ENTRA_KEYS: &str = "expected one of `tenants`, `cloud`, `clients`";
const JWKS_KEYS: &str = "expected one of `cluster`, `uri`, `discovery`, `inline`, `timeout`, \
                         `refresh`, `max_age`, `unknown_kid_interval`";
const ROUTE_KEYS: &str = "expected one of `name`, `match`, `allow`, `identity`, `public`, \
                          `health`, `cors`, `forward_claims`, `pass`, `deployment`, `usage`, \
                          `deployment_header`, `deployments`, `credential`";
const DOCUMENT_KEYS: &str = "expected one of `issuers`, `identities`, `routes`, `token_cache`, `strip`, `prices`, `limits`, `ledger`, `report_only`, `protected_resource`";
const PRICE_KEYS: &str = "expected one of `input`, `cached_input`, `cache_write`, `audio_input`, \
                          `output`, `audio_output`";
const RESOURCE_KEYS: &str = "expected one of `resource`, `path`, `scope_prefix`, \
                             `scopes_supported`";
const LIMIT_KEYS: &str = "expected one of `name`, `per`, `per_claims`, `when`, `requests`, `tokens`, \
                          `count`, `cost`, `window`, `reserve`, `report_only`";
const WHEN_KEYS: &str = "expected one of `routes`, `issuer`, `clients`, `scopes`, `roles`, `claims`, \
                         `deployments`";
const TOKEN_CACHE_KEYS: &str = "expected one of `max_entries`, `max_bytes`";
const IDENTITY_KEYS: &str =
    "expected one of `resource`, `imds`, `app_service`, `client_credentials`, `workload_identity`";
const APP_SERVICE_KEYS: &str =
    "expected one of `cluster`, `client_id`, `principal_id`, `mi_res_id`";
const CREDENTIALS_KEYS: &str = "expected one of `cluster`, `token_uri`, `client_id`, \
                                `client_secret_env`, `client_secret_file`, `scope`";
const WORKLOAD_KEYS: &str = "expected one of `cluster`, `token_file`, `tenant_id`, `client_id`, \
                             `authority_host`";
const FILE_KEYS: &str = "expected one of `cluster`, `path`";
const IMDS_KEYS: &str = "expected one of `cluster`, `client_id`, `object_id`, `msi_res_id`";
const MATCH_KEYS: &str = "expected one of `methods`, `path`, `hosts`";
const GRANT_KEYS: &str =
    "expected one of `issuer`, `clients`, `scopes`, `roles`, `claims`, `deployments`";

#[test]
fn what_is_no_document_is_refused() {
    let empty = "$: expected an object with `issuers` and `routes`, found an empty document";
    assert_eq!(raw(""), empty);
    assert_eq!(raw(" \t\r\n"), empty);
    assert_eq!(
        raw("{}"),
        "$: expected the key `issuers`, found none\n$: expected the key `routes`, found none"
    );
    assert_eq!(raw("[]"), "$: expected an object, found a list");
    assert_eq!(raw("null"), "$: expected an object, found null");
    assert_eq!(raw("7"), "$: expected an object, found 7");
    assert_eq!(raw("\"issuers\""), "$: expected an object, found \"issuers\"");
}

#[test]
fn what_is_not_json_is_refused() {
    let rows: [(&[u8], &str); 8] = [
        (b"{", "EOF while parsing an object at line 1 column 1"),
        (b"issuers:\n- name: a\n", "expected value at line 1 column 1"),
        (b"{\"issuers\": tru", "EOF while parsing a value at line 1 column 15"),
        (b"{\"issuers\":\n  [{\"leeway\": 01}]}", "invalid number at line 2 column 16"),
        (b"{\"issuers\": [{\"leeway\": 1e999}]}", "number out of range at line 1 column 29"),
        (b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
        (b"{\"issuers\": \"\xff\"}", "invalid unicode code point at line 1 column 14"),
        (&[b'['; 200], "recursion limit exceeded at line 1 column 128"),
    ];
    for (bytes, problem) in rows {
        assert_eq!(raw(bytes), format!("$: expected a JSON object, found invalid JSON: {problem}"));
    }
}

#[test]
fn what_follows_the_document_is_refused() {
    let problem =
        "$: expected a JSON object, found invalid JSON: trailing characters at line 1 column";
    assert_eq!(raw("{} {}"), format!("{problem} 4"));
    assert_eq!(raw("{},"), format!("{problem} 3"));
    assert_eq!(raw("{}\0"), format!("{problem} 3"));
    assert!(Config::parse(format!("\n{}\n\n", base()).as_bytes()).is_ok(), "but space may follow");
}

#[test]
fn a_key_that_appears_twice_is_refused_at_its_place() {
    let problem = "expected each key once, found a repeated key at line";
    let rows = [
        (r#"{"routes":[],"issuers":[],"routes":[]}"#, "routes", "1 column 35"),
        (
            r#"{"issuers":[{},{"jwks":{"uri":"a","uri":"a"}}]}"#,
            "issuers[1].jwks.uri",
            "1 column 40",
        ),
        ("{\"identities\":{\"a\":1,\n\"a\":1}}", "identities.a", "2 column 4"),
        (r#"{"routes":[{"public":true,"\u0070ublic":1}]}"#, "routes[0].public", "1 column 40"),
    ];
    for (text, place, at) in rows {
        assert_eq!(raw(text), format!("{place}: {problem} {at}"));
    }
}

#[test]
fn an_unknown_key_is_refused_at_every_level() {
    let parents = [
        ("", DOCUMENT_KEYS),
        ("/issuers/1", ISSUER_KEYS),
        ("/issuers/0/jwks", JWKS_KEYS),
        ("/issuers/2/entra", ENTRA_KEYS),
        ("/issuers/4/jwks", JWKS_KEYS),
        ("/identities/openai", IDENTITY_KEYS),
        ("/identities/openai/imds", IMDS_KEYS),
        ("/identities/container/app_service", APP_SERVICE_KEYS),
        ("/identities/outside/client_credentials", CREDENTIALS_KEYS),
        ("/identities/workload/workload_identity", WORKLOAD_KEYS),
        ("/identities/workload/workload_identity/token_file", FILE_KEYS),
        ("/routes/0", ROUTE_KEYS),
        ("/routes/0/match", MATCH_KEYS),
        ("/routes/0/allow/1", GRANT_KEYS),
        ("/prices/gpt-4o", PRICE_KEYS),
        ("/limits/0", LIMIT_KEYS),
        ("/limits/0/when", WHEN_KEYS),
        (
            "/ledger",
            "expected one of `cluster`, `domain`, `entries`, `settle`, `timeout`, `unavailable`",
        ),
        ("/token_cache", TOKEN_CACHE_KEYS),
        ("/protected_resource", RESOURCE_KEYS),
    ];
    for (parent, expected) in parents {
        let problem = format!("{expected}, found an unknown key");
        assert_refused(&format!("{parent}/surprise"), json!(1), &problem);
    }
}

#[test]
fn an_empty_list_is_refused_wherever_a_list_may_stand() {
    let lists = [
        "/issuers",
        "/issuers/0/audiences",
        "/issuers/0/algorithms",
        "/issuers/0/token_types",
        "/issuers/2/entra/tenants",
        "/routes",
        "/routes/0/match/methods",
        "/routes/0/match/hosts",
        "/routes/0/allow",
        "/routes/0/allow/0/scopes",
        "/routes/0/allow/1/clients",
        "/routes/0/allow/1/roles",
        "/routes/0/allow/1/claims/department",
        "/routes/0/allow/1/deployments",
        "/limits",
        "/limits/0/per",
        "/limits/0/when/routes",
    ];
    for list in lists {
        assert_refused(list, json!([]), "expected at least one item, found an empty list");
    }
}

#[test]
fn a_required_key_that_is_missing_is_named() {
    let required = [
        ("", "issuers"),
        ("/issuers/0", "audiences"),
        ("/issuers/0", "jwks"),
        ("/issuers/2/entra", "tenants"),
        ("/identities/openai", "resource"),
        ("/identities/openai/imds", "cluster"),
        ("/identities/container/app_service", "cluster"),
        ("/identities/outside/client_credentials", "cluster"),
        ("/identities/outside/client_credentials", "token_uri"),
        ("/identities/outside/client_credentials", "client_id"),
        ("/identities/workload/workload_identity", "cluster"),
        ("/identities/workload/workload_identity", "token_file"),
        ("/identities/workload/workload_identity/token_file", "cluster"),
        ("", "routes"),
        ("/routes/1", "name"),
        ("/routes/1", "match"),
        ("/routes/1/match", "methods"),
        ("/routes/1/match", "path"),
        ("/limits/0", "name"),
        ("/limits/0", "window"),
    ];
    for (parent, key) in required {
        let place = if parent.is_empty() { "$".to_owned() } else { place(parent) };
        let found = message(&format!("{parent}/{key}"), None);
        assert_eq!(found, format!("{place}: expected the key `{key}`, found none"));
    }
}

#[test]
fn a_null_is_not_an_absent_key() {
    let rows = [
        ("/issuers/0/name", "a text"),
        ("/issuers/0/algorithms", "a list"),
        ("/issuers/0/token_types", "a list"),
        ("/issuers/0/leeway", "a text"),
        ("/issuers/0/max_lifetime", "a text"),
        ("/issuers/0/jwks/max_age", "a text"),
        ("/issuers/1/jwks/uri", "a text"),
        ("/issuers/2/entra/cloud", "a text"),
        ("/identities/openai/imds/client_id", "a text"),
        ("/routes/0/match/hosts", "a list"),
        ("/routes/0/allow/0", "an object"),
        ("/routes/0/allow/1/issuer", "a text"),
        ("/routes/0/allow/1/clients", "a list"),
        ("/routes/0/allow/0/scopes", "a list"),
        ("/routes/0/allow/1/roles", "a list"),
        ("/routes/0/allow/1/claims", "an object"),
        ("/routes/0/allow/1/deployments", "a list"),
        ("/routes/0/identity", "a text"),
        ("/routes/2/public", "a boolean"),
        ("/identities", "an object"),
        ("/token_cache", "an object"),
        ("/token_cache/max_entries", "a number"),
    ];
    for (pointer, expected) in rows {
        assert_refused(pointer, Value::Null, &format!("expected {expected}, found null"));
    }
    let expected = "expected a JWKS with at least one usable key, found not a JSON object";
    assert_refused("/issuers/4/jwks/inline", Value::Null, expected);
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    let list_for_object = json!([["api"], "https://idp.example.com/"]);
    let rows = [
        ("/issuers", json!({}), "a list", "an object"),
        ("/issuers/1", json!("entra"), "an object", "\"entra\""),
        ("/issuers/1", list_for_object, "an object", "a list"),
        ("/issuers/0/issuer", json!(7), "a text", "7"),
        ("/issuers/0/audiences", json!("api"), "a list", "\"api\""),
        ("/issuers/0/audiences/0", json!([]), "a text", "a list"),
        ("/issuers/0/jwks", json!("https://x"), "an object", "\"https://x\""),
        ("/issuers/0/jwks/timeout", json!(5), "a text", "5"),
        ("/issuers/2/entra", json!([[TENANT]]), "an object", "a list"),
        ("/issuers/2/entra/tenants", json!("t"), "a list", "\"t\""),
        ("/issuers/2/entra/clients", json!("c"), "a list", "\"c\""),
        ("/issuers/3/jwks/discovery", json!("true"), "a boolean", "\"true\""),
        ("/issuers/0/leeway", json!(1e6), "a text", "1000000"),
        ("/identities", json!([]), "an object", "a list"),
        ("/identities/openai/imds", json!(true), "an object", "true"),
        ("/routes/0/match", json!([["POST"], "/"]), "an object", "a list"),
        ("/routes/0/match/methods", json!("POST"), "a list", "\"POST\""),
        ("/routes/0/allow", json!({}), "a list", "an object"),
        ("/routes/0/allow/0", json!([]), "an object", "a list"),
        ("/routes/0/allow/0/scopes", json!("a"), "a list", "\"a\""),
        ("/routes/0/allow/1/claims", json!(["a"]), "an object", "a list"),
        ("/routes/0/allow/1/claims/a", json!("b"), "a list", "\"b\""),
        ("/routes/0/identity", json!({}), "a text", "an object"),
        ("/routes/0/forward_claims", json!([]), "an object", "a list"),
        ("/routes/0/forward_claims/x-id", json!(1), "a text", "1"),
        ("/routes/2/public", json!("true"), "a boolean", "\"true\""),
        ("/routes/0/cors", json!(["*"]), "a boolean", "a list"),
        ("/routes/2/health", json!(1), "a boolean", "1"),
        ("/protected_resource", json!("https://x"), "an object", "\"https://x\""),
        ("/report_only", json!("true"), "a boolean", "\"true\""),
        ("/token_cache", json!([1000, 1000]), "an object", "a list"),
    ];
    for (pointer, value, expected, found) in rows {
        assert_refused(pointer, value, &format!("expected {expected}, found {found}"));
    }
    let rows = [(json!([]), "a list"), (json!({}), "an object"), (json!(null), "null")];
    for (value, found) in rows {
        let problem = format!("expected a text, a number or a boolean, found {found}");
        assert_refused("/routes/0/allow/1/claims/department/0", value, &problem);
    }
}
