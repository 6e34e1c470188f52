//! Entra's tenants: several issuers and key sets behind one entry.

use keyless_core::gate::Fetch;
use keyless_core::jwt::IssuerIndex;
use serde_json::{Value, json};

use crate::scripted::{
    IDENTITY, Request, Script, is_admitted, issuer, jwk, key_set, reason, sign, status,
};

const TENANTS: [&str; 2] =
    ["72f988bf-86f1-41af-91ab-2d7cd011db47", "11111111-2222-3333-4444-555555555555"];
const STRANGER: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
const HOME: Fetch = Fetch::Keys(IssuerIndex(0));
const AWAY: Fetch = Fetch::Keys(IssuerIndex(1));

fn version_1(tenant: &str) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

fn version_2(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}

fn entry(clients: Value) -> Value {
    json!({
        "entra": {"tenants": TENANTS, "clients": clients},
        "audiences": ["openai-gateway"], "jwks": {"cluster": "entra"}
    })
}

/// A script whose tenants publish a key each, both under the name `shared`.
fn warm(changes: Value) -> Script {
    let mut script = cold(changes);
    script.answer(HOME, &key_set(vec![jwk("shared", "k1")]));
    script.answer(AWAY, &key_set(vec![jwk("shared", "k2")]));
    assert_eq!(script.released().len(), 1);
    script
}

/// A script that has asked for everything and waits for the tenants' keys.
fn cold(changes: Value) -> Script {
    let mut document = json!({"issuers": [entry(json!([]))]});
    document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let mut script = Script::of(document);
    let request = token(&script, version_2(TENANTS[0]), json!({}));
    assert!(script.ask(request).is_none());
    for (fetch, call) in script.calls() {
        match fetch {
            Fetch::Keys(IssuerIndex(at @ 0..=1)) => {
                let path = format!("/{}/discovery/v2.0/keys", TENANTS[at]);
                let place = (call.authority.as_str(), call.path, call.cluster.as_str());
                assert_eq!(place, ("login.microsoftonline.com", path, "entra"));
            }
            Fetch::Keys(_) => {}
            Fetch::Identity(_) => script.answer(IDENTITY, &script.token_answer("m", 86_400)),
        }
    }
    script
}

/// A token of the tenant that `iss` names, signed by that tenant's key, with some claims replaced.
fn token(script: &Script, iss: String, changes: Value) -> Request {
    let [home, away] = TENANTS;
    let (by, tenant) = if iss.contains(away) { ("k2", away) } else { ("k1", home) };
    let mut claims = script.claims(json!({"iss": iss, "tid": tenant}));
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    Request::chat(&sign(Some("shared"), by, &claims))
}

#[test]
fn tokens_of_both_versions_of_each_tenant_pass() {
    let mut script = warm(json!({}));
    for tenant in TENANTS {
        for iss in [version_1(tenant), version_2(tenant)] {
            let decided = script.ask(token(&script, iss.clone(), json!({}))).unwrap();
            assert!(is_admitted(&decided), "{iss}");
            assert_eq!(decided.record.issuer.as_deref(), Some("entra"));
        }
    }
}

#[test]
fn each_tenants_key_is_good_for_its_own_tenant_alone() {
    let mut script = warm(json!({}));
    for (tenant, by) in [(TENANTS[0], "k2"), (TENANTS[1], "k1")] {
        let claims = script.claims(json!({"iss": version_2(tenant), "tid": tenant}));
        let decided = script.ask(Request::chat(&sign(Some("shared"), by, &claims))).unwrap();
        assert_eq!(reason(&decided), "signature_invalid");
    }
}

#[test]
fn one_tenants_outage_is_not_the_others() {
    let mut script = cold(json!({}));
    script.fail(HOME);
    script.answer(AWAY, &key_set(vec![jwk("shared", "k2")]));
    let decided = script.ask(token(&script, version_1(TENANTS[1]), json!({}))).unwrap();
    assert!(is_admitted(&decided));
    assert!(script.released().is_empty(), "the first still waits for its own");
}

#[test]
fn the_tenant_that_a_token_names_must_be_its_issuers() {
    let mut script = warm(json!({}));
    let tenants = [
        json!(null),
        json!(TENANTS[1]),
        json!(TENANTS[0].to_uppercase()),
        json!(STRANGER),
        json!(""),
        json!([TENANTS[0]]),
    ];
    for tenant in tenants {
        for iss in [version_1(TENANTS[0]), version_2(TENANTS[0])] {
            let decided = script.ask(token(&script, iss, json!({ "tid": tenant }))).unwrap();
            assert_eq!((status(&decided), reason(&decided)), (401, "tenant_mismatch"), "{tenant}");
        }
    }
    let absent = script.claims(json!({"iss": version_2(TENANTS[0])}));
    let decided = script.ask(Request::chat(&sign(Some("shared"), "k1", &absent))).unwrap();
    assert_eq!(reason(&decided), "tenant_mismatch");
}

