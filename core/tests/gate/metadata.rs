//! What clients are told that look for the issuer (RFC 9728).

use keyless_core::gate::{Decided, Decision};
use serde_json::{Value, json};

use crate::scripted::{Request, Script, reason, status};

const PATH: &str = "/.well-known/oauth-protected-resource";

fn described() -> Script {
    Script::of(json!({"protected_resource": {"resource": "https://gateway.example.com"}}))
}

fn get(path: &str) -> Request {
    Request::empty().with(":method", "GET").with(":path", path)
}

fn challenge(decided: &Decided) -> Option<&str> {
    let Decision::Deny(reply) = &decided.decision else { panic!("{decided:?}") };
    let mut values = reply.headers.iter().filter(|(name, _)| *name == "www-authenticate");
    values.next().map(|(_, value)| value.as_str())
}

#[test]
fn the_metadata_are_for_anybody_and_need_nothing() {
    let mut script = described();
    for request in [get(PATH), get(&format!("{PATH}?x")).with("authorization", "Bearer x")] {
        let decided = script.ask(request).expect("nothing to wait for");
        assert_eq!((reason(&decided), decided.decision.verdict()), ("metadata", "admitted"));
        let Decision::Respond(reply) = &decided.decision else { panic!("{decided:?}") };
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((reply.status, &body["resource"]), (200, &json!("https://gateway.example.com")));
        assert_eq!(body["authorization_servers"], json!(["https://idp.example.com/"]));
        assert_eq!(body["scopes_supported"], json!(["admin", "openai.chat"]));
    }
    assert!(script.calls().is_empty() && script.wake_at().is_none(), "nobody was asked for it");
}

#[test]
fn nothing_but_a_get_of_exactly_that_path_is_answered() {
    let mut script = described();
    let requests = [
        get(PATH).to("POST", PATH),
        get(&format!("{PATH}/")),
        get(&format!("{PATH}/x")),
        get(&PATH.to_uppercase()),
    ];
    for request in requests {
        let decided = script.ask(request).unwrap();
        assert_eq!(reason(&decided), "route_unknown");
    }
    let decided = script.ask(get(&format!("/{PATH}"))).unwrap();
    assert_eq!(reason(&decided), "path_refused");
    let decided = Script::new().ask(get(PATH)).unwrap();
    assert_eq!(reason(&decided), "route_unknown", "unless it is configured");
}

#[test]
fn every_challenge_names_the_metadata() {
    let url = format!("resource_metadata=\"https://gateway.example.com{PATH}\"");
    let mut script = described();
    let rows = [
        (script.chat().without("authorization"), 401),
        (script.chat_with(json!({"exp": 1})), 401),
        (script.chat().with("authorization", "Bearer x"), 400),
    ];
    for (request, expected) in rows {
        let decided = script.ask(request).unwrap();
        assert_eq!(status(&decided), expected);
        assert!(challenge(&decided).unwrap().ends_with(&format!(", {url}")), "{decided:?}");
    }
    let decided = script.ask(script.chat().to("GET", "/nowhere")).unwrap();
    assert_eq!(challenge(&decided), None);
    assert!(script.ask(script.chat_with(json!({"scp": "x"}))).is_none());
    script.answer_all();
    let (_, decided) = script.released().pop().unwrap();
    assert_eq!(status(&decided), 403);
    assert!(challenge(&decided).unwrap().ends_with(&format!("scope=\"openai.chat\", {url}")));
}

#[test]
fn scopes_are_given_in_full_where_the_authorization_server_knows_them_so() {
    let resource = json!({
        "resource": "https://gateway.example.com", "scope_prefix": "api://openai-gateway/"
    });
    let mut script = Script::of(json!({ "protected_resource": resource }));
    let decided = script.ask(get(PATH)).unwrap();
    let Decision::Respond(reply) = &decided.decision else { panic!("{decided:?}") };
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let full = ["api://openai-gateway/admin", "api://openai-gateway/openai.chat"];
    assert_eq!(body["scopes_supported"], json!(full));
    assert!(script.ask(script.chat_with(json!({"scp": "x"}))).is_none());
    assert!(script.ask(script.chat()).is_none());
    script.answer_all();
    let released = script.released();
    let refused = challenge(&released[0].1).unwrap();
    assert!(refused.contains("scope=\"api://openai-gateway/openai.chat\","), "{refused}");
    assert!(matches!(released[1].1.decision, Decision::Forward(_)), "tokens have the short name");
}
