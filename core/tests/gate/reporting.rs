//! A gate that only reports: it judges, and refuses nobody for a fault of its own.

use std::time::Duration;

use keyless_core::gate::{Decision, Progress};
use serde_json::json;

use crate::SECOND;
use crate::scripted::{
    IDENTITY, Request, Script, arrived, header, is_admitted, jwks, reason, status,
};

fn cold() -> Script {
    Script::of(json!({"report_only": true}))
}

fn warm() -> Script {
    let mut script = cold();
    assert!(script.ask(script.chat()).is_none());
    script.answer_all();
    assert_eq!(script.released().len(), 1);
    script
}

#[test]
fn a_callers_fault_is_recorded_and_forgiven() {
    let mut script = warm();
    let rows = [
        (script.chat().without("authorization"), "token_missing"),
        (script.chat().with("authorization", "Bearer x"), "authorization_ambiguous"),
        (script.chat_with(json!({"exp": 1})), "token_expired"),
        (script.chat_with(json!({"iss": "https://evil.example/"})), "issuer_unknown"),
        (script.chat_with(json!({"scp": "x"})), "scope_missing"),
    ];
    for (request, expected) in rows {
        let decided = script.ask(request).expect("a decision");
        assert_eq!(reason(&decided), expected);
        assert_eq!(header(&decided, "authorization"), Some("Bearer managed"), "{expected}");
        assert_eq!(decided.record.route.as_deref(), Some("chat"));
        let claim = (expected == "scope_missing").then_some("alice-id");
        assert_eq!(header(&decided, "x-caller-id"), claim, "only of a good token");
    }
    let decided = script.ask(script.chat()).unwrap();
    assert_eq!(reason(&decided), "ok");
}

#[test]
fn the_callers_credentials_are_removed_all_the_same() {
    let mut script = warm();
    let keys = |request: Request| request.with("api-key", "k").with("x-caller-id", "root");
    let rows = [
        (keys(script.chat().to("GET", "/nowhere")), "route_unknown"),
        (keys(script.chat().to("POST", "/openai//x?api-key=k")), "path_refused"),
        (keys(script.chat().to("GET", "/admin")), "scope_missing"),
    ];
    for (request, expected) in rows {
        let decided = script.ask(request).expect("a decision");
        assert_eq!(reason(&decided), expected);
        let Decision::Forward(forward) = &decided.decision else { panic!("refused") };
        let removed: Vec<_> = forward.remove.iter().map(String::as_str).collect();
        assert_eq!(removed, ["api-key", "authorization", "x-caller-id"], "{expected}");
        assert!(forward.set.is_empty(), "no identity without a route that has one");
        let target = forward.target.as_deref();
        assert_eq!(target, (expected == "path_refused").then_some(&b"/openai//x"[..]));
    }
}

#[test]
fn a_request_waits_for_the_identity_token_even_if_it_would_be_refused() {
    let mut script = cold();
    assert!(script.ask(script.chat().without("authorization")).is_none(), "it waits");
    script.calls();
    script.answer(IDENTITY, &script.token_answer("m1", 86_400));
    let (_, decided) = script.released().pop().unwrap();
    assert_eq!(reason(&decided), "token_missing");
    assert_eq!(header(&decided, "authorization"), Some("Bearer m1"));
}

#[test]
fn unavailable_keys_deny_nobody_and_a_missing_identity_token_does() {
    let mut script = cold();
    for _ in 0..2 {
        assert!(script.ask(script.chat()).is_none());
    }
    let calls = script.calls();
    script.answer(IDENTITY, &script.token_answer("m1", 86_400));
    assert!(script.released().is_empty(), "the keys may still come");
    for (fetch, _) in calls.into_iter().filter(|(fetch, _)| *fetch != IDENTITY) {
        script.fail(fetch);
    }
    script.pass(10 * SECOND);
    for (_, decided) in script.released() {
        assert_eq!((is_admitted(&decided), reason(&decided)), (true, "keys_unavailable"));
    }
    let mut script = cold();
    assert!(script.ask(script.chat()).is_none());
    script.calls();
    script.answer(crate::scripted::KEYS, &jwks(&["k1"]));
    _ = script.answer_with(IDENTITY, &arrived(403, b""));
    for _ in 0..20 {
        script.pass(SECOND);
        if let Some((_, decided)) = script.released().pop() {
            assert_eq!((status(&decided), reason(&decided)), (503, "identity_unavailable"));
            return;
        }
    }
    panic!("it waits for ever");
}

#[test]
fn a_body_is_read_for_the_report_and_let_through() {
    let mut script = Script::of(json!({"report_only": true, "routes": [{
        "name": "v1", "match": {"methods": ["POST"], "path": "/openai/v1/{*rest}"},
        "deployment": "body.model", "allow": [{"deployments": ["gpt-4o-mini"]}]
    }]}));
    let request = script.chat().to("POST", "/openai/v1/x").with("content-type", "application/json");
    assert!(script.ask(request.clone()).is_none());
    script.answer_all();
    assert!(script.released().is_empty());
    for (body, expected) in
        [(r#"{"model":"gpt-4o"}"#, "deployment_forbidden"), ("x", "body_malformed")]
    {
        let read = || body.as_bytes().to_vec();
        match script.gate.body(script.last_stream, true, read, script.now) {
            Progress::Decided(decided) => {
                assert_eq!((is_admitted(&decided), reason(&decided)), (true, expected));
            }
            other @ (Progress::Free | Progress::Held) => panic!("{other:?}"),
        }
        assert!(script.ask(request.clone()).is_none());
    }
    script.pass(Duration::from_secs(10));
    let (_, decided) = script.released().pop().expect("a host that shows no bodies");
    assert_eq!((is_admitted(&decided), reason(&decided)), (true, "body_late"));
}
