//! Keys in the configuration: nothing is fetched, and nothing is waited for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scripted::{IDENTITY, ISSUER, Script, is_admitted, jwk, reason, status};

fn script() -> Script {
    let inline: Value = json!({"inline": {"keys": [jwk("k1", "k1")]}});
    let issuer = json!({"issuer": ISSUER, "audiences": ["openai-gateway"], "jwks": inline});
    Script::of(json!({"issuers": [issuer]}))
}

#[test]
fn no_call_is_ever_made_for_inline_keys() {
    let mut script = script();
    assert!(is_admitted(&script.ask(script.chat().to("GET", "/plain")).unwrap()), "at once");
    assert!(script.ask(script.chat()).is_none(), "it waits for the identity token");
    for _ in 0..100 {
        for (fetch, _) in script.calls() {
            assert_eq!(fetch, IDENTITY);
            script.answer(fetch, &script.token_answer("managed", 86_400));
        }
        assert!(script.gate.lost(script.now).is_empty());
        assert!(is_admitted(&script.ask(script.chat()).unwrap()));
        script.pass(Duration::from_hours(24 * 30));
        script.ask(script.chat_signed_by("k9"));
    }
}

#[test]
fn a_key_that_is_not_inline_is_unknown_at_once() {
    let mut script = script();
    for _ in 0..3 {
        let decided = script.ask(script.chat_signed_by("k2")).unwrap();
        assert_eq!((status(&decided), reason(&decided)), (401, "key_unknown"));
        script.pass(Duration::from_hours(1));
    }
    assert!(script.calls().iter().all(|(fetch, _)| *fetch == IDENTITY));
}

#[test]
fn an_answer_that_nobody_asked_for_changes_no_inline_keys() {
    let mut script = script();
    let answer = crate::scripted::arrived(200, &crate::scripted::jwks(&["k2"]));
    assert_eq!(script.gate.answered(crate::scripted::KEYS, &answer, script.now), None);
    let decided = script.ask(script.chat_signed_by("k2")).unwrap();
    assert_eq!(reason(&decided), "key_unknown");
}
