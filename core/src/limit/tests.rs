use serde_json::{Value, json};

use super::*;
use crate::jwt::{ClaimName, ClaimValue};

fn limit(per: &[Per], per_claims: &[&str]) -> Limit {
    Limit {
        name: "a".into(),
        tag: Tag::of("a", Amount::Requests(60), Window::Minute),
        per: per.to_vec(),
        per_claims: per_claims.iter().map(|name| ClaimName::of(name)).collect(),
        when: Grant::default(),
        routes: Vec::new(),
        amount: Amount::Requests(60),
        window: Window::Minute,
        reserve: 0,
        report_only: false,
    }
}

/// The counter for a caller with these claims, who asks for this deployment.
fn key(limit: &Limit, deployment: Option<&str>, claims: Value) -> Option<Key> {
    let claims = Claims::of(claims);
    let caller = Caller {
        entry: EntryIndex(0),
        issuer: "idp",
        route: RouteIndex(0),
        route_name: "chat",
        deployment: deployment.into(),
        claims: &claims,
    };
    limit.is_for(&caller).then(|| CallerHashes::default().key(limit, &caller))
}

#[test]
fn callers_share_a_counter_unless_the_limit_tells_them_apart() {
    let (alice, bob) = (json!({"sub": "alice"}), json!({"sub": "bob"}));
    let all = limit(&[], &[]);
    assert_eq!(key(&all, None, alice.clone()), key(&all, Some("o3"), bob.clone()));
    let each = limit(&[Per::Subject], &[]);
    assert_ne!(key(&each, None, alice.clone()), key(&each, None, bob));
    assert_eq!(key(&each, None, alice.clone()), key(&each, Some("o3"), alice));
}

#[test]
fn an_absent_claim_is_a_value_of_its_own() {
    let by = limit(&[], &["department"]);
    let claims = [json!({}), json!({"department": ""}), json!({"department": null})];
    let claims = claims.into_iter().chain([json!({"department": "null"})]);
    let keys: Vec<_> = claims.map(|claims| key(&by, None, claims).unwrap()).collect();
    for (at, one) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(one), "{at}");
    }
    let client = limit(&[Per::Client], &[]);
    assert_ne!(key(&client, None, json!({})), key(&client, None, json!({"azp": ""})));
}

#[test]
fn values_cannot_be_moved_from_one_part_of_a_key_to_the_next() {
    let by = limit(&[Per::Subject, Per::Client], &[]);
    let one = key(&by, None, json!({"sub": "ab", "azp": "c"}));
    assert_ne!(one, key(&by, None, json!({"sub": "a", "azp": "bc"})));
}

#[test]
fn a_limit_is_for_its_deployments() {
    let when = Grant { deployments: vec!["gpt-4o".to_owned()], ..Grant::default() };
    let only = Limit { when, ..limit(&[], &[]) };
    assert!(key(&only, Some("gpt-4o"), json!({})).is_some());
    assert!(key(&only, Some("o3"), json!({})).is_none());
    assert!(key(&only, None, json!({})).is_none());
}

#[test]
fn limits_that_count_by_the_same_differ_in_the_tag_alone_and_remembered_keys_are_the_same() {
    let hashes = CallerHashes::default();
    let one = limit(&[Per::Subject], &[]);
    let other = Limit { tag: Tag::of("b", one.amount, one.window), ..one.clone() };
    for subject in ["alice", "bob", "alice", "bob", &"long".repeat(1_000), &"long".repeat(1_000)] {
        let claims = Claims::of(json!({ "sub": subject }));
        let caller = Caller {
            entry: EntryIndex(0),
            issuer: "idp",
            route: RouteIndex(0),
            route_name: "chat",
            deployment: None.into(),
            claims: &claims,
        };
        let keys = [&one, &other].map(|limit| hashes.key(limit, &caller));
        assert_eq!(Some(keys[0]), key(&one, None, json!({ "sub": subject })), "{subject}");
        let [(tag, hash), (other_tag, other_hash)] = keys.each_ref().map(|key| key.0.split_at(4));
        assert!(tag != other_tag && hash == other_hash, "{subject}");
        assert!(one.tag.is_of(&keys[0]) && !one.tag.is_of(&keys[1]));
    }
}

