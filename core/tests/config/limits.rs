//! Limits, and what they may name.

use std::time::Duration;

use keyless_core::ledger::Window;
use keyless_core::limit::{Amount, Per, TokenCount};
use keyless_core::policy::RouteIndex;
use keyless_core::price::Cost;
use keyless_core::settle::{Unavailable, service_file};
use serde_json::{Value, json};

use super::{accepted, assert_refused, assert_texts_refused, message};

/// An entry that is right, with some members replaced; null takes one away.
fn entry(changes: &Value) -> Value {
    let mut entry = json!({ "name": "minute", "requests": 60, "window": "1m" });
    let members = entry.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    entry
}

fn amount(changes: &Value) -> Amount {
    accepted("/limits", json!([entry(changes)])).limits[0].amount
}

#[test]
fn a_limit_says_how_much_of_what_in_which_time() {
    assert_eq!(amount(&json!({})), Amount::Requests(60));
    let tokens = |count: Value| amount(&json!({ "requests": null, "tokens": 9, "count": count }));
    assert_eq!(tokens(Value::Null), Amount::Tokens(9, TokenCount::Total));
    assert_eq!(tokens(json!("input")), Amount::Tokens(9, TokenCount::Input));
    assert_eq!(tokens(json!("output")), Amount::Tokens(9, TokenCount::Output));
    let cost = amount(&json!({ "requests": null, "cost": "500.00" }));
    assert_eq!(cost, Amount::Cost(Cost::from_pico_units(500_000_000_000_000)));
    for (name, window) in Window::ALL {
        let limits = accepted("/limits", json!([entry(&json!({ "window": name }))])).limits;
        assert_eq!(limits[0].window, window);
    }
}

#[test]
fn a_limit_says_for_whom_it_is_and_what_it_counts_by() {
    let when = json!({
        "routes": ["chat"], "issuer": "partner", "clients": ["app"], "deployments": ["GPT-4o"],
        "claims": { "department": ["R&D"] }
    });
    let changes = json!({
        "per": ["issuer", "client", "subject", "route", "deployment"],
        "per_claims": ["/realm/team"], "when": when, "report_only": true
    });
    let limits = accepted("/limits", json!([entry(&changes)])).limits;
    let limit = &limits[0];
    let all = [Per::Issuer, Per::Client, Per::Subject, Per::Route, Per::Deployment];
    assert_eq!((&limit.per[..], limit.report_only), (&all[..], true));
    assert_eq!(limit.per_claims[0].to_string(), "/realm/team");
    assert_eq!(limit.routes, [RouteIndex(0)]);
    assert_eq!(limit.when.issuer.map(|entry| entry.0), Some(1));
    assert_eq!(
        (&limit.when.clients[..], &limit.when.deployments[..]),
        (&["app".to_owned()][..], &["gpt-4o".to_owned()][..])
    );
}

#[test]
fn a_limit_is_of_exactly_one_thing() {
    let wrong = |changes: Value, problem: &str| {
        assert_eq!(
            message("/limits", Some(json!([entry(&changes)]))),
            format!("limits[0]{problem}")
        );
    };
    let expected = "expected one of `requests`, `tokens`, `cost`";
    wrong(json!({ "requests": null }), &format!(": {expected}, found none of them"));
    wrong(json!({ "tokens": 1 }), &format!(": {expected}, found several"));
    let problem = ".count: expected no such key on a limit that is not of `tokens`, found one";
    wrong(json!({ "count": "input" }), problem);
    let problem =
        ".reserve: expected no such key on a limit that is not of `tokens` or `cost`, found one";
    wrong(json!({ "reserve": 1 }), problem);
    let problem = ".reserve: expected not more than `tokens`, found 9";
    wrong(json!({ "requests": null, "tokens": 8, "reserve": 9 }), problem);
    let money = |reserve: Value| json!({ "requests": null, "cost": "0.50", "reserve": reserve });
    wrong(money(json!("0.51")), ".reserve: expected not more than `cost`, found 0.510000000000");
    wrong(money(json!(1)), ".reserve: expected a decimal text such as \"0.05\", found 1");
    let problem =
        ".reserve: expected a number of tokens, or a decimal text such as \"0.05\", found";
    wrong(money(json!(true)), &format!("{problem} true"));
    wrong(money(json!([1])), &format!("{problem} a list"));
    let problem = ".reserve: expected a number of tokens, found a text";
    wrong(json!({ "requests": null, "tokens": 8, "reserve": "1" }), problem);
    let problem = ".requests: expected a whole number from 1 to 4294967295, found 0";
    wrong(json!({ "requests": 0 }), problem);
}

