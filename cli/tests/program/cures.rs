//! What `keyless explain` says is likely wrong, for what people send in the field.

use serde_json::{Value, json};

use crate::explain::{CHAT, explain};
use crate::tokens::{jwk, signed, token};
use crate::{Said, Scratch, configuration};

/// What is told of this token as likely wrong.
fn cure(config: &Value, bearer: &str) -> String {
    cured(&explain(config, Some(bearer), &CHAT))
}

fn cured(said: &Said) -> String {
    let (_, cures) = said.out.split_once("\nlikely cure\n").unwrap_or_default();
    let (cures, _) = cures.split_once("\n\n").unwrap_or_default();
    cures.to_owned()
}

fn with(pointer: &str, value: Value) -> Value {
    let mut config = configuration();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = value;
    config
}

#[test]
fn a_request_that_is_admitted_needs_no_cure() {
    let said = explain(&configuration(), Some(&token(&json!({ "scp": "chat more" }))), &CHAT);
    assert_eq!((said.status, cured(&said).as_str()), (0, ""));
}

#[test]
fn a_claim_of_the_wrong_kind_is_named_with_the_kind() {
    let rows = [
        (json!({ "exp": "2000000600" }), "exp is a text; it must be a number"),
        (json!({ "exp": null }), "exp is absent; it must be a number"),
        (json!({ "sub": 7 }), "sub is a number; it must be a text"),
        (json!({ "aud": { "a": 1 } }), "aud is an object; it must be a text or a list of texts"),
        (json!({ "iat": null }), "iat is absent; it must be a number"),
    ];
    for (claims, expected) in rows {
        let cure = cure(&configuration(), &token(&claims));
        assert!(cure.contains(expected), "{claims}: {cure}");
    }
}

#[test]
fn a_credential_that_is_no_signed_token_is_told_by_its_form() {
    let jwe = signed(&json!({ "alg": "dir", "enc": "A256GCM" }), &json!({}));
    let jwe = format!("{}..AA.AA.AA", jwe.split('.').next().unwrap());
    let said = explain(&configuration(), Some(&jwe), &CHAT);
    assert!(said.out.contains("FAILS: token_encrypted: "), "{}", said.out);
    assert!(cured(&said).contains("an encrypted token (JWE)"), "{}", said.out);
    assert!(cure(&configuration(), "opaque-token").contains("an opaque token"));
    for (kid, kind) in [(json!(7), "a number"), (json!("k".repeat(300)), "a text of more than 256")]
    {
        let bearer = signed(&json!({ "alg": "ES256", "kid": kid }), &json!({}));
        let said = explain(&configuration(), Some(&bearer), &CHAT);
        assert!(said.out.contains("FAILS: kid_malformed: "), "{}", said.out);
        assert!(cured(&said).contains(&format!("the header's kid is {kind}")), "{}", said.out);
    }
}

#[test]
fn an_issuer_that_nearly_fits_is_told_with_the_difference() {
    let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let version_1 = format!("https://sts.windows.net/{tenant}/");
    let version_2 = format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let document = "https://idp.example.com/.well-known/openid-configuration";
    let rows = [
        (
            "https://idp.example.com",
            "https://idp.example.com/",
            "so write \"https://idp.example.com/\"",
        ),
        (
            "https://idp.example.com/",
            "https://idp.example.com",
            "so write \"https://idp.example.com\"",
        ),
        (document, "https://idp.example.com", "write the issuer, \"https://idp.example.com\""),
        (document, "https://idp.example.com/", "write the issuer, \"https://idp.example.com/\""),
        ("https://idp.example.com/", "http://idp.example.com/", "in http or https"),
        (&version_2, &version_1, "of the other version"),
        ("https://idp.example.com/", &version_1, "of an Entra tenant that no entry has"),
    ];
    for (configured, iss, expected) in rows {
        let config = with("/issuers/0/issuer", json!(configured));
        let cure = cure(&config, &token(&json!({ "iss": iss })));
        assert!(cure.contains(expected), "{configured} {iss}: {cure}");
    }
    let other = token(&json!({ "iss": "https://other.example.com/" }));
    assert_eq!(cure(&configuration(), &other), "", "nothing is known of it");
}

