//! What comes of failures: how often the other side is asked, and what callers are told meanwhile.

use std::time::{Duration, SystemTime};

use keyless_core::gate::{Decided, Decision, Fetch};
use keyless_core::http::Answer;

use crate::scripted::{IDENTITY, KEYS, Script, arrived, header, is_admitted, reason, status};
use crate::{SECOND, warm};

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// When a thing was asked for, in seconds since the start, while its answer was this and all else
/// was answered well. Time passes by what the gate itself wants to wait, and by a second at most.
fn asked(script: &mut Script, fetch: Fetch, answer: &Answer, span: Duration) -> Vec<u64> {
    let start = script.now;
    let mut asked = Vec::new();
    while script.now < start + span {
        for (other, _) in script.calls() {
            if other == fetch {
                asked.push(script.now.duration_since(start).unwrap().as_secs());
                _ = script.answer_with(other, answer);
            } else {
                _ = script.answer_with(other, &script.good_answer(other));
            }
        }
        _ = script.released();
        script.pass(SECOND);
    }
    asked
}

/// Asserts that the waits between calls began with these, in seconds, each up to a tenth shorter by
/// jitter; the script looks once a second.
fn assert_backoff(asked: &[u64], expected: &[u64], context: &dyn std::fmt::Debug) {
    let waits: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let is_near = |(wait, most): (&u64, &u64)| (most * 9 / 10..=*most).contains(wait);
    let is_near = waits.len() >= expected.len() && waits.iter().zip(expected).all(is_near);
    assert!(is_near, "{context:?}: {waits:?}, not {expected:?}");
}

/// Asserts that all waits between calls were this, in seconds, or up to a tenth longer by jitter.
fn assert_waits(asked: &[u64], least: u64, context: &dyn std::fmt::Debug) {
    let waits: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let is_near = |wait: &u64| (least..=least.div_ceil(10) + least).contains(wait);
    assert!(!waits.is_empty() && waits.iter().all(is_near), "{context:?}: {waits:?}, not {least}");
}

/// A script with a request that waits for everything.
fn cold() -> Script {
    let mut script = Script::new();
    assert!(script.ask(script.chat()).is_none());
    script
}

fn told(status: u16, retry_after: Duration) -> Answer {
    Answer::Arrived { status, retry_after: Some(retry_after), body: Vec::new() }
}

/// The seconds of `Retry-After` of a refusal.
fn retry_after(decided: &Decided) -> u64 {
    let Decision::Deny(reply) = &decided.decision else { panic!("admitted") };
    let (_, value) = reply.headers.iter().find(|(name, _)| *name == "retry-after").unwrap();
    value.parse().unwrap()
}

#[test]
fn a_source_in_trouble_is_asked_in_the_documented_steps_and_then_every_half_minute() {
    for status in [404, 429, 500, 502, 503, 504] {
        for fetch in [KEYS, IDENTITY] {
            let asked = asked(&mut cold(), fetch, &arrived(status, b""), 3 * MINUTE);
            assert_backoff(&asked, &[2, 6, 14, 30, 30, 30, 30, 30], &status);
        }
    }
    for answer in [Answer::Broken, Answer::Unsent, Answer::Lost, arrived(200, b"<html>")] {
        let asked = asked(&mut cold(), IDENTITY, &answer, MINUTE);
        assert_backoff(&asked, &[2, 6, 14, 30], &answer);
    }
}

#[test]
fn ten_minutes_of_trouble_in_the_middle_of_a_day_cost_a_dozen_requests_and_nobody_notices() {
    let mut script = warm();
    let request = script.chat();
    script.pass(12 * HOUR);
    let asked = asked(&mut script, IDENTITY, &arrived(500, b""), 10 * MINUTE);
    assert_backoff(&asked, &[2, 6, 14, 30, 60, 60, 60, 60, 60, 60, 60, 60, 60], &"status 500");
    assert!(asked.len() <= 15, "{asked:?}");
    let decided = script.ask(request).unwrap();
    assert_eq!(header(&decided, "authorization"), Some("Bearer managed"));
}

