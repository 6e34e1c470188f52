//! Files with one fault each, and the warning that `keyless check` has for it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::{configuration, keyless};

/// A fault in a shipped file: what is replaced by what, and the code and the place of the warning.
type Fault = (&'static str, &'static str, &'static str, &'static str);

const ENVOY: [Fault; 26] = [
    // The guard.
    ("key: wasm.keyless.verdict", "key: wasm.other.verdict", "guard_missing", "http_filters"),
    (
        "string_match: { exact: admitted }",
        "string_match: { prefix: a }",
        "guard_wrong",
        "http_filters[1]",
    ),
    (
        "string_match: { exact: admitted }",
        "string_match: { exact: refused }",
        "guard_wrong",
        "http_filters[1]",
    ),
    ("action: ALLOW", "action: DENY", "guard_wrong", "http_filters[1]"),
    ("action: ALLOW", "action: LOG", "guard_wrong", "http_filters[1]"),
    (
        "principals:\n",
        "principals:\n                              - { any: true }\n",
        "guard_wrong",
        "http_filters[1]",
    ),
    ("v3.RBAC", "v3.RBACPerRoute", "guard_missing", "http_filters"),
    // What happens when the module fails.
    ("failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN", "fail_open", "failure_policy"),
    ("failure_policy: FAIL_RELOAD", "fail_open: true", "fail_open", "failure_policy"),
    ("failure_policy: FAIL_RELOAD", "# none", "failure_policy_missing", "failure_policy"),
    // Who is on the other side.
    (
        "trusted_ca: { filename: /etc/ssl/certs/ca-certificates.crt }",
        "other: {}",
        "cluster_trusts_any_certificate",
        "static_resources.clusters entra",
    ),
    (
        "match_typed_subject_alt_names",
        "other",
        "cluster_verifies_no_name",
        "static_resources.clusters entra",
    ),
    (
        "transport_socket:\n        name: envoy.transport_sockets.tls",
        "other_socket:\n        name: x",
        "cluster_without_tls",
        "static_resources.clusters entra",
    ),
    (
        "auto_sni_san_validation: true",
        "auto_sni_san_validation: false",
        "cluster_verifies_no_name",
        "static_resources.clusters openai_provisioned",
    ),
    // Where requests go beside the backend.
    (
        "route: { cluster: openai, idle_timeout: 12s }",
        "route: { cluster: openai, request_mirror_policies: [{ cluster: openai }] }",
        "request_mirror",
        "route_config",
    ),
    (
        "route: { cluster: openai, idle_timeout: 12s }",
        "route: { cluster: openai, internal_redirect_policy: {} }",
        "internal_redirect",
        "route_config",
    ),
    // The policy.
    (
        "\"/openai/v1/embeddings\"",
        "\"/openai/v1/embeddings*\"",
        "pattern_literal",
        "routes[3].match.path",
    ),
    ("\"/openai/v1/embeddings\"", "\"/openai/v1/**\"", "pattern_literal", "routes[3].match.path"),
    (
        "\"/openai/v1/embeddings\"",
        "\"/openai/v1/embeddings?api-version=preview\"",
        "pattern_literal",
        "routes[3].match.path",
    ),
    (
        "\"/openai/v1/embeddings\"",
        "\"/openai/v1/:operation\"",
        "pattern_literal",
        "routes[3].match.path",
    ),
    ("\"/models/{*rest}\"", "\"/models/{model}?x=1\"", "pattern_literal", "routes[12].match.path"),
    (
        "[\"api://openai-gateway\", \"00000000-0000-0000-0000-000000000000\"]",
        "[\"api://openai-gateway\"]",
        "audience_of_one_version",
        "issuers[0].audiences",
    ),
    (
        "[\"api://openai-gateway\", \"00000000-0000-0000-0000-000000000000\"]",
        "[\"00000000-0000-0000-0000-000000000000\"]",
        "audience_of_one_version",
        "issuers[0].audiences",
    ),
    (
        "\"api://openai-gateway\", \"00000000",
        "\"*\", \"api://openai-gateway\", \"00000000",
        "audience_wildcard",
        "issuers[0].audiences",
    ),
    (
        "\"tenants\": [\"72f988bf-86f1-41af-91ab-2d7cd011db47\"]",
        "\"cloud\": \"china\", \"tenants\": [\"72f988bf-86f1-41af-91ab-2d7cd011db47\"]",
        "cloud_mismatch",
        "identities.openai.resource",
    ),
    (
        "\"tenants\": [\"72f988bf-86f1-41af-91ab-2d7cd011db47\"]",
        "\"cloud\": \"us-government\", \"tenants\": [\"72f988bf-86f1-41af-91ab-2d7cd011db47\"]",
        "cloud_mismatch",
        "identities.openai.resource",
    ),
];

