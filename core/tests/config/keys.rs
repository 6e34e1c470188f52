//! Where an issuer's keys are: at a place that is named, to be discovered, or in the document.

use keyless_core::jwks::{JwksLocation, JwksSource};
use serde_json::{Value, json};

use super::{
    MODULUS, accepted, assert_refused, assert_texts_refused, base, changed, message, parse, remote,
};

fn jwk(changes: &Value) -> Value {
    let mut jwk = json!({ "kty": "RSA", "kid": "k", "n": MODULUS, "e": "AQAB" });
    jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    jwk
}

#[test]
fn a_key_set_has_an_absolute_uri() {
    let expected = "a URI such as \"https://idp.example.com/jwks.json\", without user \
                  information and not link-local";
    let relative = ["", "/jwks.json", "idp.example.com", "idp.example.com/jwks.json", "https:///k"];
    let others = ["ftp://idp.example.com/k", "file:///k", "https://a b/"];
    let link_local = [
        "http://169.254.169.254/metadata/identity/oauth2/token",
        "https://169.254.169.254:443/k",
        "https://169.254.0.1/k",
        "http://[fe80::1]/k",
        "http://[FEBF::1]:80/k",
        "http://[::ffff:169.254.169.254]/k",
        "http://[::ffff:a9fe:a9fe]/k",
    ];
    for texts in [&relative[..], &others[..], &link_local[..]] {
        assert_texts_refused("/issuers/0/jwks/uri", expected, texts);
    }
    for uri in ["http://169.253.169.254/k", "http://127.0.0.1:8080/k", "http://[::1]/k"] {
        accepted("/issuers/0/jwks/uri", json!(uri));
    }
}

#[test]
fn discovery_asks_below_the_issuer() {
    let document = |issuer: &str| {
        let config = accepted("/issuers/3/issuer", json!(issuer));
        let issuer = config.issuers.iter().find(|issuer| issuer.entry.0 == 3).unwrap();
        let JwksLocation::Discovery(uri) = &remote(issuer).location else { panic!("known") };
        assert_eq!(remote(issuer).cluster, "accounts");
        format!("{} {}", uri.authority, uri.path)
    };
    let expected = "accounts.example.com /.well-known/openid-configuration";
    assert_eq!(document("https://accounts.example.com"), expected);
    assert_eq!(document("https://accounts.example.com/"), expected);
    let below = "accounts.example.com:8443 /realm/.well-known/openid-configuration";
    assert_eq!(document("http://accounts.example.com:8443/realm/"), below);
}

#[test]
fn discovery_needs_an_issuer_that_is_a_url() {
    let mut document = base();
    document["issuers"][3]["name"] = json!("accounts");
    for issuer in [
        "accounts.example.com",
        "urn:example:issuer",
        "https://u:p@accounts.example.com/",
        "https://169.254.169.254/",
        "ftp://accounts.example.com/",
        "https://accounts.example.com/?tenant=a",
        "https://accounts.example.com/#a",
    ] {
        document["issuers"][3]["issuer"] = json!(issuer);
        let expected = "an issuer that is a URL without query or fragment";
        let problem = format!("expected {expected}, found the issuer {issuer:?}");
        assert_eq!(parse(&document).unwrap_err(), format!("issuers[3].jwks.discovery: {problem}"));
    }
}

#[test]
fn discovery_that_is_not_configured_is_no_discovery() {
    assert_eq!(
        message("/issuers/3/jwks/discovery", Some(json!(false))),
        "issuers[3].jwks: expected one of `uri`, `discovery`, `inline`, found none of them"
    );
    accepted("/issuers/0/jwks/discovery", json!(false));
}

#[test]
fn keys_have_one_place() {
    let jwks = "expected one of `uri`, `discovery`, `inline`, found none of them";
    assert_eq!(message("/issuers/0/jwks/uri", None), format!("issuers[0].jwks: {jwks}"));
    let cluster = "expected `cluster` or `inline`, found neither";
    assert_eq!(message("/issuers/0/jwks/cluster", None), format!("issuers[0].jwks: {cluster}"));
    assert_eq!(message("/issuers/4/jwks/inline", None), format!("issuers[4].jwks: {cluster}"));
    assert_eq!(
        message("/issuers/0/jwks/discovery", Some(json!(true))),
        "issuers[0].jwks: expected `uri` or `discovery`, found both"
    );
}

#[test]
fn nothing_stands_beside_inline_keys() {
    let extra = [
        ("cluster", json!("idp")),
        ("uri", json!("https://offline.example.com/keys")),
        ("discovery", json!(true)),
        ("timeout", json!("5s")),
        ("refresh", json!("1h")),
        ("max_age", json!("24h")),
        ("unknown_kid_interval", json!("30s")),
    ];
    for (key, value) in extra {
        let problem = "expected no such key beside `inline`, since nothing is fetched, found one";
        assert_refused(&format!("/issuers/4/jwks/{key}"), value, problem);
    }
}

#[test]
fn inline_keys_are_a_key_set_with_a_usable_key() {
    let rows = [
        (json!({}), "no list of keys"),
        (json!([]), "not a JSON object"),
        (json!("{\"keys\":[]}"), "not a JSON object"),
        (json!({ "keys": {} }), "no list of keys"),
        (json!({ "keys": [] }), "none at all"),
        (
            json!({ "keys": [jwk(&json!({ "kid": "a", "n": "AQAB" }))] }),
            "kid=\"a\" reason=\"n is not of 2048 to 8192 bits or is weak, or e is unfit\"",
        ),
        (
            json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] }),
            "kid=none reason=\"kty is oct, a shared secret\"",
        ),
    ];
    for (inline, found) in rows {
        let expected = "a JWKS with at least one usable key";
        let problem = format!("expected {expected}, found {found}");
        assert_refused("/issuers/4/jwks/inline", inline, &problem);
    }
    let keys = json!({ "keys": [jwk(&json!({ "kty": "oct" })), jwk(&json!({ "kid": "good" }))] });
    let config = accepted("/issuers/4/jwks/inline", keys);
    let issuer = config.issuers.iter().find(|issuer| issuer.entry.0 == 4).unwrap();
    let JwksSource::Inline(keys) = &issuer.jwks else { panic!("remote") };
    assert!(keys.len() == 1 && keys.names("good"));
}

#[test]
fn a_tenants_inline_keys_are_its_own() {
    let with = |issuer: &str| {
        let keys = json!({ "keys": [jwk(&json!({ "issuer": issuer }))] });
        parse(&changed("/issuers/2/jwks", Some(json!({ "inline": keys }))))
    };
    assert!(with("https://login.microsoftonline.com/{tenantid}/v2.0").is_ok());
    let other = with("https://login.microsoftonline.com/other/v2.0").unwrap_err();
    assert!(other.starts_with("issuers[2].jwks.inline: expected a JWKS"));
}