#[test]
fn a_refusal_is_not_asked_for_again_before_a_slow_probe() {
    for status in [400, 401, 403] {
        for fetch in [KEYS, IDENTITY] {
            let asked = asked(&mut cold(), fetch, &arrived(status, b""), 5 * MINUTE);
            assert_waits(&asked, 60, &status);
        }
        let mut script = warm();
        script.pass(12 * HOUR);
        let asked = asked(&mut script, IDENTITY, &arrived(status, b""), 10 * MINUTE);
        assert_waits(&asked, 120, &(status, "while a token is held"));
    }
}

#[test]
fn an_endpoint_that_is_being_updated_is_asked_every_70_seconds() {
    let asked = asked(&mut cold(), IDENTITY, &arrived(410, b""), 5 * MINUTE);
    assert_waits(&asked, 70, &410);
}

#[test]
fn a_wait_that_is_asked_for_is_kept_and_callers_are_told_of_it() {
    let mut script = cold();
    let answer = told(429, Duration::from_secs(25));
    assert_eq!(asked(&mut script, IDENTITY, &answer, 20 * SECOND), [0]);
    let decided = script.ask(script.chat()).expect("nobody waits for that");
    assert_eq!((status(&decided), reason(&decided)), (503, "identity_unavailable"));
    script.pass(Duration::from_millis(4999));
    assert!(script.calls().is_empty(), "not sooner");
    script.pass(Duration::from_millis(2501));
    assert_eq!(script.calls().len(), 1, "and a tenth of it later at most");
    script.answer(IDENTITY, &script.token_answer("m", 86_400));
    assert!(is_admitted(&script.ask(script.chat()).unwrap()));
}

#[test]
fn callers_are_told_the_real_time_to_the_next_try() {
    let rows = [
        (arrived(410, b""), 70_u64),
        (arrived(400, b""), 60),
        (told(429, Duration::from_secs(25)), 25),
        (told(503, Duration::from_millis(90_500)), 91),
        (told(429, Duration::from_secs(u64::MAX)), 3600),
    ];
    for (answer, seconds) in rows {
        let mut script = cold();
        script.calls();
        _ = script.answer_with(KEYS, &script.good_answer(KEYS));
        script.answer_with(IDENTITY, &answer).unwrap_err();
        let (_, waited) = script.released().pop().expect("no use in waiting");
        let wait = retry_after(&waited);
        assert!((seconds..=seconds + seconds.div_ceil(10)).contains(&wait), "{answer:?}: {wait}");
        let later = script.ask(script.chat()).unwrap();
        assert_eq!(retry_after(&later), wait, "{answer:?}");
        script.pass(10 * SECOND);
        assert_eq!(retry_after(&script.ask(script.chat()).unwrap()), wait - 10, "{answer:?}");
        script.pass(Duration::from_secs(wait - 10));
        let calls = script.calls();
        assert!(calls.iter().any(|(fetch, _)| *fetch == IDENTITY), "{answer:?}: as it was told");
    }
}

#[test]
fn a_crowd_that_comes_at_the_end_of_a_pause_waits_for_the_next_try_and_is_served_whole() {
    let mut script = cold();
    script.calls();
    _ = script.answer_with(KEYS, &script.good_answer(KEYS));
    script.answer_with(IDENTITY, &told(429, 10 * SECOND)).unwrap_err();
    assert!(retry_after(&script.released().pop().expect("no use in waiting").1) >= 10);
    let request = script.chat();
    let next_try = script.wake_at().unwrap();
    script.pass_to(next_try - Duration::from_millis(2001));
    let early = script.ask(request.clone()).expect("the next try is more than two seconds away");
    assert_eq!((status(&early), retry_after(&early)), (503, 3));

    script.pass(Duration::from_millis(1));
    for _ in 0..1000 {
        assert!(script.ask(request.clone()).is_none(), "it may as well wait");
    }
    assert!(script.calls().is_empty(), "nobody's coming cuts the pause short");
    script.pass(2 * SECOND);
    assert_eq!(script.calls().len(), 1, "one fetch for all");
    _ = script.answer_with(IDENTITY, &script.good_answer(IDENTITY));
    let rounds = (0..1000_usize.div_ceil(32)).map(|_| script.released());
    let decided: Vec<_> = rounds.flatten().map(|(_, decided)| decided).collect();
    assert_eq!(decided.len(), 1000);
    assert!(decided.iter().all(is_admitted));
}