#[test]
fn a_tenant_that_is_not_listed_is_unknown() {
    let mut script = warm(json!({}));
    let others = [
        version_1(STRANGER),
        version_2(STRANGER),
        version_2(&TENANTS[0].to_uppercase()),
        version_2("{tenantid}"),
        version_2("common"),
        version_1(TENANTS[0]).trim_end_matches('/').to_owned(),
        format!("{}/", version_2(TENANTS[0])),
        format!("https://login.microsoftonline.us/{}/v2.0", TENANTS[0]),
        format!("https://login.microsoftonline.com/{}/", TENANTS[0]),
    ];
    for iss in others {
        let decided = script.ask(token(&script, iss.clone(), json!({}))).unwrap();
        assert_eq!((status(&decided), reason(&decided)), (401, "issuer_unknown"), "{iss}");
    }
}

#[test]
fn a_key_that_names_another_tenant_signs_for_none_of_ours() {
    let named = |issuer: String| {
        let mut key = jwk("shared", "k1");
        key["issuer"] = json!(issuer);
        key
    };
    for issuer in [version_2(STRANGER), version_2(TENANTS[1])] {
        let mut script = cold(json!({}));
        script.answer(HOME, &key_set(vec![named(issuer), jwk("other", "k3")]));
        let (_, decided) = script.released().pop().unwrap();
        assert_eq!((status(&decided), reason(&decided)), (401, "key_unknown"));
    }
    for issuer in [version_2("{tenantid}"), version_1(TENANTS[0])] {
        let mut script = cold(json!({}));
        script.answer(HOME, &key_set(vec![named(issuer)]));
        assert!(is_admitted(&script.released().pop().unwrap().1));
    }
}

#[test]
fn only_listed_applications_may_call() {
    let mut script = warm(json!({"issuers": [entry(json!(["app", "tool"]))]}));
    let home = version_2(TENANTS[0]);
    let rows = [
        (json!({"azp": "app"}), true),
        (json!({"appid": "tool"}), true),
        (json!({"azp": "tool", "appid": "evil"}), true),
        (json!({"azp": "evil", "appid": "app"}), false),
        (json!({"azp": "evil"}), false),
        (json!({"appid": "APP"}), false),
        (json!({}), false),
    ];
    for (claims, may_call) in rows {
        let request = token(&script, home.clone(), claims.clone());
        for _ in 0..2 {
            let decided = script.ask(request.clone()).unwrap();
            assert_eq!(is_admitted(&decided), may_call, "{claims}");
            if !may_call {
                assert_eq!((status(&decided), reason(&decided)), (403, "client_forbidden"));
            }
        }
    }
}

#[test]
fn a_grant_to_the_entry_holds_for_every_tenant_and_for_no_other_issuer() {
    let partner = "https://partner.example/";
    let mut second = issuer(partner, "partner");
    second["name"] = json!("partner");
    let route = |name: &str| {
        json!({
            "name": name, "match": {"methods": ["GET"], "path": format!("/{name}")},
            "allow": [{ "issuer": name }]
        })
    };
    let mut script = warm(json!({
        "issuers": [entry(json!([])), second],
        "routes": [route("entra"), route("partner"), {
            "name": "chat", "match": {"methods": ["POST"], "path": "/{*any}"}, "allow": [{}]
        }]
    }));
    script.answer(Fetch::Keys(IssuerIndex(2)), &key_set(vec![jwk("k3", "k3")]));
    for tenant in TENANTS {
        let request = token(&script, version_2(tenant), json!({}));
        let decided = script.ask(request.clone().to("GET", "/entra")).unwrap();
        assert!(is_admitted(&decided));
        let decided = script.ask(request.to("GET", "/partner")).unwrap();
        assert_eq!((status(&decided), reason(&decided)), (403, "issuer_forbidden"));
    }
    let request = script.chat_by("k3", json!({ "iss": partner }));
    assert!(is_admitted(&script.ask(request.clone().to("GET", "/partner")).unwrap()));
    let decided = script.ask(request.to("GET", "/entra")).unwrap();
    assert_eq!(reason(&decided), "issuer_forbidden");
}
