//! Discovery: one fetch, two calls, one after the other.

use std::time::Duration;

use keyless_core::fetch::InMemorySharedData;
use keyless_core::gate::Fetch;
use keyless_core::http::{Answer, FetchError};
use serde_json::{Value, json};

use crate::SECOND;
use crate::scripted::{IDENTITY, ISSUER, KEYS, Script, arrived, is_admitted, jwks, reason, status};

const DOCUMENT: &str = "/.well-known/openid-configuration";

fn document() -> Value {
    json!({"issuer": ISSUER, "jwks_uri": "https://idp.example.com/discovered?v=2"})
}

/// A script with a request that waits for the keys alone.
fn cold() -> Script {
    cold_on(&InMemorySharedData::new(false))
}

/// The same, on a thread that shares these notes with others.
fn cold_on(notes: &InMemorySharedData) -> Script {
    let jwks = json!({"cluster": "idp", "discovery": true});
    let issuer = json!({"issuer": ISSUER, "audiences": ["openai-gateway"], "jwks": jwks});
    let mut script = Script::on(notes, json!({"issuers": [issuer]}));
    assert!(script.ask(script.chat().to("GET", "/plain")).is_none());
    script
}

/// What is called for the keys; the identity answers at once.
fn paths(script: &mut Script) -> Vec<String> {
    let mut paths = Vec::new();
    for (fetch, call) in script.calls() {
        match fetch {
            Fetch::Keys(_) => {
                assert_eq!((call.cluster.as_str(), call.method), ("idp", "GET"));
                assert_eq!(call.authority, "idp.example.com");
                paths.push(call.path);
            }
            Fetch::Identity(_) => script.answer(IDENTITY, &script.token_answer("m", 86_400)),
        }
    }
    paths
}

/// A script whose keys have arrived in two calls.
fn warm() -> Script {
    let mut script = cold();
    assert_eq!(paths(&mut script), [DOCUMENT]);
    script.discover(KEYS, &document());
    assert_eq!(paths(&mut script), ["/discovered?v=2"]);
    script.answer(KEYS, &jwks(&["k1"]));
    assert!(is_admitted(&script.released().pop().unwrap().1));
    script
}

/// Waits until the next try, which must begin with the document.
fn try_again(script: &mut Script) {
    assert!(paths(script).is_empty(), "not at once");
    script.pass(2 * SECOND);
    assert_eq!(paths(script), [DOCUMENT]);
}

#[test]
fn the_document_is_asked_for_and_then_the_keys() {
    let mut script = cold();
    assert_eq!(paths(&mut script), [DOCUMENT]);
    assert!(paths(&mut script).is_empty(), "one call in flight");
    script.discover(KEYS, &document());
    assert!(script.released().is_empty(), "the document holds no keys");
    assert!(script.wake_at().unwrap() <= script.now, "the second call is due at once");
    assert_eq!(paths(&mut script), ["/discovered?v=2"]);
    assert!(paths(&mut script).is_empty(), "one call in flight");
    assert!(script.wake_at().unwrap() > script.now);
    script.answer(KEYS, &jwks(&["k1"]));
    let released = script.released();
    assert_eq!(released.len(), 1);
    assert!(is_admitted(&released[0].1));
    assert!(paths(&mut script).is_empty());
}

#[test]
fn other_threads_wait_for_both_calls_however_slow() {
    let notes = InMemorySharedData::new(true);
    let mut first = cold_on(&notes.of_holder(1));
    let mut second = cold_on(&notes.of_holder(2));
    assert_eq!(paths(&mut first), [DOCUMENT]);
    assert!(paths(&mut second).is_empty());
    let mut both_pass = |first: &mut Script, time| {
        first.pass(time);
        second.pass(time);
        assert!(paths(&mut second).is_empty(), "it asks nobody");
    };
    both_pass(&mut first, 4 * SECOND);
    first.discover(KEYS, &document());
    assert_eq!(paths(&mut first), ["/discovered?v=2"]);
    both_pass(&mut first, 4 * SECOND);
    first.answer(KEYS, &jwks(&["k1"]));
    both_pass(&mut first, SECOND);
    assert!(is_admitted(&second.released().pop().unwrap().1), "and takes the keys over");
}

#[test]
fn each_refresh_begins_with_the_document() {
    let mut script = warm();
    script.pass(Duration::from_hours(1));
    assert_eq!(paths(&mut script), [DOCUMENT]);
    script.discover(KEYS, &json!({"issuer": ISSUER, "jwks_uri": "https://idp.example.com/moved"}));
    assert_eq!(paths(&mut script), ["/moved"]);
    assert!(is_admitted(&script.ask(script.chat()).unwrap()), "the old keys serve meanwhile");
    script.answer(KEYS, &jwks(&["k2"]));
    assert!(is_admitted(&script.ask(script.chat_signed_by("k2")).unwrap()));
}

