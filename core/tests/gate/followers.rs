//! Gates that leave their fetches to another one, as on a proxy that makes calls on one thread only.

use std::time::Duration;

use keyless_core::fetch::InMemorySharedData;
use keyless_core::gate::{Decided, Decision, Fetch};
use keyless_core::settle::Settled;
use serde_json::{Value, json};

use crate::scripted::{IDENTITY, KEYS, Script, arrived, jwks};

/// The gate that fetches, and one that decides.
struct Proxy {
    fetcher: Script,
    follower: Script,
}

impl Proxy {
    fn new() -> Self {
        Self::of(&json!({}))
    }

    /// Gates whose configuration has some of its top-level members replaced.
    fn of(changes: &Value) -> Self {
        let notes = InMemorySharedData::new(true);
        let fetcher = Script::on(&notes.of_holder(1), changes.clone());
        let follower = Script::on(&notes.of_follower(2), changes.clone());
        Self { fetcher, follower }
    }

    /// Lets the follower look, and the fetcher hear of what it wants; returns what that then fetches.
    fn look(&mut self) -> Vec<Fetch> {
        assert!(self.follower.calls().is_empty(), "a follower makes no calls");
        for requested in self.follower.gate.requested() {
            self.fetcher.gate.fetch_for_another(requested, self.fetcher.now);
        }
        self.fetcher.calls().into_iter().map(|(fetch, _)| fetch).collect()
    }

    fn succeed(&mut self, fetch: Fetch) {
        let Script { gate, now, .. } = &mut self.fetcher;
        gate.answered(fetch, &self.follower.good_answer(fetch), *now).unwrap().result.unwrap();
    }

    fn fail(&mut self, fetch: Fetch) {
        let Script { gate, now, .. } = &mut self.fetcher;
        gate.answered(fetch, &arrived(500, b""), *now).unwrap().result.unwrap_err();
    }

    fn pass(&mut self, time: Duration) {
        self.fetcher.now += time;
        self.follower.now += time;
    }

    /// Has the follower take over what was fetched, and returns what it decides then.
    fn released(&mut self) -> Vec<Decided> {
        self.pass(Duration::from_millis(10));
        assert!(self.follower.calls().is_empty(), "a follower makes no calls");
        self.follower.released().into_iter().map(|(_, decided)| decided).collect()
    }

    /// Both gates with keys and a token.
    fn warm() -> Self {
        Self::new().warmed()
    }

    fn warmed(self) -> Self {
        let mut proxy = self;
        assert!(proxy.follower.ask(proxy.follower.chat()).is_none(), "it waits");
        for fetch in proxy.look() {
            proxy.succeed(fetch);
        }
        proxy.admits();
        proxy
    }

    /// Lets the follower decide what waits, which is one request, and admits it.
    fn admits(&mut self) {
        let decided = self.released();
        let [Decided { decision: Decision::Forward(_), .. }] = &decided[..] else {
            panic!("{decided:?}")
        };
    }
}

#[test]
fn a_fetcher_that_nobody_wants_anything_of_fetches_nothing() {
    assert!(Proxy::new().fetcher.calls().is_empty());
}

#[test]
fn what_a_follower_wants_is_fetched_once_and_taken_over_by_it() {
    let mut proxy = Proxy::new();
    assert!(proxy.follower.ask(proxy.follower.chat()).is_none(), "it waits");
    assert_eq!(proxy.look(), [KEYS, IDENTITY]);
    proxy.pass(Duration::from_millis(10));
    assert_eq!(proxy.look(), [], "both are in flight");
    for fetch in [KEYS, IDENTITY] {
        proxy.succeed(fetch);
    }
    proxy.admits();
}

#[test]
fn an_unknown_key_has_the_fetcher_ask_before_its_time_and_once() {
    let mut proxy = Proxy::warm();
    proxy.pass(Duration::from_mins(1));
    assert!(proxy.follower.ask(proxy.follower.chat_signed_by("k2")).is_none(), "it waits");
    assert_eq!(proxy.look(), [KEYS]);
    proxy.fetcher.answer(KEYS, &jwks(&["k1", "k2"]));
    proxy.admits();
    assert_eq!(proxy.look(), [], "the new keys are held");
}

#[test]
fn a_want_that_comes_late_is_not_fetched_again() {
    let mut proxy = Proxy::warm();
    proxy.pass(Duration::from_mins(1));
    assert!(proxy.follower.ask(proxy.follower.chat_signed_by("k2")).is_none(), "it waits");
    assert!(proxy.follower.calls().is_empty());
    let requested = proxy.follower.gate.requested();
    for _ in 0..2 {
        for requested in requested.clone() {
            proxy.fetcher.gate.fetch_for_another(requested, proxy.fetcher.now);
        }
        for (fetch, _) in proxy.fetcher.calls() {
            proxy.fetcher.answer(fetch, &jwks(&["k1", "k2"]));
        }
    }
    proxy.pass(Duration::from_secs(5));
    assert!(proxy.fetcher.calls().is_empty(), "the value is newer than the one that was seen");
    proxy.admits();
}

#[test]
fn a_fetch_that_fails_is_told_by_the_follower_as_by_the_fetcher() {
    let mut proxy = Proxy::new();
    assert!(proxy.follower.ask(proxy.follower.chat()).is_none(), "it waits");
    assert_eq!(proxy.look(), [KEYS, IDENTITY]);
    proxy.fail(KEYS);
    proxy.succeed(IDENTITY);
    // The retry follows within the time that a request waits for one.
    assert!(proxy.released().is_empty());
    proxy.pass(Duration::from_secs(3));
    assert_eq!(proxy.look(), [KEYS]);
    proxy.fail(KEYS);
    let reasons: Vec<_> = proxy.released().iter().map(|decided| decided.record.reason).collect();
    assert_eq!(reasons, ["keys_unavailable"]);
}

#[test]
fn what_a_follower_has_counted_another_gate_settles() {
    let mut proxy = Proxy::of(&json!({
        "limits": [{ "name": "user", "per": ["subject"], "requests": 10, "window": "1h" }],
        "ledger": { "cluster": "fleet" }
    }))
    .warmed();
    let (follower, fetcher) = (&mut proxy.follower.gate, &mut proxy.fetcher.gate);
    let now = proxy.follower.now;
    assert!(follower.is_to_settle() && !follower.is_to_settle(), "it says so once");
    assert!(follower.settlement(now).is_none(), "a follower makes no calls");
    assert!(follower.settlement_at().is_none(), "and is not to be asked again and again");
    assert!(fetcher.settlement(now).is_none(), "nobody has told it");
    fetcher.settle_for_another(now);
    assert_eq!(fetcher.settlement_at(), Some(now));
    let settlement = fetcher.settlement(now).unwrap();
    assert_eq!(settlement.cluster, "fleet");
    let report = fetcher.settled(Settled::Unsent, now).unwrap();
    assert_eq!(report.lines().len(), 1, "it is news");

    let again = fetcher.settlement_at().unwrap();
    assert!(again > now, "it is told later");
    assert!(fetcher.settlement(again).is_some());
    fetcher.settled(Settled::Failed(14), again).unwrap();
    assert!(fetcher.settlement(again).is_none(), "once in an interval");
    let request = proxy.follower.chat();
    assert!(proxy.follower.ask(request).is_some());
    assert!(proxy.follower.gate.is_to_settle(), "it says so for each request");
}
