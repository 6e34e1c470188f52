//! Scenarios: a gate, a scripted clock and scripted answers; no proxy, no socket, no sleep.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test may fail loudly, and its values are made for it"
)]

mod backoff;
mod bodies;
mod clock;
mod credentials;
mod discovery;
mod entra;
mod equivalence;
mod exchange;
mod followers;
mod health;
mod identities;
mod inline;
mod keys;
mod limits;
mod memory;
mod metadata;
mod model;
mod places;
mod preflights;
mod reporting;
mod routing;
mod scripted;
mod sharing;
mod workload_identity;

use std::time::Duration;

use keyless_core::gate::{Decided, Decision, Progress};
use keyless_core::http::{Answer, FetchError};
use keyless_core::secret::Secret;
use scripted::{IDENTITY, KEYS, Script, arrived, header, jwks, reason, status};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

/// A script whose keys and identity token have arrived.
fn warm() -> Script {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    script.answer_all();
    assert_eq!(script.released().len(), 1);
    script
}

#[test]
fn a_cold_start_makes_ten_requests_wait_for_two_fetches_and_admits_them_all() {
    let mut script = Script::new();
    for _ in 0..10 {
        assert!(script.ask(script.chat()).is_none(), "it waits");
    }
    let calls = script.calls();
    assert_eq!(calls.iter().map(|(fetch, _)| *fetch).collect::<Vec<_>>(), [KEYS, IDENTITY]);
    assert_eq!(calls[0].1.cluster, "idp");
    assert_eq!(calls[0].1.path, "/jwks.json");
    assert_eq!(calls[1].1.headers, [("metadata", Secret::new("true"))]);
    assert!(script.calls().is_empty(), "one fetch in flight for each");

    script.answer(KEYS, &jwks(&["k1"]));
    assert!(script.released().is_empty(), "the identity token is still missing");
    script.answer(IDENTITY, &script.token_answer("m1", 86_400));
    let released = script.released();
    assert_eq!(released.len(), 10);
    for (_, decided) in &released {
        assert_eq!(header(decided, "authorization"), Some("Bearer m1"));
    }
    assert!(script.calls().is_empty(), "and no more");
}

#[test]
fn nothing_is_fetched_before_the_first_request() {
    let mut script = Script::new();
    assert!(script.calls().is_empty());
    assert_eq!(script.wake_at(), None);
}

#[test]
fn a_warm_gate_decides_at_once() {
    let mut script = warm();
    let decided = script.ask(script.chat()).expect("a decision");
    assert_eq!(header(&decided, "authorization"), Some("Bearer managed"));
    assert_eq!(decided.record.reason, "ok");
    assert_eq!(decided.record.route.as_deref(), Some("chat"));
    assert_eq!(decided.record.issuer.as_deref(), Some("idp.example.com"));
    assert_eq!(decided.record.subject(), Some("alice"));
    assert_eq!(decided.record.deployment.as_deref(), Some("gpt-4o"));
}

#[test]
fn a_caller_at_fault_is_told_so_while_everything_is_down() {
    let mut script = Script::new();
    let cases = [
        (script.chat().without("authorization"), "token_missing"),
        (script.chat().with("authorization", "Bearer x"), "authorization_ambiguous"),
        (script.chat_with(json!({"exp": 1})), "token_expired"),
        (script.chat_with(json!({"iss": "https://evil.example/"})), "issuer_unknown"),
        (script.chat_with(json!({"aud": "other"})), "audience_mismatch"),
        (script.chat().to("GET", "/nowhere"), "route_unknown"),
        (script.chat().to("POST", "/openai//x"), "path_refused"),
    ];
    for (request, code) in cases {
        let decided = script.ask(request).expect("a decision");
        assert_eq!(reason(&decided), code);
    }
}

#[test]
fn an_unavailable_identity_token_is_our_fault_too() {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    script.calls();
    script.answer(KEYS, &jwks(&["k1"]));
    _ = script.answer_with(IDENTITY, &arrived(429, b""));
    for _ in 0..10 {
        script.pass(SECOND);
        for (fetch, _) in script.calls() {
            _ = script.answer_with(fetch, &Answer::Unsent);
        }
        if let Some((_, decided)) = script.released().pop() {
            assert_eq!((status(&decided), reason(&decided)), (503, "identity_unavailable"));
            return;
        }
    }
    panic!("it waits for ever");
}

#[test]
fn a_call_that_is_never_answered_is_given_up_and_tried_again() {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    script.calls();
    script.pass(Duration::from_millis(5999));
    assert!(script.gate.lost(script.now).is_empty());
    script.pass(Duration::from_millis(1));
    assert_eq!(script.gate.lost(script.now), [KEYS, IDENTITY]);
    for fetch in [KEYS, IDENTITY] {
        assert_eq!(script.answer_with(fetch, &Answer::Lost), Err(FetchError::Unanswered));
    }
    script.pass(2 * SECOND);
    assert_eq!(script.calls().len(), 2);
}

