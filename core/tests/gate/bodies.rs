//! Requests whose body says which deployment they are for.

use std::time::Duration;

use keyless_core::gate::{Decided, Progress};
use serde_json::{Value, json};

use crate::SECOND;
use crate::scripted::{IDENTITY, KEYS, Request, Script, header, is_admitted, jwks, reason, status};

const BODY: &str = r#"{"messages": [], "model": "gpt-4o-mini"}"#;

fn route(allow: Value) -> Value {
    json!({"routes": [
        {
            "name": "v1", "match": {"methods": ["GET", "POST"], "path": "/openai/v1/{*rest}"},
            "deployment": "body.model", "allow": allow, "identity": "openai"
        },
        {
            "name": "chat", "match": {"methods": ["POST"], "path": "/{deployment}/chat"},
            "allow": [{}]
        }
    ]})
}

/// A gate whose keys and identity token have arrived.
fn warm() -> Script {
    let mut script = cold();
    assert!(script.ask(v1(&script)).is_none());
    script.answer_all();
    script.gate.forget(script.last_stream);
    script
}

fn cold() -> Script {
    let limited = json!({"scopes": ["openai.chat"], "deployments": ["gpt-4o-mini"]});
    Script::of(route(json!([limited, {"roles": ["all"]}])))
}

fn v1(script: &Script) -> Request {
    script.chat().to("POST", "/openai/v1/responses").with("content-type", "application/json")
}

/// Shows the gate a part of the body of the latest request.
fn part(script: &mut Script, is_last: bool, body: &str) -> Progress {
    let read = || body.as_bytes().to_vec();
    script.gate.body(script.last_stream, is_last, read, script.now)
}

/// What is said when the whole body of the latest request has come.
fn decided(script: &mut Script, body: &str) -> Decided {
    match part(script, true, body) {
        Progress::Decided(decided) => *decided,
        other @ (Progress::Free | Progress::Held) => panic!("{other:?}"),
    }
}