#[test]
fn no_more_than_a_few_thousand_hashes_are_remembered() {
    let hashes = CallerHashes::default();
    let each = limit(&[Per::Subject], &[]);
    for number in 0..20_000 {
        let claims = Claims::of(json!({ "sub": number.to_string() }));
        let caller = Caller {
            entry: EntryIndex(0),
            issuer: "idp",
            route: RouteIndex(0),
            route_name: "chat",
            deployment: None.into(),
            claims: &claims,
        };
        hashes.key(&each, &caller);
        assert!(hashes.len() <= 4_096);
    }
}

#[test]
fn a_limit_is_for_those_of_whom_its_conditions_hold() {
    let department = vec![ClaimValue::Text("R&D".to_owned())];
    let claims = vec![(ClaimName::of("department"), department)];
    let some = Limit { when: Grant { claims, ..Grant::default() }, ..limit(&[], &[]) };
    assert!(key(&some, None, json!({"department": ["R&D", "Sales"]})).is_some());
    assert!(key(&some, None, json!({"department": "Sales"})).is_none());
    let elsewhere = Limit { routes: vec![RouteIndex(1)], ..limit(&[], &[]) };
    assert!(key(&elsewhere, None, json!({})).is_none());
}

#[test]
fn another_limit_window_or_unit_has_another_counter() {
    let one = limit(&[], &[]);
    let others = [
        Tag::of("b", one.amount, one.window),
        Tag::of("a", one.amount, Window::Hour),
        Tag::of("a", Amount::Tokens(60, TokenCount::Total), one.window),
        Tag::of("a", Amount::Tokens(60, TokenCount::Input), one.window),
        Tag::of("a", Amount::Cost(Cost::from_pico_units(60)), one.window),
    ];
    assert!(others.iter().all(|other| *other != one.tag));
    let larger = Tag::of("a", Amount::Requests(61), one.window);
    assert_eq!(larger, one.tag, "a limit may be raised, and forgets nothing");
}

#[test]
fn an_answer_counts_by_what_the_limit_is_of() {
    let usage = Usage { input: 10, output: 3, ..Usage::default() };
    let cost = Cost::from_pico_units(1_500);
    let count = |amount: Amount| (amount.at_admission(), amount.at_end(&usage, Some(cost)));
    assert_eq!(count(Amount::Requests(9)), (1, 0));
    assert_eq!(count(Amount::Tokens(9, TokenCount::Total)), (0, 13));
    assert_eq!(count(Amount::Tokens(9, TokenCount::Input)), (0, 10));
    assert_eq!(count(Amount::Tokens(9, TokenCount::Output)), (0, 3));
    let budget = Amount::Cost(Cost::from_pico_units(500_000_000_000_000));
    assert_eq!(count(budget), (0, 2), "rounded up");
    assert_eq!(budget.at_end(&usage, None), 0, "without a price");
    assert_eq!((budget.most(), budget.text()), (500_000_000_000, "a cost of 500.00".to_owned()));
}

#[test]
fn of_two_allowances_of_a_unit_the_one_with_less_left_is_told() {
    let period = Window::Minute.period(SystemTime::UNIX_EPOCH);
    let of = |amount, used| Limit { amount, ..limit(&[], &[]) }.allowance(used, period);
    let (tight, wide) =
        (of(Amount::Requests(10), 9).unwrap(), of(Amount::Requests(100), 9).unwrap());
    assert_eq!((tight.tighter(wide), wide.tighter(tight)), (Some(tight), Some(tight)));
    let tokens = of(Amount::Tokens(5, TokenCount::Total), 9).unwrap();
    assert_eq!(tokens.tighter(tight), None);
    assert_eq!(tokens.headers().map(|(_, value)| value), ["5", "0", "60s"]);
    assert_eq!(of(Amount::Cost(Cost::default()), 0), None, "callers are told nothing of money");
}