#[test]
fn service_comes_back_by_itself() {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    for _ in 0..600 {
        script.fail_all();
        script.pass(SECOND);
    }
    assert_eq!(script.released().len(), 1, "long refused");
    let wait = script.wake_at().unwrap().duration_since(script.now).unwrap();
    assert!(wait <= Duration::from_secs(30), "{wait:?}");
    script.pass(Duration::from_secs(30));
    script.answer_all();
    assert!(matches!(script.ask(script.chat()).unwrap().decision, Decision::Forward(_)));
}

#[test]
fn a_stream_that_is_gone_is_not_released() {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    let gone = script.last_stream;
    assert!(script.ask(script.chat()).is_none());
    script.gate.forget(gone);
    script.answer_all();
    let released = script.released();
    assert_eq!(released.len(), 1);
    assert_ne!(released[0].0, gone);
}

#[test]
fn a_full_waiting_list_refuses_instead_of_growing() {
    let mut script = Script::new();
    let mut refused = 0;
    let request = script.chat();
    for _ in 0..1100 {
        refused += u32::from(script.ask(request.clone()).is_some());
    }
    assert_eq!(refused, 1100 - 1024);
    let decided = script.ask(script.chat()).unwrap();
    assert_eq!((status(&decided), reason(&decided)), (503, "keys_unavailable"));
}

#[test]
fn a_crowd_is_released_little_by_little_and_in_the_order_of_its_coming() {
    let mut script = Script::new();
    let request = script.chat();
    for _ in 0..1000 {
        assert!(script.ask(request.clone()).is_none());
    }
    script.answer_all();
    let mut streams = Vec::new();
    while streams.len() < 1000 {
        let released = script.released();
        assert!((1..=32).contains(&released.len()), "{} of {}", released.len(), streams.len());
        assert!(released.iter().all(|(_, decided)| scripted::is_admitted(decided)));
        streams.extend(released.into_iter().map(|(stream, _)| stream));
        let is_over = streams.len() == 1000;
        assert_eq!(script.wake_at().unwrap() <= script.now, !is_over, "after {}", streams.len());
    }
    assert!(streams.is_sorted());
}

#[test]
fn a_part_of_its_body_does_not_cost_a_waiting_request_its_place() {
    let mut script = Script::new();
    let request = script.chat();
    for _ in 0..100 {
        assert!(script.ask(request.clone()).is_none());
    }
    let nothing_to_read = || panic!("the path names the deployment");
    let progress = script.gate.body(1, true, nothing_to_read, script.now);
    assert!(matches!(progress, Progress::Held), "{progress:?}");
    script.answer_all();
    let released: Vec<_> = (0..4).flat_map(|_| script.released()).collect();
    let streams: Vec<_> = released.into_iter().map(|(stream, _)| stream).collect();
    assert_eq!(streams, (1..=100).collect::<Vec<_>>());
}

#[test]
fn an_identity_token_is_replaced_before_its_end_and_never_sent_after_it() {
    let mut script = warm();
    let start = script.now;
    script.pass(Duration::from_hours(12));
    let due = script.calls();
    assert!(due.iter().any(|(fetch, _)| *fetch == IDENTITY), "half of its life is over");
    script.fail(IDENTITY);
    let decided = script.ask(script.chat()).unwrap();
    assert_eq!(header(&decided, "authorization"), Some("Bearer managed"), "the old one serves");

    script.pass_to(start + Duration::from_secs(86_339));
    script.settle_keys();
    let decided = script.ask(script.chat()).unwrap();
    assert_eq!(header(&decided, "authorization"), Some("Bearer managed"));
    script.pass_to(start + Duration::from_mins(1439));
    let decided = script.ask(script.chat()).expect("the next try is too far away to wait for");
    let unavailable = (503, "identity_unavailable");
    assert_eq!((status(&decided), reason(&decided)), unavailable, "a minute before its end");
}

#[test]
fn a_token_that_expires_while_its_request_waits_is_refused() {
    let mut script = Script::new();
    let expires = script.unix() - 55;
    assert!(script.ask(script.chat_with(json!({"exp": expires}))).is_none(), "within the leeway");
    script.pass(Duration::from_secs(6));
    for fetch in script.gate.lost(script.now) {
        _ = script.answer_with(fetch, &Answer::Lost);
    }
    script.pass(SECOND);
    script.answer_all();
    let (_, decided) = script.released().pop().unwrap();
    assert_eq!(reason(&decided), "token_expired");
}