const ISTIO: [Fault; 6] = [
    ("phase: AUTHZ", "phase: AUTHN", "authn_phase", "spec.phase"),
    ("failStrategy: FAIL_RELOAD", "failStrategy: FAIL_OPEN", "fail_open", "spec.failStrategy"),
    ("failStrategy: FAIL_RELOAD", "# none", "failure_policy_missing", "spec.failStrategy"),
    (
        "  phase: AUTHZ",
        "  match: [{ mode: SERVER }]\n  phase: AUTHZ",
        "match_mode_server",
        "spec.match",
    ),
    (
        "outbound|443||login.microsoftonline.com",
        "entra",
        "cluster_name_foreign",
        "issuers[0].jwks.cluster",
    ),
    (
        "resource: https://cognitiveservices.azure.com",
        "resource: https://cognitiveservices.azure.com/.default",
        "resource_is_scope",
        "identities.openai.resource",
    ),
];

/// Changes in a plugin configuration that stands alone.
fn alone() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let remote = |uri: &str| json!({ "cluster": "idp", "uri": uri });
    let openai = "identities.openai.resource";
    let limit = |more: Value| {
        let mut limit = json!({ "name": "l", "requests": 5, "window": "1m" });
        limit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([limit])
    };
    vec![
        ("/issuers/0/audiences", json!(["*"]), "audience_wildcard", "issuers[0].audiences"),
        (
            "/issuers/0/jwks",
            remote("https://idp.example.com/.well-known/openid-configuration"),
            "jwks_uri_is_discovery",
            "issuers[0].jwks.uri",
        ),
        (
            "/issuers/0/jwks",
            remote("https://idp.example.com/oauth/.well-known/oauth-authorization-server"),
            "jwks_uri_is_discovery",
            "issuers[0].jwks.uri",
        ),
        (
            "/identities/openai/resource",
            json!("https://my-openai.openai.azure.com"),
            "resource_is_endpoint",
            openai,
        ),
        (
            "/identities/openai/resource",
            json!("https://my.cognitiveservices.azure.us/"),
            "resource_is_endpoint",
            openai,
        ),
        (
            "/identities/openai/resource",
            json!("https://my.services.ai.azure.com/api/projects/p"),
            "resource_is_endpoint",
            openai,
        ),
        (
            "/identities/openai/resource",
            json!("https://cognitiveservices.azure.com/.default"),
            "resource_is_scope",
            openai,
        ),
        (
            "/routes/0/forward_claims",
            json!({ "oid": "x-caller" }),
            "forward_claims_inverted",
            "routes[0].forward_claims.oid",
        ),
        ("/routes/0/allow", json!([{}]), "grant_without_condition", "routes[0].allow[0]"),
        (
            "/routes/0/match/path",
            json!("/chat/{deployment}/*"),
            "pattern_literal",
            "routes[0].match.path",
        ),
        (
            "/limits",
            limit(json!({ "per": ["subject"] })),
            "limit_by_subject_of_any_issuer",
            "limits[0]",
        ),
        (
            "/limits",
            json!([{ "name": "l", "tokens": 5, "window": "1m" }]),
            "limit_counts_nothing",
            "limits[0]",
        ),
    ]
}

