//! Every mistake is reported at once, with its place, and none that only follows from another.

use serde_json::{Value, json};

use super::{base, parse};

/// What is said of the base document with a value put at each of the pointers.
fn lines(changes: &[(&str, Value)]) -> Vec<String> {
    let mut document = base();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap();
        match key.parse::<usize>() {
            Ok(at) => parent[at] = value.clone(),
            Err(_) => parent[key] = value.clone(),
        }
    }
    parse(&document).unwrap_err().lines().map(str::to_owned).collect()
}

/// The places of the mistakes.
fn places(changes: &[(&str, Value)]) -> Vec<String> {
    let place = |line: String| line.split_once(": ").unwrap().0.to_owned();
    lines(changes).into_iter().map(place).collect()
}

#[test]
fn mistakes_in_every_entry_are_reported_together() {
    let found = lines(&[
        ("/issuers/0/jwks/timeout", json!("5")),
        ("/issuers/1/audiences", json!([])),
        ("/issuers/3/jwks/uri", json!("https://accounts.example.com/keys")),
        ("/identities/openai/imds/object_id", json!("x")),
        ("/identities/outside/resource", json!(7)),
        ("/routes/0/allow/0/scope", json!(["chat"])),
        ("/routes/0/allow/1/deployments", json!(["a", ""])),
        ("/routes/1/identity", json!("nobody")),
        ("/routes/2/name", json!("chat")),
        ("/token_cache/max_entries", json!(0)),
        ("/protected_resource/resource", json!("gateway")),
    ]);
    let expected = [
        "issuers[0].jwks.timeout: expected a duration from 1ms to 30d, such as \"60s\", found \"5\"",
        "issuers[1].audiences: expected at least one item, found an empty list",
        "issuers[3].jwks: expected `uri` or `discovery`, found both",
        "identities.openai.imds: expected at most one of `client_id`, `object_id`, `msi_res_id`, \
         found several",
        "identities.outside.resource: expected a text, found 7",
        "routes[0].allow[0].scope: expected one of `issuer`, `clients`, `scopes`, `roles`, \
         `claims`, `deployments`, found an unknown key",
        "routes[0].allow[1].deployments[1]: expected a text that is not empty and has no control \
         characters, found \"\"",
        "routes[1].identity: expected one of \"container\", \"openai\", \"outside\", \"workload\", found \"nobody\"",
        "routes[2].name: expected a value of its own, found \"chat\", which routes[0] has already",
        "protected_resource.resource: expected an https URL such as \"https://gateway.example.com\", \
         without user information, query and fragment, found \"gateway\"",
        "token_cache.max_entries: expected a whole number from 1 to 4294967295, found 0",
    ];
    assert_eq!(found, expected);
}

#[test]
fn several_mistakes_in_one_entry_are_reported_together() {
    let found = places(&[
        ("/issuers/0/audience", json!("api")),
        ("/issuers/0/jwks/timeout", json!("5")),
        ("/issuers/0/jwks/url", json!("https://login.example.com/")),
        ("/issuers/0/leeway", json!("6m")),
    ]);
    let expected =
        ["audience", "jwks.timeout", "jwks.url", "leeway"].map(|key| format!("issuers[0].{key}"));
    assert_eq!(found, expected);
}

#[test]
fn a_mistake_in_a_route_hides_none_in_its_grants() {
    let found = places(&[
        ("/routes/0/name", json!("a b")),
        ("/routes/0/allow/0/scopes", json!([])),
        ("/routes/0/allow/1", json!("partner")),
    ]);
    assert_eq!(found, ["routes[0].allow[0].scopes", "routes[0].allow[1]", "routes[0].name"]);
}

#[test]
fn what_is_wrong_is_not_also_missing() {
    let found = places(&[("/issuers/0/audiences", json!("api")), ("/issuers/0/jwks", json!(1))]);
    assert_eq!(found, ["issuers[0].audiences", "issuers[0].jwks"]);
    let found = places(&[("/routes/0/match/methods", json!("GET"))]);
    assert_eq!(found, ["routes[0].match.methods"], "and neither is what it is in");
}

#[test]
fn a_grant_may_name_an_issuer_whose_entry_is_wrong() {
    let found = places(&[("/issuers/1/audiences", json!([]))]);
    assert_eq!(found, ["issuers[1].audiences"]);
    let found = places(&[("/issuers/1/issuer", json!(7))]);
    assert_eq!(found, ["issuers[1].issuer"]);
    let found = places(&[("/issuers/1/name", json!("login.example.com"))]);
    assert_eq!(found, ["issuers[1].name"]);
}

#[test]
fn a_route_may_name_an_identity_whose_entry_is_wrong() {
    assert_eq!(
        places(&[("/identities/openai/resource", json!(""))]),
        ["identities.openai.resource"]
    );
}

#[test]
fn the_tenants_of_an_entry_share_a_mistake() {
    let found = places(&[
        ("/issuers/2/jwks/refresh", json!("2h")),
        ("/issuers/2/jwks/max_age", json!("1h")),
        ("/issuers/2/jwks/uri", json!("https://login.example.com/")),
    ]);
    assert_eq!(found, ["issuers[2].jwks.max_age", "issuers[2].jwks.uri"]);
}

#[test]
fn a_list_that_is_missing_or_none_hides_no_mistake_in_the_others() {
    let broken = json!({ "routes": [{ "name": "a b" }], "nonsense": 1, "identities": [] });
    let found = parse(&broken).unwrap_err();
    let shown: Vec<_> = found.lines().map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(shown, ["identities", "nonsense", "$", "routes[0].name"]);
    for list in ["issuers", "identities"] {
        let found = places(&[(&format!("/{list}"), json!(7))]);
        assert_eq!(found, [list], "and what names one of them is not wrong");
    }
}

#[test]
fn many_mistakes_in_one_entry_end_somewhere() {
    let mut document = base();
    for at in 0..1000 {
        document["issuers"][0][format!("key{at}")] = json!(1);
    }
    assert_eq!(parse(&document).unwrap_err().lines().count(), 32);
}