#[test]
fn a_limit_names_what_there_is() {
    let wrong = |when: Value, problem: &str| {
        let limits = json!([entry(&json!({ "when": when }))]);
        assert_eq!(message("/limits", Some(limits)), format!("limits[0].when.{problem}"));
    };
    let problem = "routes: expected one of \"chat\", \"models\", \"healthz\", found \"chats\"";
    wrong(json!({ "routes": ["chats"] }), problem);
    wrong(json!({ "routes": [] }), "routes: expected at least one item, found an empty list");
    let entries = "\"login.example.com\", \"partner\", \"entra\", \"accounts.example.com\", \"offline.example.com\"";
    let problem = format!("issuer: expected one of {entries}, found \"nobody\"");
    wrong(json!({ "issuer": "nobody" }), &problem);
    let twice = json!([entry(&json!({})), entry(&json!({ "window": "1h" }))]);
    let problem = "limits[1].name: expected a value of its own, found \"minute\", which limits[0] has already";
    assert_eq!(message("/limits", Some(twice)), problem);
}

#[test]
fn a_budget_and_a_window_are_texts_of_one_form() {
    let expected = "a decimal number above 0 and up to 4294967, such as \"500.00\", with up to 6 digits after the point";
    let pointer = |key: &str| format!("/limits/0/{key}");
    for text in ["0", "0.00", "4294967.000001", "-1", "1e3", "1,50"] {
        let limits = json!([entry(&json!({ "requests": null, "cost": text }))]);
        let problem = format!("limits[0].cost: expected {expected}, found {text:?}");
        assert_eq!(message("/limits", Some(limits)), problem);
    }
    let windows = "one of \"1m\", \"1h\", \"1d\", \"7d\", \"30d\", \"365d\"";
    assert_texts_refused(&pointer("window"), windows, &["", "60s", "1M", "2m"]);
    let keys = "one of \"issuer\", \"client\", \"subject\", \"route\", \"deployment\"";
    assert_refused(&pointer("per"), json!([]), "expected at least one item, found an empty list");
    let limits = json!([entry(&json!({ "per": ["user"] }))]);
    let problem = format!("limits[0].per[0]: expected {keys}, found \"user\"");
    assert_eq!(message("/limits", Some(limits)), problem);
}

#[test]
fn the_ledger_keeps_as_many_counters_as_it_is_told() {
    assert_eq!(accepted("/ledger", json!({})).ledger_entries, 65_536);
    assert_eq!(accepted("/ledger", json!({ "entries": 1024 })).ledger_entries, 1024);
    for entries in [1, 1023, 1_048_577] {
        let problem = format!("expected a whole number from 1024 to 1048576, found {entries}");
        assert_refused("/ledger/entries", json!(entries), &problem);
    }
}

#[test]
fn a_fleet_counts_in_a_service_with_these_defaults() {
    assert!(accepted("/ledger", json!({})).fleet.is_none());
    let fleet = accepted("/ledger", json!({ "cluster": "ratelimit" })).fleet.unwrap();
    assert_eq!((&*fleet.cluster, &*fleet.domain), ("ratelimit", "keyless"));
    let second = Duration::from_secs(1);
    assert_eq!((fleet.interval, fleet.timeout), (second, second));
    assert_eq!(fleet.unavailable, Unavailable::Count);
    let ledger = json!({
        "cluster": "r", "domain": "d", "settle": "100ms", "timeout": "1m", "unavailable": "refuse"
    });
    let fleet = accepted("/ledger", ledger).fleet.unwrap();
    assert_eq!((&*fleet.domain, fleet.unavailable), ("d", Unavailable::Refuse));
    assert_eq!((fleet.interval, fleet.timeout), (second / 10, 60 * second));
}

#[test]
fn what_is_said_of_a_service_needs_one() {
    let wrong = |ledger: Value, problem: &str| {
        assert_eq!(message("/ledger", Some(ledger)), format!("ledger.{problem}"));
    };
    for key in ["domain", "settle", "timeout", "unavailable"] {
        let value = if key == "unavailable" { "count" } else { "1s" };
        let problem = format!("{key}: expected no such key without `cluster`, found one");
        wrong(json!({ (key): value }), &problem);
    }
    let expected = "expected a duration from 100ms to 1m, such as \"1s\"";
    for wait in ["0s", "99ms", "61s"] {
        let problem = format!("settle: {expected}, found {wait:?}");
        wrong(json!({ "cluster": "r", "settle": wait }), &problem);
    }
    let problem = "unavailable: expected one of \"count\", \"refuse\", found \"deny\"";
    wrong(json!({ "cluster": "r", "unavailable": "deny" }), problem);
}

#[test]
fn the_service_is_given_each_limit_by_its_name() {
    let limits = json!([
        entry(&json!({ "name": "month", "requests": null, "cost": "0.0125", "window": "30d" })),
        entry(&json!({ "name": "minute" }))
    ]);
    let file = service_file("d", &accepted("/limits", limits).limits);
    let expected = "\
domain: \"d\"
descriptors:
  - key: limit
    value: \"month\"
    descriptors:
      - key: key
        rate_limit: # thousandths of a currency unit in 30d
          unit: month
          requests_per_unit: 13
  - key: limit
    value: \"minute\"
    descriptors:
      - key: key
        rate_limit: # requests in 1m
          unit: minute
          requests_per_unit: 60
";
    assert_eq!(file, expected, "rounded up: what is left is said only down to nothing");
}