/// The codes and places of all warnings.
fn warnings(text: &str) -> Vec<(String, String)> {
    let said = keyless(&["check", "--output", "json", "-"], text);
    let found: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    let found = &found[0];
    assert_eq!(found["valid"], true, "{found:#}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let warnings = found["warnings"].as_array().unwrap().iter();
    warnings.map(|one| (text(&one["code"]), text(&one["place"]))).collect()
}

fn assert_each(file: &str, faults: &[Fault]) {
    let shipped = fs::read_to_string(format!("../{file}")).unwrap();
    assert_eq!(warnings(&shipped), [], "{file}");
    for (from, to, code, place) in faults {
        assert!(shipped.contains(from), "{file} has no {from:?}");
        let found = warnings(&shipped.replacen(from, to, 1));
        let expected = ((*code).to_owned(), (*place).to_owned());
        assert_eq!(found.first(), Some(&expected), "{from:?} -> {to:?}");
        // A part of the file may stand for several clusters.
        assert!(found.iter().all(|(other, _)| other == code), "{found:?}");
    }
}

#[test]
fn each_fault_of_an_envoy_is_told_and_nothing_else() {
    assert_each("envoy.yaml", &ENVOY);
}

#[test]
fn each_fault_around_a_dynamic_module_is_told_and_nothing_else() {
    let cluster = "static_resources.clusters imds";
    assert_each(
        "examples/dynamic-module/envoy.yaml",
        &[
            ("remove: x-forwarded-for", "remove: x-other", "cluster_looks_forwarded", cluster),
            (
                "http_filters:\n            -",
                "others:\n            -",
                "cluster_looks_forwarded",
                cluster,
            ),
            ("key: wasm.keyless.verdict", "key: other", "guard_missing", "http_filters"),
        ],
    );
}

#[test]
fn each_fault_of_a_wasm_plugin_is_told_and_nothing_else() {
    assert_each("istio/wasmplugin.yaml", &ISTIO);
}

#[test]
fn each_fault_of_a_policy_is_told_and_nothing_else() {
    let valid = configuration();
    assert_eq!(warnings(&valid.to_string()), []);
    for (pointer, value, code, place) in alone() {
        let mut faulty = valid.clone();
        match faulty.pointer_mut(pointer) {
            Some(old) => *old = value.clone(),
            None => faulty[pointer.trim_start_matches('/')] = value.clone(),
        }
        let found = warnings(&faulty.to_string());
        assert_eq!(found, [(code.to_owned(), place.to_owned())], "{pointer} {value}");
    }
}

#[test]
fn a_route_to_azure_without_an_identity_is_told() {
    let shipped = fs::read_to_string("../envoy.yaml").unwrap();
    let without = shipped.replacen("\"identity\": \"openai\",", "", 1);
    let expected = ("route_without_identity".to_owned(), "routes[0].identity".to_owned());
    assert_eq!(warnings(&without), [expected]);
}

#[test]
fn a_guard_that_stands_first_is_told() {
    let shipped = fs::read_to_string("../envoy.yaml").unwrap();
    let begin = shipped.find("                  - name: envoy.filters.http.rbac").unwrap();
    let end = shipped[begin..].find("                  - name: envoy.filters.http.router").unwrap();
    let guard = &shipped[begin..begin + end];
    let filters = "http_filters:\n";
    let early = shipped.replacen(guard, "", 1).replacen(filters, &format!("{filters}{guard}"), 1);
    let expected = ("guard_before".to_owned(), "http_filters[0]".to_owned());
    assert_eq!(warnings(&early), [expected]);
}

#[test]
fn a_variable_that_is_not_passed_on_is_told_and_a_secret_in_the_file_too() {
    let source = "\"imds\": { \"cluster\": \"imds\" }";
    let secret = "\"client_credentials\": { \"cluster\": \"entra\", \"client_id\": \"c\", \
                  \"client_secret_env\": \"SECRET\", \"token_uri\": \"https://login.microsoftonline.com/t\" }";
    let shipped = fs::read_to_string("../envoy.yaml").unwrap().replacen(source, secret, 1);
    let id = "vm_id: keyless-private-gateway\n";
    let passing = |variables: &str| {
        let more = format!("{id}                          environment_variables: {variables}\n");
        shipped.replacen(id, &more, 1)
    };
    let place = "vm_config.environment_variables".to_owned();
    let missing = ("environment_variable_missing".to_owned(), place.clone());
    assert_eq!(warnings(&shipped), [missing]);
    assert_eq!(warnings(&passing("{ host_env_keys: [SECRET] }")), []);
    let written = ("secret_in_configuration".to_owned(), place);
    assert_eq!(warnings(&passing("{ key_values: { SECRET: s } }")), [written]);

    let plugin = fs::read_to_string("../istio/wasmplugin.yaml").unwrap();
    let begin = plugin.find("        imds:\n").unwrap();
    let end = plugin[begin..].find("    routes:").unwrap();
    let secret = "        client_credentials:\n          cluster: outbound|443||login.microsoftonline.com\n          \
                  token_uri: https://login.microsoftonline.com/t\n          client_id: c\n          \
                  client_secret_env: SECRET\n";
    let plugin = [&plugin[..begin], secret, &plugin[begin + end..]].concat();
    let with = |env: &str| {
        plugin.replacen(
            "  phase: AUTHZ",
            &format!("  vmConfig: {{ env: [{env}] }}\n  phase: AUTHZ"),
            1,
        )
    };
    let place = "spec.vmConfig.env".to_owned();
    assert_eq!(warnings(&plugin), [("environment_variable_missing".to_owned(), place.clone())]);
    assert_eq!(warnings(&with("{ name: SECRET, valueFrom: HOST }")), []);
    let written = ("secret_in_configuration".to_owned(), place);
    assert_eq!(warnings(&with("{ name: SECRET, value: s }")), [written]);
}

#[test]
fn a_configuration_that_is_strictly_checked_has_no_warning() {
    let mut odd = configuration();
    assert_eq!(keyless(&["check", "--strict", "-"], &odd.to_string()).status, 0);
    odd["routes"][0]["allow"] = json!([{}]);
    assert_eq!(keyless(&["check", "-"], &odd.to_string()).status, 0);
    assert_eq!(keyless(&["check", "--strict", "-"], &odd.to_string()).status, 1);
}

#[test]
fn what_ships_has_no_warning() {
    for file in [
        "istio/trafficextension.yaml",
        "istio/gateway-api/trafficextension.yaml",
        "examples/minimal/envoy.yaml",
    ] {
        assert_eq!(keyless(&["check", "--strict", file], "").status, 0, "{file}");
    }
    for example in ["dry-run", "entra", "keycloak", "two-issuers"] {
        let file = format!("examples/{example}/keyless.json");
        assert_eq!(keyless(&["check", "--strict", &file], "").status, 0, "{file}");
    }
}

#[test]
fn at_least_forty_files_have_one_fault_each_of_many_kinds() {
    let alone = alone();
    let codes = ENVOY.iter().chain(&ISTIO).map(|(.., code, _)| *code);
    let codes: Vec<_> = codes.chain(alone.iter().map(|(.., code, _)| *code)).collect();
    assert!(codes.len() >= 40, "{}", codes.len());
    assert!(codes.iter().collect::<BTreeSet<_>>().len() >= 20);
}
