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

const ISSUER_KEYS: &str = "expected one of `name`, `issuer`, `entra`, `audiences`, `jwks`, \
                           `algorithms`, `token_types`, `leeway`, `max_lifetime`";
const ENTRA_KEYS: &str = "expected one of `tenants`, `cloud`, `clients`";
const JWKS_KEYS: &str = "expected one of `cluster`, `uri`, `discovery`, `inline`, `timeout`, \
                         `refresh`, `max_age`, `unknown_kid_interval`";
const ROUTE_KEYS: &str = "expected one of `name`, `match`, `allow`, `identity`, `public`, \
                          `health`, `cors`, `forward_claims`, `deployment`";
const DOCUMENT_KEYS: &str = "expected one of `issuers`, `identities`, `routes`, `token_cache`, `report_only`, `protected_resource`";
const RESOURCE_KEYS: &str = "expected one of `resource`, `path`, `scopes_supported`";
const TOKEN_CACHE_KEYS: &str = "expected `max_entries` or `max_bytes`";
const IDENTITY_KEYS: &str =
    "expected one of `resource`, `imds`, `app_service`, `client_credentials`";
const APP_SERVICE_KEYS: &str =
    "expected one of `cluster`, `client_id`, `principal_id`, `mi_res_id`";
const CREDENTIALS_KEYS: &str =
    "expected one of `cluster`, `token_uri`, `client_id`, `client_secret_env`, `scope`";
const IMDS_KEYS: &str = "expected one of `cluster`, `client_id`, `object_id`, `msi_res_id`";
const MATCH_KEYS: &str = "expected one of `methods`, `path`, `hosts`";
const GRANT_KEYS: &str =
    "expected one of `issuer`, `clients`, `scopes`, `roles`, `claims`, `deployments`";

#[test]
fn what_is_no_document_is_refused() {
    let empty = "$: found an empty document, wanted an object with `issuers` and `routes`";
    assert_eq!(raw(""), empty);
    assert_eq!(raw(" \t\r\n"), empty);
    assert_eq!(raw("{}"), "$: missing field `issuers`");
    assert_eq!(raw("[]"), "$: invalid type: sequence, expected an object");
    assert_eq!(raw("null"), "$: invalid type: null, expected an object");
    assert_eq!(raw("7"), "$: invalid type: integer `7`, expected an object");
    assert_eq!(raw("\"issuers\""), "$: invalid type: string \"issuers\", expected an object");
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
        assert_eq!(raw(bytes), format!("$: found no JSON, wanted one JSON object: {problem}"));
    }
}

#[test]
fn what_follows_the_document_is_refused() {
    let problem = "$: found no JSON, wanted one JSON object: trailing characters at line 1 column";
    assert_eq!(raw("{} {}"), format!("{problem} 4"));
    assert_eq!(raw("{},"), format!("{problem} 3"));
    assert_eq!(raw("{}\0"), format!("{problem} 3"));
    assert!(Config::parse(format!("\n{}\n\n", base()).as_bytes()).is_ok(), "but space may follow");
}

#[test]
fn a_key_that_appears_twice_is_refused_at_its_place() {
    let problem = "wanted the key once, found it again at line";
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
        ("/routes/0", ROUTE_KEYS),
        ("/routes/0/match", MATCH_KEYS),
        ("/routes/0/allow/1", GRANT_KEYS),
        ("/token_cache", TOKEN_CACHE_KEYS),
        ("/protected_resource", RESOURCE_KEYS),
    ];
    for (parent, wanted) in parents {
        let problem = format!("unknown field `surprise`, {wanted}");
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
    ];
    for list in lists {
        assert_refused(list, json!([]), "found an empty list, wanted at least one item");
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
        ("/identities/outside/client_credentials", "client_secret_env"),
        ("", "routes"),
        ("/routes/1", "name"),
        ("/routes/1", "match"),
        ("/routes/1/match", "methods"),
        ("/routes/1/match", "path"),
    ];
    for (parent, key) in required {
        let place = if parent.is_empty() { "$".to_owned() } else { place(parent) };
        let found = message(&format!("{parent}/{key}"), None);
        assert_eq!(found, format!("{place}: missing field `{key}`"));
    }
}