#[test]
fn a_request_waits_for_its_body_and_is_ruled_on_by_its_model() {
    let mut script = warm();
    let rows = [
        (BODY, "ok"),
        (r#"{"model":"gpt-4o"}"#, "deployment_forbidden"),
        ("{}", "model_missing"),
        (r#"{"model":1}"#, "model_malformed"),
        ("model", "body_malformed"),
    ];
    for (body, expected) in rows {
        assert!(script.ask(v1(&script)).is_none(), "it waits");
        assert!(matches!(part(&mut script, false, "?"), Progress::Held), "for all of it");
        assert!(script.released().is_empty());
        let decided = decided(&mut script, body);
        assert_eq!(reason(&decided), expected, "{body}");
        let deployment = (expected == "ok").then_some("gpt-4o-mini");
        assert_eq!(decided.record.deployment.as_deref(), deployment);
        assert!(matches!(part(&mut script, true, body), Progress::Free), "and no longer");
    }
}

#[test]
fn who_may_use_every_deployment_need_not_name_one() {
    let mut script = warm();
    let request = |script: &Script, method| {
        let free = script.chat_with(json!({"scp": null, "roles": ["all"]}));
        free.to(method, "/openai/v1/x").with("content-type", "application/json")
    };
    assert!(script.ask(request(&script, "POST")).is_none());
    let unnamed = decided(&mut script, r#"{"input": []}"#);
    assert!(is_admitted(&unnamed) && unnamed.record.deployment.is_none());
    let decided = script.ask_without_body(request(&script, "GET")).expect("no body, no wait");
    assert_eq!(header(&decided, "authorization"), Some("Bearer managed"));
    let limited = script.chat().to("GET", "/openai/v1/x");
    let decided = script.ask_without_body(limited).expect("no body, no wait");
    assert_eq!((status(&decided), reason(&decided)), (400, "model_missing"));
}

#[test]
fn what_no_body_can_mend_is_said_before_it_comes() {
    let mut script = warm();
    let json = ("content-type", "application/json");
    let rows = [
        (v1(&script).without("authorization"), "token_missing"),
        (script.chat_with(json!({"scp": "x"})).to("POST", "/openai/v1/x"), "scope_missing"),
        (v1(&script).without("content-type"), "body_unsupported"),
        (v1(&script).with(json.0, json.1), "body_unsupported"),
        (v1(&script).with("content-length", "33554433"), "body_too_large"),
    ];
    for (request, expected) in rows {
        let decided = script.ask(request).expect("a decision");
        assert_eq!(reason(&decided), expected);
    }
}

#[test]
fn the_body_of_another_route_is_not_read() {
    let mut script = cold();
    let chat = script.chat().to("POST", "/gpt-4o/chat");
    assert!(script.ask(chat.clone()).is_none(), "it waits for keys");
    let unread = || panic!("read");
    assert!(matches!(script.gate.body(1, true, unread, script.now), Progress::Held));
    script.answer_all();
    assert!(is_admitted(&script.released()[0].1));
    assert!(script.ask(chat).is_some());
    assert!(matches!(script.gate.body(2, true, unread, script.now), Progress::Free));
}

#[test]
fn a_body_that_came_before_the_keys_is_remembered() {
    let mut script = cold();
    for body in [BODY, r#"{"model":"gpt-4o"}"#] {
        assert!(script.ask(v1(&script)).is_none());
        assert!(matches!(part(&mut script, true, body), Progress::Held));
    }
    script.calls();
    script.answer(KEYS, &jwks(&["k1"]));
    let (_, refused) = script.released().pop().expect("what can be said without an identity token");
    assert_eq!(reason(&refused), "deployment_forbidden");
    script.answer(IDENTITY, &script.token_answer("m1", 86_400));
    let (_, admitted) = script.released().pop().unwrap();
    assert_eq!(header(&admitted, "authorization"), Some("Bearer m1"));
}

/// The host may lose a part of the body of a request that is resumed between two parts.
#[test]
fn a_request_in_the_middle_of_its_body_goes_on_with_the_next_part() {
    let mut script = cold();
    assert!(script.ask(script.chat().to("POST", "/gpt-4o/chat")).is_none());
    assert!(matches!(part(&mut script, false, ""), Progress::Held));
    script.answer_all();
    assert!(script.released().is_empty(), "not now");
    match part(&mut script, false, "") {
        Progress::Decided(decided) => assert!(is_admitted(&decided)),
        other @ (Progress::Free | Progress::Held) => panic!("{other:?}"),
    }
    assert!(matches!(part(&mut script, true, ""), Progress::Free));
}

#[test]
fn a_body_may_pause_for_ten_seconds_and_take_a_minute() {
    let mut script = warm();
    assert!(script.ask(v1(&script)).is_none());
    let until = |script: &Script| script.wake_at().unwrap().duration_since(script.now).unwrap();
    assert!(until(&script) <= 10 * SECOND);
    script.pass(10 * SECOND);
    let (_, decided) = script.released().pop().expect("given up");
    assert_eq!((status(&decided), reason(&decided)), (408, "body_late"));
    assert_eq!(decided.record.subject(), Some("alice"));

    assert!(script.ask(v1(&script)).is_none());
    for _ in 0..6 {
        script.pass(Duration::from_millis(9900));
        assert!(script.released().is_empty());
        assert!(matches!(part(&mut script, false, ""), Progress::Held));
    }
    script.pass(SECOND);
    let (_, decided) = script.released().pop().expect("given up");
    assert_eq!(reason(&decided), "body_late");
}

#[test]
fn when_the_body_has_come_the_wait_for_an_identity_token_begins() {
    let mut script = cold();
    assert!(script.ask(v1(&script)).is_none());
    script.calls();
    script.answer(KEYS, &jwks(&["k1"]));
    assert!(script.released().is_empty());
    for _ in 0..3 {
        script.pass(9 * SECOND);
        assert!(matches!(part(&mut script, false, ""), Progress::Held));
    }
    for _ in 0..40 {
        if !script.calls().is_empty() {
            break;
        }
        for fetch in script.gate.lost(script.now) {
            _ = script.answer_with(fetch, &keyless_core::http::Answer::Lost);
        }
        script.pass(SECOND / 4);
    }
    assert!(matches!(part(&mut script, true, BODY), Progress::Held), "a fetch is in flight");
    script.pass(5 * SECOND);
    script.answer(IDENTITY, &script.token_answer("m1", 86_400));
    assert!(is_admitted(&script.released().pop().unwrap().1));
}

#[test]
fn a_stream_that_is_gone_leaves_nothing_behind() {
    let mut script = warm();
    assert!(script.ask(v1(&script)).is_none());
    script.gate.forget(script.last_stream);
    assert!(matches!(part(&mut script, true, BODY), Progress::Free));
    script.pass(Duration::from_mins(2));
    assert!(script.released().is_empty());
}

#[test]
fn too_many_unfinished_bodies_are_refused_as_our_fault() {
    let mut script = warm();
    let request = v1(&script);
    for _ in 0..512 {
        assert!(script.ask(request.clone()).is_none());
    }
    let decided = script.ask(request).expect("no room");
    assert_eq!((status(&decided), reason(&decided)), (503, "too_many_waiting"));
}