#[test]
fn an_absurd_wait_does_not_switch_the_gateway_off() {
    let mut script = cold();
    let asked = asked(&mut script, IDENTITY, &told(503, Duration::from_secs(u64::MAX)), 2 * HOUR);
    assert_waits(&asked, 3600, &"the longest that is kept");
}

#[test]
fn service_is_back_within_half_a_minute_of_the_repair() {
    let failures = [
        Answer::Unsent,
        Answer::Broken,
        Answer::Lost,
        arrived(503, b"no healthy upstream"),
        arrived(504, b"upstream request timeout"),
        arrived(404, b""),
    ];
    for answer in failures {
        for fetch in [KEYS, IDENTITY] {
            let mut script = cold();
            asked(&mut script, fetch, &answer, 10 * MINUTE);
            let mended = script.now;
            script.ask(script.chat());
            while !script.ask(script.chat()).is_some_and(|decided| is_admitted(&decided)) {
                script.answer_all();
                _ = script.released();
                script.pass(SECOND);
                assert!(script.now <= mended + 31 * SECOND, "{answer:?}");
            }
        }
    }
}

#[test]
fn a_token_that_is_about_to_end_is_asked_for_as_if_there_were_none() {
    let mut script = warm();
    let end = script.now + Duration::from_mins(24 * 60 - 1);
    script.pass_to(end - 10 * MINUTE);
    let asked = asked(&mut script, IDENTITY, &Answer::Unsent, 15 * MINUTE);
    let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_backoff(&asked, &[2, 6, 14, 30, 60], &"while a value is cached");
    let late: Vec<_> = pauses.iter().rev().take_while(|pause| **pause <= 30).collect();
    assert!((12..18).contains(&late.len()), "{pauses:?}");
}

#[test]
fn a_clock_that_jumps_ends_a_pause_once_and_no_storm_follows() {
    for jump in [-24_i32, -1, 1, 24] {
        let mut script = cold();
        asked(&mut script, IDENTITY, &arrived(500, b""), 5 * MINUTE);
        script.pass_to(jumped(script.now, jump));
        let after = asked(&mut script, IDENTITY, &arrived(500, b""), 2 * MINUTE);
        assert_backoff(&after, &[30, 30, 30], &jump);
        script.pass_to(jumped(script.now, -jump));
        let after = asked(&mut script, IDENTITY, &arrived(410, b""), 2 * MINUTE);
        assert_waits(&after, 70, &(jump, "and back"));
    }
}

#[test]
fn a_clock_that_jumps_forward_past_the_end_sends_no_token_and_fetches_one() {
    let mut script = warm();
    script.pass_to(jumped(script.now, 25));
    assert!(script.ask(script.chat()).is_none(), "the old one has expired");
    script.answer_all();
    assert!(is_admitted(&script.released().pop().unwrap().1));
}

fn jumped(now: SystemTime, hours: i32) -> SystemTime {
    let jump = HOUR * hours.unsigned_abs();
    if hours < 0 { now - jump } else { now + jump }
}

#[test]
fn a_change_of_the_failure_is_news_and_its_repetition_is_not() {
    let mut script = cold();
    script.calls();
    let mut is_news =
        |answer: &Answer| script.gate.answered(IDENTITY, answer, script.now).unwrap().is_news;
    let refused = |error: &str| arrived(401, format!("{{\"error\":\"{error}\"}}").as_bytes());
    let rows = [
        (arrived(500, b""), true),
        (arrived(500, b"another body"), false),
        (told(500, SECOND), false),
        (arrived(503, b""), true),
        (arrived(200, b"<html>"), true),
        (arrived(200, b"<html><p>"), false),
        (arrived(200, b"{}"), true),
        (refused("invalid_client"), true),
        (refused("invalid_client"), false),
        (refused("unauthorized_client"), true),
        (Answer::Unsent, true),
        (Answer::Unsent, false),
    ];
    for (answer, expected) in rows {
        assert_eq!(is_news(&answer), expected, "{answer:?}");
    }
}