#[test]
fn a_null_is_not_an_absent_key() {
    let optional = [
        "/issuers/0/name",
        "/issuers/0/algorithms",
        "/issuers/0/token_types",
        "/issuers/0/leeway",
        "/issuers/0/max_lifetime",
        "/issuers/0/jwks/max_age",
        "/issuers/1/jwks/uri",
        "/issuers/2/entra/cloud",
        "/issuers/4/jwks/inline",
        "/identities/openai/imds/client_id",
        "/routes/0/match/hosts",
        "/routes/0/allow/1/issuer",
        "/routes/0/allow/1/clients",
        "/routes/0/allow/0/scopes",
        "/routes/0/allow/1/roles",
        "/routes/0/allow/1/deployments",
        "/routes/0/identity",
        "/token_cache",
        "/token_cache/max_entries",
    ];
    for pointer in optional {
        assert_refused(pointer, Value::Null, "found null, wanted a value or no such key");
    }
    assert_refused("/identities", Value::Null, "invalid type: null, expected a map");
    assert_refused("/routes/2/public", Value::Null, "invalid type: null, expected a boolean");
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    let list_for_object = json!([["api"], "https://idp.example.com/"]);
    let rows = [
        ("/issuers", json!({}), "map, expected a sequence"),
        ("/issuers/1", json!("entra"), "string \"entra\", expected an object"),
        ("/issuers/1", list_for_object, "sequence, expected an object"),
        ("/issuers/0/issuer", json!(7), "integer `7`, expected a string"),
        ("/issuers/0/audiences", json!("api"), "string \"api\", expected a sequence"),
        ("/issuers/0/audiences/0", json!([]), "sequence, expected a string"),
        ("/issuers/0/jwks", json!("https://x"), "string \"https://x\", expected an object"),
        ("/issuers/0/jwks/timeout", json!(5), "integer `5`, expected a string"),
        ("/issuers/2/entra", json!([[TENANT]]), "sequence, expected an object"),
        ("/issuers/2/entra/tenants", json!("t"), "string \"t\", expected a sequence"),
        ("/issuers/2/entra/clients", json!("c"), "string \"c\", expected a sequence"),
        ("/issuers/3/jwks/discovery", json!("true"), "string \"true\", expected a boolean"),
        ("/issuers/0/leeway", json!(1e6), "floating point `1000000.0`, expected a string"),
        ("/identities", json!([]), "sequence, expected a map"),
        ("/identities/openai/imds", json!(true), "boolean `true`, expected an object"),
        ("/routes/0/match", json!([["POST"], "/"]), "sequence, expected an object"),
        ("/routes/0/match/methods", json!("POST"), "string \"POST\", expected a sequence"),
        ("/routes/0/allow", json!({}), "map, expected a sequence"),
        ("/routes/0/allow/0", json!([]), "sequence, expected an object"),
        ("/routes/0/allow/0/scopes", json!("a"), "string \"a\", expected a sequence"),
        ("/routes/0/allow/1/claims", json!(["a"]), "sequence, expected a map"),
        ("/routes/0/allow/1/claims/a", json!("b"), "string \"b\", expected a sequence"),
        ("/routes/0/identity", json!({}), "map, expected a string"),
        ("/routes/0/forward_claims", json!([]), "sequence, expected a map"),
        ("/routes/0/forward_claims/x-id", json!(1), "integer `1`, expected a string"),
        ("/routes/2/public", json!("true"), "string \"true\", expected a boolean"),
        ("/routes/0/cors", json!(["*"]), "sequence, expected a boolean"),
        ("/routes/2/health", json!(1), "integer `1`, expected a boolean"),
        ("/protected_resource", json!("https://x"), "string \"https://x\", expected an object"),
        ("/report_only", json!("true"), "string \"true\", expected a boolean"),
        ("/token_cache", json!([1000, 1000]), "sequence, expected an object"),
    ];
    for (pointer, value, problem) in rows {
        assert_refused(pointer, value, &format!("invalid type: {problem}"));
    }
    let rows = [(json!([]), "a list"), (json!({}), "an object"), (json!(null), "null")];
    for (value, found) in rows {
        let problem = format!("found {found}, wanted a text, a number or a boolean");
        assert_refused("/routes/0/allow/1/claims/department/0", value, &problem);
    }
}
