//! Who may use how much, and what a caller is told who may not.

use std::time::Duration;

use keyless_core::fetch::InMemorySharedData;
use keyless_core::gate::{CheckResult, Decided, Decision};
use keyless_core::http::Reply;
use keyless_core::limit::Allowance;
use keyless_core::price::Cost;
use keyless_core::usage::Usage;
use serde_json::{Value, json};

use crate::scripted::{IDENTITY, Script, is_admitted, jwks, reason};

/// Has a thread fetch what it needs, for a caller that no test is about.
fn warmed(mut script: Script) -> Script {
    if script.ask(script.chat_with(json!({"sub": "warm"}))).is_none() {
        for _ in 0..2 {
            script.answer_all();
            _ = script.released();
        }
    }
    script
}

/// A thread with these limits, keys and an identity token.
fn thread(shared: &InMemorySharedData, limits: Value) -> Script {
    warmed(Script::on(shared, json!({ "limits": limits })))
}

fn warm(limits: Value) -> Script {
    thread(&InMemorySharedData::default(), limits)
}

fn reply(decided: &Decided) -> &Reply {
    let Decision::Deny(reply) = &decided.decision else { panic!("{decided:?}") };
    reply
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

/// What an admitted caller is told is left.
fn told(decided: &Decided) -> Vec<(&'static str, String)> {
    let Decision::Forward(forward) = &decided.decision else { panic!("{decided:?}") };
    forward.allowances.iter().flat_map(Allowance::headers).collect()
}

/// Has the answer of a request count.
fn end(script: &Script, decided: &Decided, usage: &Usage, cost: Option<Cost>) {
    let Decision::Forward(forward) = &decided.decision else { panic!("{decided:?}") };
    let account = forward.account.as_ref().expect("a counted route");
    assert_eq!(script.gate.charge(&account.charges, usage, cost, script.now), 0);
}

fn results(decided: &Decided) -> Vec<(String, CheckResult)> {
    decided.record.checks.iter().map(|check| (check.limit.to_string(), check.result)).collect()
}

#[test]
fn the_request_after_the_last_is_refused_and_told_when_to_come_again() {
    let minute = json!([{ "name": "user-minute", "per": ["issuer", "subject"], "requests": 3, "window": "1m" }]);
    let mut script = warm(minute);
    // The script begins 20 s after a full minute.
    for left in ["2", "1", "0"] {
        let decided = script.ask(script.chat()).unwrap();
        assert!(is_admitted(&decided));
        let expected = [
            ("x-ratelimit-limit-requests", "3"),
            ("x-ratelimit-remaining-requests", left),
            ("x-ratelimit-reset-requests", "40s"),
        ];
        assert_eq!(told(&decided), expected.map(|(name, value)| (name, value.to_owned())));
    }
    let decided = script.ask(script.chat()).unwrap();
    assert_eq!((reason(&decided), reply(&decided).status), ("requests_exhausted", 429));
    let reply = reply(&decided);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let message = "The limit user-minute, 3 requests in 1m, is used up. It begins again in 40 s.";
    assert_eq!(
        body["error"],
        json!({"code": "requests_exhausted", "message": message, "param": null, "type": "requests"})
    );
    assert_eq!(header(reply, "retry-after"), Some("40"));
    assert_eq!(header(reply, "x-ratelimit-limit-requests"), Some("3"));
    assert_eq!(header(reply, "x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(header(reply, "x-ratelimit-reset-requests"), Some("40s"));
    assert_eq!(header(reply, "x-should-retry"), None, "the client may wait for that");
    assert!(is_admitted(&script.ask(script.chat_with(json!({"sub": "bob"}))).unwrap()));
    script.pass(Duration::from_secs(39));
    assert!(!is_admitted(&script.ask(script.chat()).unwrap()));
    script.pass(Duration::from_secs(1));
    assert!(is_admitted(&script.ask(script.chat()).unwrap()), "a new window");
}

#[test]
fn a_client_that_would_wait_for_more_than_a_minute_is_told_not_to() {
    let mut script =
        warm(json!([{ "name": "day", "per": ["subject"], "requests": 1, "window": "1d" }]));
    assert!(is_admitted(&script.ask(script.chat()).unwrap()));
    let decided = script.ask(script.chat()).unwrap();
    assert_eq!(header(reply(&decided), "x-should-retry"), Some("false"));
    assert_eq!(header(reply(&decided), "retry-after"), Some("6400"));
}

#[test]
fn every_limit_is_checked_the_one_that_ends_last_speaks_and_a_refusal_counts_nowhere() {
    let mut script = warm(json!([
        { "name": "all", "requests": 100, "window": "1h" },
        { "name": "minute", "per": ["subject"], "requests": 1, "window": "1m" },
        { "name": "day", "per": ["subject"], "requests": 1, "window": "1d" },
        { "name": "elsewhere", "requests": 1, "window": "1d", "when": { "routes": ["plain"] } }
    ]));
    let first = script.ask(script.chat()).unwrap();
    let within = |names: [&str; 3]| names.map(|name| (name.to_owned(), CheckResult::Within));
    assert_eq!(results(&first), within(["all", "minute", "day"]));
    assert_eq!(
        told(&first)[..2],
        [
            ("x-ratelimit-limit-requests", "1".to_owned()),
            ("x-ratelimit-remaining-requests", "0".to_owned()),
        ]
    );
    for _ in 0..200 {
        let refused = script.ask(script.chat()).unwrap();
        let expected = [
            ("all".to_owned(), CheckResult::Within),
            ("minute".to_owned(), CheckResult::Exhausted),
            ("day".to_owned(), CheckResult::Exhausted),
        ];
        assert_eq!(results(&refused), expected);
        assert!(reply(&refused).body.contains("The limit day"));
    }
    assert!(is_admitted(&script.ask(script.chat_with(json!({"sub": "bob"}))).unwrap()));
}

#[test]
fn a_limit_of_which_four_fifths_are_used_is_near_its_end_also_while_it_only_reports() {
    let mut script = warm(json!([
        { "name": "user", "per": ["subject"], "requests": 10, "window": "1d" },
        { "name": "trial", "requests": 16, "window": "1d", "report_only": true }
    ]));
    let mut said = Vec::new();
    for _ in 0..11 {
        let decided = script.ask(script.chat()).unwrap();
        assert_eq!(is_admitted(&decided), said.len() < 10);
        said.push(
            results(&decided).into_iter().map(|(_, result)| result.name()).collect::<Vec<_>>(),
        );
    }
    assert!(said[..8].iter().all(|both| both == &["within", "within"]), "{said:?}");
    assert_eq!(said[8..], [["near", "within"], ["near", "within"], ["exhausted", "within"]]);
    let bob = json!({ "sub": "bob" });
    let mut trial = Vec::new();
    for _ in 0..6 {
        let decided = script.ask(script.chat_with(bob.clone())).unwrap();
        trial.push(results(&decided)[1].1.name());
    }
    assert_eq!(trial, ["within", "within", "near", "near", "near", "would_exhaust"]);
}

#[test]
fn a_limit_that_only_reports_refuses_nobody_and_goes_on_counting() {
    let mut script = warm(json!([
        { "name": "trial", "requests": 1, "per": ["subject"], "window": "1d", "report_only": true }
    ]));
    let expected = [CheckResult::Within, CheckResult::WouldExhaust, CheckResult::WouldExhaust];
    for result in expected {
        let decided = script.ask(script.chat()).unwrap();
        assert_eq!(results(&decided), [("trial".to_owned(), result)]);
        assert!(told(&decided).is_empty(), "callers are told nothing of a trial");
    }
}

#[test]
fn threads_and_later_configurations_count_together() {
    let shared = InMemorySharedData::default();
    let limits = |most: u32| json!([{ "name": "day", "per": ["subject"], "requests": most, "window": "1d" }]);
    let mut threads: Vec<_> =
        (1..=3).map(|holder| thread(&shared.of_holder(holder), limits(10))).collect();
    let admitted = (0..30).filter(|at| {
        let script = &mut threads[at % 3];
        is_admitted(&script.ask(script.chat()).unwrap())
    });
    assert_eq!(admitted.count(), 10);
    let mut later = thread(&shared.of_holder(9), limits(12));
    let admitted = (0..5).filter(|_| is_admitted(&later.ask(later.chat()).unwrap()));
    assert_eq!(admitted.count(), 2, "the limit was raised by two");
}

#[test]
fn a_request_that_waits_counts_once_and_one_that_is_refused_makes_nobody_fetch() {
    let shared = InMemorySharedData::default();
    let limits = json!([{ "name": "day", "per": ["subject"], "requests": 2, "window": "1d" }]);
    let mut other = thread(&shared.of_holder(2), limits.clone());
    let mut cold = Script::on(&shared, json!({ "limits": limits }));
    assert!(cold.ask(cold.chat()).is_none());
    cold.calls();
    cold.answer(crate::scripted::KEYS, &jwks(&["k1"]));
    assert!(cold.released().is_empty(), "it waits for the identity now");
    assert!(is_admitted(&other.ask(other.chat()).unwrap()));
    cold.answer(IDENTITY, &cold.token_answer("m", 86_400));
    assert!(is_admitted(&cold.released().pop().unwrap().1), "it was not counted before");
    assert!(!is_admitted(&other.ask(other.chat()).unwrap()), "but then");

    let mut late = Script::on(&shared.of_holder(3), json!({ "limits": limits }));
    assert!(late.ask(late.chat()).is_none());
    late.calls();
    late.answer(crate::scripted::KEYS, &jwks(&["k1"]));
    let decided = late.released().pop().expect("it need not wait for the identity").1;
    assert_eq!(reason(&decided), "requests_exhausted");
}

#[test]
fn in_a_dry_run_nobody_is_refused() {
    let limits = json!([{ "name": "day", "per": ["subject"], "requests": 1, "window": "1d" }]);
    let changes = json!({ "limits": limits, "report_only": true });
    let mut script = warmed(Script::on(&InMemorySharedData::default(), changes));
    assert!(is_admitted(&script.ask(script.chat()).unwrap()));
    let decided = script.ask(script.chat()).unwrap();
    assert!(is_admitted(&decided));
    assert_eq!(reason(&decided), "requests_exhausted");
}

/// A thread whose chats are counted, with these limits.
fn counting(limits: Value) -> Script {
    let mut route = crate::scripted::document()["routes"][0].clone();
    route["usage"] = json!("read");
    let prices = json!({ "gpt-4o": { "input": "2", "output": "4" } });
    let changes = json!({ "limits": limits, "routes": [route], "prices": prices });
    warmed(Script::on(&InMemorySharedData::default(), changes))
}

#[test]
fn tokens_count_when_an_answer_is_over_and_what_goes_over_the_limit_is_not_forgiven() {
    let mut script = counting(json!([
        { "name": "hour", "per": ["subject"], "tokens": 100, "window": "1h" }
    ]));
    let usage = Usage { input: 50, output: 49, ..Usage::default() };
    let (first, second) = (script.ask(script.chat()).unwrap(), script.ask(script.chat()).unwrap());
    assert!(is_admitted(&first) && is_admitted(&second), "nothing is known of the first yet");
    end(&script, &first, &usage, None);
    let third = script.ask(script.chat()).unwrap();
    assert_eq!(told(&third)[1], ("x-ratelimit-remaining-tokens", "1".to_owned()));
    end(&script, &second, &usage, None);
    let refused = script.ask(script.chat()).unwrap();
    assert_eq!(reason(&refused), "tokens_exhausted");
    let refusal = reply(&refused);
    assert!(refusal.body.contains("The limit hour, 100 tokens in 1h, is used up"));
    assert!(refusal.body.contains("\"type\":\"tokens\""));
    assert_eq!(header(refusal, "x-ratelimit-limit-tokens"), Some("100"));
    assert!(is_admitted(&script.ask(script.chat_with(json!({"sub": "bob"}))).unwrap()));
}

#[test]
fn what_is_under_way_counts_by_its_reserve_until_its_answer_is_over_or_its_caller_has_left() {
    let mut script = counting(json!([
        { "name": "hour", "per": ["subject"], "tokens": 100, "reserve": 40, "window": "1h" }
    ]));
    let first = script.ask(script.chat()).unwrap();
    assert_eq!(told(&first)[1], ("x-ratelimit-remaining-tokens", "60".to_owned()));
    let second = script.ask(script.chat()).unwrap();
    let third = script.ask(script.chat()).unwrap();
    assert!(is_admitted(&second) && is_admitted(&third), "80 are less than 100");
    let refused = script.ask(script.chat()).unwrap();
    assert_eq!(reason(&refused), "tokens_exhausted");
    let message =
        "What is left of the limit hour, 100 tokens in 1h, is reserved for requests under way.";
    assert!(reply(&refused).body.contains(message), "{}", reply(&refused).body);
    assert_eq!(header(reply(&refused), "retry-after"), Some("1"));
    assert!(is_admitted(&script.ask(script.chat_with(json!({"sub": "bob"}))).unwrap()));
    end(&script, &first, &Usage { input: 5, output: 5, ..Usage::default() }, None);
    drop(first);
    let fourth = script.ask(script.chat()).unwrap();
    assert!(is_admitted(&fourth), "10 and twice 40 are less than 100");
    drop((second, third, fourth));
    let last = script.ask(script.chat()).unwrap();
    assert_eq!(told(&last)[1], ("x-ratelimit-remaining-tokens", "50".to_owned()));
}

#[test]
fn of_a_hundred_requests_at_once_a_reserve_lets_in_as_many_as_there_is_room_for() {
    let mut script = counting(json!([
        { "name": "hour", "per": ["subject"], "tokens": 60_000, "reserve": 1_000, "window": "1h" }
    ]));
    let decided: Vec<_> = (0..100).map(|_| script.ask(script.chat()).unwrap()).collect();
    assert_eq!(decided.iter().filter(|decided| is_admitted(decided)).count(), 60);
}

#[test]
fn a_budget_lets_in_no_more_at_once_than_its_reserve_has_room_for() {
    let mut script = counting(json!([
        { "name": "team", "cost": "0.50", "reserve": "0.10", "window": "30d" }
    ]));
    let mut decided: Vec<_> = (0..6).map(|_| script.ask(script.chat()).unwrap()).collect();
    let refused = decided.pop().unwrap();
    assert!(decided.iter().all(is_admitted));
    assert_eq!(reason(&refused), "budget_exhausted");
    assert!(reply(&refused).body.contains("is reserved for requests under way"));
    let usage = Usage { input: 5, output: 5, ..Usage::default() };
    end(&script, &decided[0], &usage, Some(Cost::from_pico_units(100_000_000_000)));
    decided.remove(0);
    assert_eq!(reason(&script.ask(script.chat()).unwrap()), "budget_exhausted", "0.10 and 0.40");
    decided.pop();
    assert!(is_admitted(&script.ask(script.chat()).unwrap()), "0.10 and 0.30");
}

#[test]
fn exactly_used_up_is_used_up() {
    let mut script = counting(json!([
        { "name": "out", "per": ["subject"], "tokens": 7, "count": "output", "window": "1h" }
    ]));
    for output in [6, 1] {
        let decided = script.ask(script.chat()).unwrap();
        end(&script, &decided, &Usage { input: 1_000, output, ..Usage::default() }, None);
    }
    let refused = script.ask(script.chat()).unwrap();
    assert!(reply(&refused).body.contains("7 output tokens in 1h"));
}

#[test]
fn a_budget_is_used_up_by_what_answers_cost() {
    let mut script = counting(json!([
        { "name": "team", "per_claims": ["department"], "cost": "0.50", "window": "30d" }
    ]));
    let half = Some(Cost::from_pico_units(250_000_000_000));
    for _ in 0..2 {
        let decided = script.ask(script.chat_with(json!({"department": "R&D"}))).unwrap();
        assert!(told(&decided).is_empty(), "callers are told nothing of money");
        end(&script, &decided, &Usage::default(), half);
    }
    let refused = script.ask(script.chat_with(json!({"department": "R&D"}))).unwrap();
    let refusal = reply(&refused);
    assert_eq!((reason(&refused), refusal.status), ("budget_exhausted", 429));
    assert!(refusal.body.contains("The limit team, a cost of 0.50 in 30d, is used up"));
    assert!(refusal.body.contains("\"type\":\"insufficient_quota\""));
    assert_eq!(header(refusal, "x-ratelimit-limit-tokens"), None);
    let none = script.ask(script.chat()).unwrap();
    assert!(is_admitted(&none), "without a department is another counter");
}