#[test]
fn the_schemes_own_port_is_the_same_host() {
    let mut script = cold();
    assert_eq!(paths(&mut script), [DOCUMENT]);
    let uri = "https://idp.example.com:443/k";
    script.discover(KEYS, &json!({"issuer": ISSUER, "jwks_uri": uri}));
    assert_eq!(paths(&mut script), ["/k"]);
    for uri in ["https://idp.example.com:8443/k", "https://idp.example.com:80/k"] {
        let mut script = cold();
        assert_eq!(paths(&mut script), [DOCUMENT]);
        let document = json!({"issuer": ISSUER, "jwks_uri": uri}).to_string();
        let error = script.answer_with(KEYS, &arrived(200, document.as_bytes())).unwrap_err();
        assert_eq!(error.code(), "malformed", "{uri}");
    }
}

#[test]
fn a_bad_document_is_a_failed_fetch_and_tried_again() {
    let document_of = |body: Value| arrived(200, body.to_string().as_bytes());
    let uri = "https://idp.example.com/k";
    let answers = [
        (document_of(json!({"issuer": "https://evil.example/", "jwks_uri": uri})), "malformed"),
        (
            document_of(json!({"issuer": ISSUER.trim_end_matches('/'), "jwks_uri": uri})),
            "malformed",
        ),
        (document_of(json!({"issuer": ISSUER, "jwks_uri": "https://evil.example/k"})), "malformed"),
        (
            document_of(json!({"issuer": ISSUER, "jwks_uri": "http://169.254.169.254/k"})),
            "malformed",
        ),
        (arrived(200, &jwks(&["k1"])), "malformed"),
        (arrived(200, b"<html>"), "not_json"),
        (arrived(301, b""), "status"),
        (Answer::Broken, "reset"),
        (Answer::Unsent, "unsent"),
        (Answer::Lost, "unanswered"),
    ];
    for (answer, code) in answers {
        let mut script = cold();
        paths(&mut script);
        let error = script.answer_with(KEYS, &answer).unwrap_err();
        assert_eq!(error.code(), code);
        try_again(&mut script);
        script.discover(KEYS, &document());
        assert_eq!(paths(&mut script), ["/discovered?v=2"]);
        script.answer(KEYS, &jwks(&["k1"]));
        assert!(is_admitted(&script.released().pop().unwrap().1));
    }
}

#[test]
fn a_document_that_stays_bad_is_our_fault() {
    let mut script = cold();
    let garbage = |_: &Script, fetch| match fetch {
        Fetch::Keys(_) => Some(arrived(200, b"<html>")),
        Fetch::Identity(_) => None,
    };
    for _ in 0..=10 {
        if let Some(decided) = script.drive(garbage).pop() {
            assert_eq!((status(&decided), reason(&decided)), (503, "keys_unavailable"));
            return;
        }
        script.pass(SECOND);
    }
    panic!("it hangs");
}

#[test]
fn keys_that_fail_to_come_are_looked_for_from_the_beginning() {
    let bad = arrived(200, document().to_string().as_bytes());
    for answer in [Answer::Broken, Answer::Unsent, bad] {
        let mut script = cold();
        paths(&mut script);
        script.discover(KEYS, &document());
        paths(&mut script);
        script.answer_with(KEYS, &answer).unwrap_err();
        try_again(&mut script);
    }
}

#[test]
fn the_second_call_has_a_time_of_its_own_and_is_lost_after_it() {
    let mut script = cold();
    paths(&mut script);
    script.pass(Duration::from_secs(4));
    script.discover(KEYS, &document());
    assert_eq!(paths(&mut script), ["/discovered?v=2"]);
    script.pass(Duration::from_millis(5999));
    assert!(script.gate.lost(script.now).is_empty());
    script.pass(Duration::from_millis(1));
    assert_eq!(script.gate.lost(script.now), [KEYS]);
    assert_eq!(script.answer_with(KEYS, &Answer::Lost), Err(FetchError::Unanswered));
    try_again(&mut script);
}

#[test]
fn a_document_that_comes_too_late_leads_nowhere() {
    let mut script = cold();
    paths(&mut script);
    script.discover(KEYS, &document());
    script.pass(Duration::from_secs(6));
    assert_eq!(script.gate.lost(script.now), [KEYS], "the second call was never sent");
    script.answer_with(KEYS, &Answer::Lost).unwrap_err();
    assert!(script.wake_at().unwrap() > script.now);
    try_again(&mut script);
}

#[test]
fn an_unknown_key_goes_through_both_calls_again() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    for _ in 0..3 {
        let request = script.chat_signed_by("k2").to("GET", "/plain");
        assert!(script.ask(request).is_none());
    }
    assert_eq!(paths(&mut script), [DOCUMENT]);
    script.discover(KEYS, &document());
    assert!(script.released().is_empty());
    assert_eq!(paths(&mut script), ["/discovered?v=2"]);
    script.answer(KEYS, &jwks(&["k1", "k2"]));
    let released = script.released();
    assert!(released.len() == 3 && released.iter().all(|(_, decided)| is_admitted(decided)));
}
