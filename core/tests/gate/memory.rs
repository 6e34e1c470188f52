//! What the gate remembers of tokens that were verified, and for how long.

use std::time::Duration;

use keyless_core::gate::Fetch;
use keyless_core::http::Answer;
use serde_json::{Value, json};

use crate::scripted::{
    KEYS, Request, Script, is_admitted, jwk, jwks, key_set, reason, sign, status,
};
use crate::warm;

/// Asks and tells whether the request was admitted, and what it cost in verifications.
fn ask(script: &mut Script, request: &Request) -> (bool, usize) {
    let before = script.verifications();
    let decided = script.ask(request.clone()).expect("a decision");
    (is_admitted(&decided), script.verifications() - before)
}

/// Has the keys that are due after an hour arrive.
fn renew(script: &mut Script, keys: &[u8]) {
    script.pass(Duration::from_hours(1));
    let calls: Vec<_> = script.calls().into_iter().map(|(fetch, _)| fetch).collect();
    assert_eq!(calls, [KEYS]);
    script.answer(KEYS, keys);
}

#[test]
fn a_token_is_verified_once() {
    let mut script = warm();
    let request = script.chat_with(json!({"sub": "bob", "azp": "app"}));
    let first = script.ask(request.clone()).unwrap();
    assert_eq!(script.verifications(), 2, "the one that warmed it, and this");
    for _ in 0..10 {
        let again = script.ask(request.clone()).unwrap();
        assert!(is_admitted(&again) && again.record == first.record);
        script.pass(Duration::from_mins(1));
    }
    assert_eq!(script.verifications(), 2);
    assert_eq!(first.record.subject(), Some("bob"));
    assert_eq!(first.record.client(), Some("app"));
}

#[test]
fn a_request_that_waits_for_the_identity_is_verified_once() {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    script.calls();
    script.answer(KEYS, &jwks(&["k1"]));
    assert!(script.released().is_empty());
    assert_eq!(script.verifications(), 1);
    script.answer(crate::scripted::IDENTITY, &script.token_answer("m", 86_400));
    assert!(is_admitted(&script.released().pop().unwrap().1));
    assert_eq!(script.verifications(), 1);
}

#[test]
fn a_remembered_token_is_good_until_its_end_and_the_leeway() {
    let mut script = warm();
    let request = script.chat_with(json!({"exp": script.unix() + 100}));
    assert_eq!(ask(&mut script, &request), (true, 1));
    script.pass(Duration::from_secs(159));
    assert_eq!(ask(&mut script, &request), (true, 0));
    script.pass(Duration::from_secs(1));
    for _ in 0..2 {
        let decided = script.ask(request.clone()).unwrap();
        assert_eq!((status(&decided), reason(&decided)), (401, "token_expired"));
    }
}

#[test]
fn a_remembered_token_is_not_good_before_its_beginning() {
    let mut script = warm();
    let request = script.chat_with(json!({"nbf": script.unix(), "iat": script.unix()}));
    assert_eq!(ask(&mut script, &request), (true, 1));
    script.pass_to(script.now - Duration::from_secs(61));
    let decided = script.ask(request.clone()).unwrap();
    assert_eq!(reason(&decided), "token_not_yet_valid", "the clock was set back");
}

#[test]
fn a_remembered_token_dies_with_its_key() {
    let mut script = warm();
    let request = script.chat();
    assert_eq!(ask(&mut script, &request), (true, 0));
    renew(&mut script, &jwks(&["k2", "k1"]));
    assert_eq!(ask(&mut script, &request), (true, 0), "the key is still in the set");
    renew(&mut script, &jwks(&["k1"]));
    assert_eq!(ask(&mut script, &request), (true, 0));
    renew(&mut script, &jwks(&["k2"]));
    for _ in 0..2 {
        let decided = script.ask(request.clone()).unwrap();
        assert_eq!((status(&decided), reason(&decided)), (401, "key_unknown"));
    }
    renew(&mut script, &jwks(&["k1"]));
    assert_eq!(ask(&mut script, &request), (true, 1), "what died is verified like any other");
}

#[test]
fn a_remembered_token_dies_when_its_name_means_another_key() {
    let mut script = warm();
    let request = script.chat();
    renew(&mut script, &key_set(vec![jwk("k1", "k2"), jwk("k2", "k2")]));
    let decided = script.ask(request).unwrap();
    assert_eq!((status(&decided), reason(&decided)), (401, "signature_invalid"));
}

#[test]
fn a_remembered_token_dies_when_its_key_has_another_name_or_algorithm() {
    let pinned = |algorithm: &str| {
        let mut key = jwk("k1", "k1");
        key["alg"] = json!(algorithm);
        key
    };
    for (key, code) in [
        (jwk("k9", "k1"), "key_unknown"),
        (pinned("RS512"), "algorithm_forbidden"),
        (pinned("PS256"), "algorithm_forbidden"),
    ] {
        let mut script = warm();
        let request = script.chat();
        assert_eq!(ask(&mut script, &request), (true, 0));
        renew(&mut script, &key_set(vec![key]));
        assert_eq!(reason(&script.ask(request).unwrap()), code, "as for a token never seen");
    }
    let mut script = warm();
    let request = script.chat();
    renew(&mut script, &key_set(vec![pinned("RS256")]));
    assert_eq!(ask(&mut script, &request), (true, 0));
}