#[test]
fn a_fetch_tells_what_came_of_it_and_whether_that_is_news() {
    let mut script = Script::new();
    script.ask(script.chat());
    script.calls();
    let mut settle = |answer: &Answer| {
        let report = script.gate.answered(KEYS, answer, script.now).unwrap();
        assert_eq!((report.kind, report.name.as_str()), ("jwks", "idp.example.com"));
        (report.result.is_ok(), report.is_news)
    };
    let good = arrived(200, &jwks(&["k1"]));
    let bad = arrived(500, b"");
    assert_eq!(settle(&bad), (false, true));
    assert_eq!(settle(&bad), (false, false));
    assert_eq!(settle(&good), (true, true));
    assert_eq!(settle(&good), (true, false));
    assert_eq!(settle(&bad), (false, true));
}

#[test]
fn bad_answers_are_failed_fetches() {
    let answers = [
        (arrived(200, b"<html>"), "not_json"),
        (arrived(200, b"{\"keys\":[]}"), "no_usable_key"),
        (arrived(200, b"\x1f\x8b\x08\x00"), "compressed"),
        (arrived(503, &jwks(&["k1"])), "status"),
        (arrived(302, b""), "status"),
        (arrived(504, b"upstream request timeout"), "timeout"),
        (arrived(200, b"{\"keys\":[{"), "truncated"),
        (arrived(200, b"{\"keys\":[],\"keys\":[]}"), "repeated"),
        (arrived(200, &vec![b' '; keyless_core::http::MAX_BODY + 1]), "too_large"),
        (Answer::Broken, "reset"),
        (Answer::Unsent, "unsent"),
        (Answer::Lost, "unanswered"),
    ];
    for (answer, code) in answers {
        let mut script = Script::new();
        script.ask(script.chat());
        script.calls();
        let error = script.answer_with(KEYS, &answer).unwrap_err();
        assert_eq!(error.code(), code);
    }
}

#[test]
fn what_the_caller_may_not_set_is_removed_on_every_route() {
    let mut script = warm();
    let hostile = |request: scripted::Request| {
        request
            .with("api-key", "stolen")
            .with("ocp-apim-subscription-key", "stolen")
            .with("x-caller-id", "root")
            .with("x-caller-id", "admin")
            .with("accept", "*/*")
    };
    let target = "/openai/deployments/gpt-4o/chat/completions?api-version=1&api-key=k";
    let decided = script.ask(hostile(script.chat().to("POST", target))).unwrap();
    let Decision::Forward(forward) = &decided.decision else { panic!("refused") };
    let removed: Vec<_> = forward.remove.iter().map(String::as_str).collect();
    assert_eq!(removed, ["api-key", "ocp-apim-subscription-key"]);
    assert_eq!(header(&decided, "x-caller-id"), Some("alice-id"), "set in place of the caller's");
    let target = forward.target.as_deref();
    assert_eq!(target, Some(&b"/openai/deployments/gpt-4o/chat/completions?api-version=1"[..]));

    for path in ["/healthz", "/plain"] {
        let decided = script.ask(hostile(script.chat().to("GET", path))).unwrap();
        let Decision::Forward(forward) = &decided.decision else { panic!("refused") };
        let removed: Vec<_> = forward.remove.iter().map(String::as_str).collect();
        let all = ["api-key", "authorization", "ocp-apim-subscription-key", "x-caller-id"];
        assert_eq!(removed, all, "{path}");
        assert!(forward.set.is_empty(), "{path}: no identity");
    }
}

#[test]
fn a_public_route_needs_no_token_and_no_keys() {
    let mut script = Script::new();
    let decided = script.ask(script.chat().without("authorization").to("GET", "/healthz")).unwrap();
    assert_eq!(decided.record.reason, "public");
    assert!(matches!(decided.decision, Decision::Forward(_)));
}

#[test]
fn a_missing_claim_leaves_the_header_absent_not_the_callers() {
    let mut script = warm();
    let request = script.chat_with(json!({"oid": null})).with("x-caller-id", "root");
    let decided = script.ask(request).unwrap();
    let Decision::Forward(forward) = &decided.decision else { panic!("refused") };
    assert!(forward.remove.iter().any(|name| name.as_str() == "x-caller-id"));
    assert_eq!(header(&decided, "x-caller-id"), None);
}

#[test]
fn bytes_of_any_kind_are_no_more_than_a_refusal() {
    let mut script = warm();
    let bytes: &[u8] = b"\xff\xfe\x80";
    for name in ["authorization", ":path", ":method", ":authority", "x-caller-id"] {
        let request = script.chat().without(name).with_bytes(name, bytes);
        let decided = script.ask(request);
        assert!(decided.is_some(), "{name}");
    }
    assert!(script.ask(scripted::Request::empty()).is_some());
}

#[test]
fn no_ruling_shows_a_token_in_its_debug_output() {
    let mut script = warm();
    let request = script.chat();
    let token = request.token();
    let decided: Vec<Decided> = [request, script.chat_with(json!({"scp": ""}))]
        .into_iter()
        .map(|request| script.ask(request).unwrap())
        .collect();
    let shown = format!("{decided:?} {:?}", script.gate);
    assert!(!shown.contains(&token) && !shown.contains("managed") && !shown.contains("alice"));
}
