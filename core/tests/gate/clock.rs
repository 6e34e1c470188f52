//! A clock that is set back: nobody waits for ever, and nothing is used beyond its end.

use std::time::Duration;

use keyless_core::gate::Fetch;
use serde_json::json;

use crate::scripted::{IDENTITY, KEYS, Script, header, is_admitted, reason, status};
use crate::{SECOND, warm};

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn a_request_that_waits_is_decided_although_no_answer_comes() {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    script.calls();
    script.pass_to(script.now - HOUR);
    let mut waited = 0;
    let decided = loop {
        if let Some(decided) = script.drive(|_, _| None).pop() {
            break decided;
        }
        script.pass(SECOND);
        waited += 1;
        assert!(waited <= 10, "it hangs");
    };
    assert_eq!((status(&decided), reason(&decided)), (503, "keys_unavailable"));
}

#[test]
fn a_request_that_comes_after_the_clock_was_set_back_is_served() {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    script.calls();
    let late = script.now - HOUR;
    script.pass_to(late);
    let request = script.chat();
    script.drive(|script, fetch| Some(script.good_answer(fetch)));
    assert!(script.ask(request).is_none(), "the lost calls are tried again in two seconds");
    let mut released = Vec::new();
    for _ in 0..3 {
        script.pass(SECOND);
        released.extend(script.drive(|script, fetch| Some(script.good_answer(fetch))));
    }
    assert_eq!(released.len(), 1);
    assert!(is_admitted(&released[0]));
}

#[test]
fn a_small_step_back_disturbs_nobody() {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    script.calls();
    script.pass_to(script.now - Duration::from_secs(9));
    assert!(script.drive(|_, _| None).is_empty());
    for fetch in [KEYS, IDENTITY] {
        script.answer_with(fetch, &script.good_answer(fetch)).unwrap();
    }
    assert!(is_admitted(&script.released().pop().unwrap().1));
}

#[test]
fn a_warm_gate_refreshes_everything_and_serves_meanwhile() {
    let mut script = warm();
    script.pass(HOUR / 2);
    script.pass_to(script.now - HOUR);
    let calls: Vec<_> = script.calls().into_iter().map(|(fetch, _)| fetch).collect();
    assert_eq!(calls, [KEYS, IDENTITY]);
    assert!(is_admitted(&script.ask(script.chat()).unwrap()));
    script.fail(KEYS);
    script.fail(IDENTITY);
    assert!(is_admitted(&script.ask(script.chat()).unwrap()));
}

#[test]
fn an_unknown_key_after_the_clock_was_set_back_keeps_nobody_waiting() {
    let mut script = warm();
    script.pass(HOUR / 2);
    assert!(script.ask(script.chat_signed_by("k2")).is_none());
    script.pass_to(script.now - HOUR);
    let mut decided = Vec::new();
    for _ in 0..=10 {
        decided.extend(script.drive(|script, fetch| Some(script.good_answer(fetch))));
        if !decided.is_empty() {
            break;
        }
        script.pass(SECOND);
    }
    assert_eq!(reason(&decided[0]), "key_unknown");
}

#[test]
fn nothing_expired_is_sent_although_the_clock_goes_back_and_forth() {
    let mut script = warm();
    let expires = script.now + Duration::from_hours(24);
    let own_end = script.now + 2 * HOUR;
    let other = script.chat();
    let own = script.chat_with(json!({"exp": script.unix() + 7200}));
    for minutes in 0..60 * 26 {
        let is_back = minutes % 90 == 45;
        if is_back {
            script.pass_to(script.now - HOUR);
        }
        script.pass(Duration::from_mins(if minutes % 90 == 80 { 61 } else { 1 }));
        script.drive(|script, fetch| match fetch {
            Fetch::Keys(_) => Some(script.good_answer(fetch)),
            Fetch::Identity(_) => None,
        });
        for request in [other.clone(), own.clone()] {
            let Some(decided) = script.ask(request) else {
                script.gate.forget(script.last_stream);
                continue;
            };
            if is_admitted(&decided) {
                assert_eq!(header(&decided, "authorization"), Some("Bearer managed"));
                assert!(script.now < expires - Duration::from_secs(59));
            }
        }
        let decided = script.ask(own.clone().to("GET", "/plain")).unwrap();
        let leeway = Duration::from_mins(1);
        assert_eq!(is_admitted(&decided), script.now < own_end + leeway, "minute {minutes}");
    }
    assert!(script.now > expires);
}
