//! Key sets that come late, change or stay away.

use std::time::Duration;

use keyless_core::gate::{Decision, Fetch};
use keyless_core::http::Answer;
use keyless_core::jwt::IssuerIndex;
use serde_json::json;

use crate::scripted::{
    IDENTITY, ISSUER, KEYS, Request, Script, is_admitted, issuer, jwk, jwks, key_set, reason, sign,
    status,
};
use crate::{SECOND, warm};

/// How many fetches unknown keys may cause at once.
const AT_ONCE: usize = 3;

#[test]
fn an_unknown_key_is_fetched_once_and_the_new_token_passes() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    for _ in 0..5 {
        assert!(script.ask(script.chat_signed_by("k2")).is_none(), "it may be a new key");
    }
    let calls = script.calls();
    assert_eq!(calls.len(), 1);
    script.answer(KEYS, &jwks(&["k2"]));
    let released = script.released();
    assert_eq!(released.len(), 5);
    assert!(released.iter().all(|(_, decided)| matches!(decided.decision, Decision::Forward(_))));
    let old = script.ask(script.chat()).unwrap();
    assert_eq!(reason(&old), "key_unknown", "a key that left the set is accepted no longer");
}

#[test]
fn a_new_key_that_no_token_names_is_fetched_once_and_the_new_token_passes() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    let unnamed = Request::chat(&sign(None, "k2", &script.claims(json!({}))));
    for _ in 0..5 {
        assert!(script.ask(unnamed.clone()).is_none(), "it may be signed by a new key");
    }
    assert_eq!(script.calls().len(), 1);
    script.answer(KEYS, &jwks(&["k1", "k2"]));
    let released = script.released();
    assert_eq!(released.len(), 5);
    assert!(released.iter().all(|(_, decided)| matches!(decided.decision, Decision::Forward(_))));
}

#[test]
fn forged_tokens_without_a_key_name_cause_three_fetches_at_once_and_no_more() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    let forged = Request::chat(&sign(None, "k9", &script.claims(json!({}))));
    for _ in 0..AT_ONCE {
        assert!(script.ask(forged.clone()).is_none());
        assert_eq!(script.calls().len(), 1);
        script.answer(KEYS, &jwks(&["k1"]));
        let (_, decided) = script.released().pop().expect("a decision");
        assert_eq!((status(&decided), reason(&decided)), (401, "signature_invalid"));
        script.pass(SECOND);
    }
    let again = script.ask(forged).expect("a decision at once");
    assert_eq!(reason(&again), "signature_invalid");
    assert!(script.calls().is_empty());
}

#[test]
fn forged_key_names_cause_a_few_fetches_at_once_and_then_one_an_interval() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    let mut fetches = 0;
    let forged = script.chat_signed_by("k9");
    for _ in 0..300 {
        script.ask(forged.clone());
        for (fetch, _) in script.calls() {
            assert_eq!(fetch, KEYS);
            script.answer(fetch, &jwks(&["k1"]));
            fetches += 1;
        }
        for (_, decided) in script.released() {
            assert_eq!((status(&decided), reason(&decided)), (401, "key_unknown"));
        }
        script.pass(SECOND);
    }
    assert!((1..=300 / 30 + AT_ONCE).contains(&fetches), "{fetches} fetches in 300 s");
}

#[test]
fn a_new_key_under_an_old_name_is_fetched_once_and_the_new_token_passes() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    let reused = Request::chat(&sign(Some("k1"), "k2", &script.claims(json!({}))));
    for _ in 0..5 {
        assert!(script.ask(reused.clone()).is_none(), "the issuer may have used the name again");
    }
    assert_eq!(script.calls().len(), 1);
    let honest = script.ask(script.chat()).expect("a decision at once");
    assert!(is_admitted(&honest), "a good signature waits for nothing");
    script.answer(KEYS, &key_set(vec![jwk("k1", "k2")]));
    let released = script.released();
    assert_eq!(released.len(), 5);
    assert!(released.iter().all(|(_, decided)| is_admitted(decided)));
    let old = script.ask(script.chat()).expect("keys as new as this settle it");
    assert_eq!(reason(&old), "signature_invalid", "the old key is gone");
}

#[test]
fn forged_signatures_under_a_known_name_cause_a_few_fetches_at_once_and_then_one_an_interval() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    let mut fetches = 0;
    let forged = Request::chat(&sign(Some("k1"), "k9", &script.claims(json!({}))));
    for _ in 0..300 {
        for _ in 0..3 {
            script.ask(forged.clone());
        }
        for (fetch, _) in script.calls() {
            assert_eq!(fetch, KEYS);
            let honest = script.ask(script.chat()).expect("a decision at once");
            assert!(is_admitted(&honest), "also while a fetch is in flight");
            script.answer(fetch, &jwks(&["k1"]));
            fetches += 1;
        }
        for (_, decided) in script.released() {
            assert_eq!((status(&decided), reason(&decided)), (401, "signature_invalid"));
        }
        script.pass(SECOND);
    }
    assert!((1..=300 / 30 + AT_ONCE).contains(&fetches), "{fetches} fetches in 300 s");
}