#[test]
fn an_audience_is_told_by_its_kind() {
    let guid = "11111111-2222-3333-4444-555555555555";
    let uri = json!(["api://openai-gateway"]);
    let rows = [
        (
            uri.clone(),
            json!({ "aud": guid }),
            "aud is an application id (GUID), and issuers[0].audiences lists an application's URI",
        ),
        (uri.clone(), json!({ "aud": [guid] }), "list both"),
        (json!([guid]), json!({ "aud": "api://openai-gateway" }), "list both"),
        (uri.clone(), json!({ "aud": "api://openai-gateway/" }), "by a slash at its end"),
        (uri.clone(), json!({ "aud": "https://graph.microsoft.com" }), "aud is Microsoft Graph"),
        (uri.clone(), json!({ "aud": "c", "nonce": "n" }), "looks like an ID token"),
        (
            uri.clone(),
            json!({ "aud": null, "client_id": "c" }),
            "issuers[0].audience_claim to \"client_id\"",
        ),
        (uri, json!({ "aud": null }), "have the issuer add the audience"),
    ];
    for (audiences, claims, expected) in rows {
        let config = with("/issuers/0/audiences", audiences);
        let cure = cure(&config, &token(&claims));
        assert!(cure.contains(expected), "{claims}: {cure}");
        assert!(!cure.contains(guid), "no value of the token: {cure}");
    }
    let mut config = with("/issuers/0/audience_claim", json!("client_id"));
    config["issuers"][0]["audiences"] = json!(["client"]);
    let id_token = token(&json!({ "aud": "client", "token_use": "id" }));
    assert!(cure(&config, &id_token).contains("client_id, which is the audience"));
    let access = token(&json!({ "aud": null, "client_id": "client", "scp": "chat more" }));
    let said = explain(&config, Some(&access), &CHAT);
    assert_eq!((said.status, cured(&said).as_str()), (0, ""));
}

#[test]
fn a_grant_that_asks_for_a_claim_in_the_wrong_way_is_told() {
    let grant = |grant: Value| with("/routes/0/allow", json!([grant]));
    let groups = grant(json!({ "claims": { "groups": ["g"] } }));
    let overage = json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": {} });
    for claims in [overage, json!({ "hasgroups": true })] {
        assert!(cure(&groups, &token(&claims)).contains("groups is left out of the token"));
    }
    assert_eq!(cure(&groups, &token(&json!({ "groups": ["other"] }))), "", "they are there");
    let keycloak = json!({ "realm_access": { "roles": ["chat"] } });
    let dotted = grant(json!({ "claims": { "realm_access.roles": ["chat"] } }));
    let found = cure(&dotted, &token(&keycloak));
    assert!(found.contains("the pointer \"/realm_access/roles\"; write that"), "{found}");
    let found = cure(&grant(json!({ "claims": { "realm_access": ["chat"] } })), &token(&keycloak));
    assert!(found.contains("realm_access is an object"), "{found}");
    let found = cure(&grant(json!({ "roles": ["chat"] })), &token(&keycloak));
    assert!(found.contains("\"/realm_access/roles\""), "{found}");
    let full = grant(json!({ "scopes": ["api://openai-gateway/chat"] }));
    let found = cure(&full, &token(&json!({ "scp": "chat" })));
    assert!(found.contains("write the scope as \"chat\""), "{found}");
}

#[test]
fn a_signature_that_no_key_fits_is_told_by_the_key_set() {
    let mut config = configuration();
    config["issuers"][0]["jwks"] = json!({ "cluster": "idp", "discovery": true });
    let with_keys = |bearer: &str, keys: Vec<Value>| {
        let keys = Scratch::new("cures.json", &json!({ "keys": keys }).to_string());
        explain(&config, Some(bearer), &[&CHAT[..], &["--jwks", keys.path()]].concat())
    };
    let mut padded = jwk();
    padded["x"] = json!("!");
    let mut good = jwk();
    good["kid"] = json!("other");
    let said = with_keys(&token(&json!({})), vec![padded.clone(), good]);
    let expected = "a key of this kid that cannot be used: x is not base64url";
    assert!(cured(&said).contains(expected), "{}", said.out);
    let said = with_keys(&token(&json!({})), vec![padded]);
    let expected = "no usable key: kid=\"k\" reason=\"x is not base64url\"";
    assert!(said.status == 2 && said.err.contains(expected), "{}", said.err);
    let unnamed = signed(&json!({ "alg": "ES256" }), &json!({}));
    let broken = format!("{}AAAA", &unnamed[..unnamed.len() - 4]);
    let named = |kid: usize| {
        let mut key = jwk();
        key["kid"] = json!(kid.to_string());
        key
    };
    let said = with_keys(&broken, (0..6).map(named).collect());
    assert!(cured(&said).contains("no kid and the key set has 6 keys"), "{}", said.out);
}