#[test]
fn when_all_keys_are_too_old_a_remembered_token_waits_for_new_ones() {
    let mut script = warm();
    let request = script.chat();
    for minutes in 1..=60 * 24 {
        script.pass(Duration::from_mins(1));
        script.drive(|script, fetch| {
            let is_keys = matches!(fetch, Fetch::Keys(_));
            Some(if is_keys { Answer::Broken } else { script.good_answer(fetch) })
        });
        if minutes < 60 * 24 {
            assert_eq!(ask(&mut script, &request), (true, 0), "after {minutes} minutes");
        }
    }
    let refused = script.ask(request.clone()).unwrap_or_else(|| {
        script.pass(Duration::from_secs(10));
        script.released().pop().expect("a decision").1
    });
    assert_eq!((status(&refused), reason(&refused)), (503, "keys_unavailable"));
    script.pass(Duration::from_mins(1));
    script.answer_all();
    assert_eq!(ask(&mut script, &request), (true, 1));
}

#[test]
fn what_a_bearer_may_do_is_checked_each_time() {
    let mut script = warm();
    let request = script.chat();
    assert_eq!(ask(&mut script, &request.clone().to("GET", "/plain")), (true, 0));
    let decided = script.ask(request.clone().to("GET", "/admin")).unwrap();
    assert_eq!((status(&decided), reason(&decided)), (403, "scope_missing"));
    let decided = script.ask(request.clone().to("GET", "/nowhere")).unwrap();
    assert_eq!(reason(&decided), "route_unknown");
    assert_eq!(ask(&mut script, &request), (true, 0));
    assert_eq!(script.verifications(), 1);
}

#[test]
fn a_token_that_may_do_nothing_is_verified_once_all_the_same() {
    let mut script = warm();
    let request = script.chat_with(json!({"scp": "nothing"}));
    assert_eq!(ask(&mut script, &request), (false, 1));
    assert_eq!(ask(&mut script, &request), (false, 0));
    assert_eq!(ask(&mut script, &request.to("GET", "/plain")), (true, 0));
}

#[test]
fn a_token_that_differs_in_one_character_is_another() {
    let mut script = warm();
    let token = script.chat().token();
    for at in [0, 40, token.len() / 2, token.len() - 200, token.len() - 2] {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = Request::chat(std::str::from_utf8(&forged).unwrap());
        for _ in 0..2 {
            let decided = script.ask(forged.clone()).unwrap();
            assert!(!is_admitted(&decided), "changed at {at}");
        }
    }
    let headers = token.split_once('.').unwrap().1;
    let cut = Request::chat(&format!("e30.{headers}"));
    assert!(!is_admitted(&script.ask(cut).unwrap()), "the same end");
}

fn bounded(token_cache: Value) -> Script {
    let mut script = Script::of(json!({ "token_cache": token_cache }));
    assert!(script.ask(script.chat_with(json!({"sub": "the first"}))).is_none());
    script.answer_all();
    assert_eq!(script.released().len(), 1);
    script
}

#[test]
fn the_longest_unused_token_is_verified_again() {
    let mut script = bounded(json!({"max_entries": 2}));
    let [a, b, c] = ["a", "b", "c"].map(|sub| script.chat_with(json!({ "sub": sub })));
    assert_eq!((ask(&mut script, &a), ask(&mut script, &b)), ((true, 1), (true, 1)));
    assert_eq!(ask(&mut script, &a), (true, 0));
    assert_eq!(ask(&mut script, &c), (true, 1));
    assert_eq!((ask(&mut script, &a), ask(&mut script, &c)), ((true, 0), (true, 0)));
    assert_eq!(ask(&mut script, &b), (true, 1), "the third had to go");
}

#[test]
fn a_token_too_large_to_remember_is_verified_each_time() {
    let mut script = bounded(json!({"max_bytes": 1000}));
    let request = script.chat();
    assert_eq!((ask(&mut script, &request), ask(&mut script, &request)), ((true, 1), (true, 1)));
}

#[test]
fn a_flood_of_bad_tokens_pushes_nobody_out() {
    let mut script = bounded(json!({"max_entries": 1}));
    let good = script.chat();
    assert_eq!(ask(&mut script, &good), (true, 1));
    for number in 0..30 {
        let subject = format!("mallory {number}");
        let forged = sign(Some("k1"), "k2", &script.claims(json!({ "sub": subject })));
        let foreign = script.chat_with(json!({"sub": subject, "aud": "other"}));
        let expired = script.chat_with(json!({"sub": subject, "exp": number}));
        for bad in [Request::chat(&forged), foreign, expired] {
            assert!(!is_admitted(&script.ask(bad).unwrap()));
        }
    }
    assert_eq!(ask(&mut script, &good), (true, 0));
}

#[test]
fn a_new_gate_remembers_nothing() {
    let mut before = warm();
    let request = before.chat();
    assert_eq!(ask(&mut before, &request), (true, 0));
    let mut after = Script::new();
    assert!(after.ask(request.clone()).is_none(), "it has no keys yet");
    after.answer_all();
    assert_eq!(after.released().len(), 1);
    assert_eq!(after.verifications(), 1);
}

#[test]
fn a_token_without_a_name_costs_five_verifications_at_most() {
    let mut script = Script::new();
    let names: Vec<String> = (0..20).map(|number| format!("other {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let request = Request::chat(&sign(None, "k1", &script.claims(json!({}))));
    assert!(script.ask(request.clone()).is_none());
    script.calls();
    script.answer(KEYS, &jwks(&names));
    assert_eq!(reason(&script.released().pop().unwrap().1), "signature_invalid");
    assert_eq!(script.verifications(), 5);
    script.answer(crate::scripted::IDENTITY, &script.token_answer("m", 86_400));
    renew(&mut script, &jwks(&["k2", "k3", "k1"]));
    assert_eq!(ask(&mut script, &request), (true, 3));
    assert_eq!(ask(&mut script, &request), (true, 0));
}