#[test]
fn forged_signatures_while_the_issuer_is_down_leave_room_for_those_who_wait_for_us() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    let forged = Request::chat(&sign(Some("k1"), "k9", &script.claims(json!({}))));
    assert!(script.ask(forged.clone()).is_none());
    script.fail_all();
    script.released();
    let waiting = (0..1100).filter(|_| script.ask(forged.clone()).is_none()).count();
    assert_eq!(1 + waiting, 512, "half of the room");
    let known = script.ask(script.chat()).expect("a decision at once");
    assert!(is_admitted(&known), "the last good keys serve on");
}

#[test]
fn an_issuer_that_rotates_three_times_in_a_row_is_followed() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    for (at, kid) in ["k2", "k3", "k4"].into_iter().enumerate() {
        assert!(script.ask(script.chat_signed_by(kid)).is_none(), "rotation {at}");
        for (fetch, _) in script.calls() {
            script.answer(fetch, &jwks(&[kid]));
        }
        let (_, decided) = script.released().pop().expect("a decision");
        assert!(is_admitted(&decided), "rotation {at}: {decided:?}");
        script.pass(2 * SECOND);
    }
}

#[test]
fn an_unknown_key_while_the_issuer_is_down_is_our_fault() {
    let mut script = warm();
    script.pass(Duration::from_mins(1));
    assert!(script.ask(script.chat_signed_by("k2")).is_none());
    for _ in 0..5 {
        script.fail_all();
        script.pass(SECOND);
    }
    let (_, decided) = script.released().pop().expect("a decision");
    assert_eq!((status(&decided), reason(&decided)), (503, "keys_unavailable"));
    let known = script.ask(script.chat()).unwrap();
    assert!(matches!(known.decision, Decision::Forward(_)), "the last good keys serve on");
}

#[test]
fn the_last_good_keys_serve_until_their_greatest_age() {
    let mut script = warm();
    let start = script.now;
    let request = script.chat();
    while script.now < start + Duration::from_hours(23) {
        for (fetch, _) in script.calls() {
            match fetch {
                Fetch::Keys(_) => _ = script.answer_with(fetch, &Answer::Broken),
                Fetch::Identity(_) => script.answer(fetch, &script.token_answer("m", 86_400)),
            }
        }
        script.pass(Duration::from_mins(5));
        let decided = script.ask(request.clone()).unwrap();
        assert!(matches!(decided.decision, Decision::Forward(_)));
    }
    script.pass(Duration::from_hours(2));
    let refused = script.ask(script.chat());
    let refused = refused.or_else(|| {
        script.fail_all();
        script.released().pop().map(|(_, decided)| decided)
    });
    assert!(refused.is_none_or(|decided| reason(&decided) == "keys_unavailable"));
}

#[test]
fn unavailable_keys_are_our_fault_and_bounded_in_time() {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    let mut waited = Duration::ZERO;
    let decided = loop {
        script.fail_all();
        if let Some((_, decided)) = script.released().pop() {
            break decided;
        }
        script.pass(SECOND);
        waited += SECOND;
    };
    assert!(waited <= Duration::from_secs(10), "{waited:?}");
    assert_eq!((status(&decided), reason(&decided)), (503, "keys_unavailable"));
    let Decision::Deny(reply) = &decided.decision else { panic!("admitted") };
    assert!(reply.headers.iter().any(|(name, _)| *name == "retry-after"));
}

#[test]
fn issuers_are_independent_and_a_key_is_good_for_its_own_issuer_alone() {
    let mut script = Script::with_partner();
    script.ask(script.chat());
    let calls = script.calls();
    assert_eq!(calls.len(), 3, "two key sets and one identity");
    script.answer(KEYS, &jwks(&["k1"]));
    script.answer(Fetch::Keys(IssuerIndex(1)), &jwks(&["k2"]));
    script.answer(IDENTITY, &script.token_answer("m1", 86_400));
    assert_eq!(script.released().len(), 1);
    let partner = json!({"iss": "https://partner.example/"});
    let good = script.ask(script.chat_by("k2", partner.clone())).unwrap();
    assert!(matches!(good.decision, Decision::Forward(_)));
    let crossed = script.ask(script.chat_by("k1", partner)).unwrap();
    assert_eq!(reason(&crossed), "key_unknown");
    let crossed = script.ask(script.chat_by("k2", json!({"iss": ISSUER})));
    assert!(crossed.is_none_or(|decided| reason(&decided) == "key_unknown"));
}

#[test]
fn keys_that_were_asked_for_before_a_request_came_do_not_settle_it() {
    let mut entry = issuer(ISSUER, "idp");
    entry["jwks"]["unknown_kid_interval"] = json!("1s");
    let mut script = Script::of(json!({ "issuers": [entry] }));
    assert!(script.ask(script.chat()).is_none());
    script.answer_all();
    assert_eq!(script.released().len(), 1);
    script.pass(Duration::from_hours(1));
    assert_eq!(script.calls().len(), 1, "the hourly refresh");
    script.pass(SECOND);
    assert!(script.ask(script.chat_signed_by("k2")).is_none());
    script.answer(KEYS, &jwks(&["k1"]));
    assert!(script.released().is_empty(), "the issuer may have published it since");
    script.pass(SECOND);
    assert_eq!(script.calls().len(), 1);
    script.answer(KEYS, &jwks(&["k1", "k2"]));
    let (_, decided) = script.released().pop().expect("a decision");
    assert!(is_admitted(&decided));
}
