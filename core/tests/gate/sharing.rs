//! Several threads of one proxy, and how often they ask the world together.

use std::time::{Duration, SystemTime};

use keyless_core::fetch::InMemorySharedData;
use keyless_core::gate::{Decided, Decision, Fetch};
use keyless_core::http::Answer;
use serde_json::json;

use crate::scripted::{IDENTITY, KEYS, Request, Script, arrived, jwks};

const THREADS: usize = 8;
const STEP: Duration = Duration::from_millis(10);
const LATENCY: Duration = Duration::from_millis(50);

/// What the world answers to one call, if it ever does.
type World = fn(&Script, Fetch) -> Option<Answer>;

/// The threads, driven in turn by one clock, and what they asked.
struct Proxy {
    threads: Vec<Script>,
    notes: InMemorySharedData,
    world: World,
    in_flight: Vec<(usize, Fetch, SystemTime)>,
    asked: Vec<Fetch>,
    most_identity_calls_at_once: usize,
    decided: Vec<(usize, Decided)>,
    /// These run no more.
    dead: Vec<usize>,
}

impl Proxy {
    fn new(is_private: bool, world: World) -> Self {
        let notes = InMemorySharedData::new(is_private);
        let thread = |number| Script::on(&notes.of_holder(number as u64 + 1), json!({}));
        let threads = (0..THREADS).map(thread).collect();
        Self {
            threads,
            notes,
            world,
            in_flight: Vec::new(),
            asked: Vec::new(),
            most_identity_calls_at_once: 0,
            decided: Vec::new(),
            dead: Vec::new(),
        }
    }

    /// Sends a request to each thread.
    fn ask(&mut self, request: impl Fn(&Script) -> Request) {
        for (number, thread) in self.threads.iter_mut().enumerate() {
            let decided = thread.ask(request(thread));
            self.decided.extend(decided.map(|decided| (number, decided)));
        }
    }

    /// Lets time pass for all of them, in steps in which each does what is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            self.step(STEP);
        }
    }

    fn step(&mut self, step: Duration) {
        for number in 0..self.threads.len() {
            self.threads[number].pass(step);
            if !self.dead.contains(&number) {
                self.drive(number);
            }
        }
        let identities = self.in_flight.iter().filter(|(_, fetch, _)| *fetch == IDENTITY).count();
        self.most_identity_calls_at_once = self.most_identity_calls_at_once.max(identities);
    }

    fn drive(&mut self, number: usize) {
        let thread = &mut self.threads[number];
        let now = thread.now;
        let is_due = |(owner, _, due): &(usize, _, _)| *owner == number && *due <= now;
        for (_, fetch, _) in self.in_flight.extract_if(.., |call| is_due(call)) {
            if let Some(answer) = (self.world)(thread, fetch) {
                _ = thread.gate.answered(fetch, &answer, now);
            }
        }
        for fetch in thread.gate.lost(now) {
            _ = thread.gate.answered(fetch, &Answer::Lost, now);
        }
        for (fetch, _) in thread.calls() {
            self.asked.push(fetch);
            self.in_flight.push((number, fetch, now + LATENCY));
        }
        let released = thread.released().into_iter();
        self.decided.extend(released.map(|(_, decided)| (number, decided)));
    }

    fn now(&self) -> SystemTime {
        self.threads[0].now
    }

    fn asked_for(&self, fetch: Fetch) -> usize {
        self.asked.iter().filter(|asked| **asked == fetch).count()
    }

    fn admitted(&self) -> usize {
        let admits =
            |(_, decided): &&(usize, Decided)| matches!(decided.decision, Decision::Forward(_));
        self.decided.iter().filter(admits).count()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one of several worlds")]
fn good(script: &Script, fetch: Fetch) -> Option<Answer> {
    Some(script.good_answer(fetch))
}

fn without_identities(script: &Script, fetch: Fetch) -> Option<Answer> {
    match fetch {
        Fetch::Keys(_) => good(script, fetch),
        Fetch::Identity(_) => Some(arrived(429, b"")),
    }
}

fn silent(_: &Script, _: Fetch) -> Option<Answer> {
    None
}

#[test]
fn with_notes_of_their_own_one_thread_asks_for_all() {
    let mut proxy = Proxy::new(true, good);
    proxy.ask(Script::chat);
    proxy.pass(Duration::from_millis(200));
    assert_eq!((proxy.admitted(), proxy.decided.len()), (THREADS, THREADS));
    assert_eq!((proxy.asked_for(KEYS), proxy.asked_for(IDENTITY)), (1, 1));
}

#[test]
fn without_them_each_thread_asks_for_its_own_token_one_at_a_time() {
    let mut proxy = Proxy::new(false, good);
    proxy.ask(Script::chat);
    proxy.pass(Duration::from_secs(1));
    assert_eq!((proxy.admitted(), proxy.decided.len()), (THREADS, THREADS));
    assert_eq!((proxy.asked_for(KEYS), proxy.asked_for(IDENTITY)), (THREADS, THREADS));
    assert_eq!(proxy.most_identity_calls_at_once, 1);
    let shown = |text: &[u8]| proxy.notes.bytes().windows(text.len()).any(|bytes| bytes == text);
    assert!(!shown(b"managed") && !shown(b"keys"), "nothing is left where others could read it");
}

#[test]
fn a_token_is_renewed_once_for_all() {
    let mut proxy = Proxy::new(true, good);
    proxy.ask(Script::chat);
    proxy.pass(Duration::from_secs(1));
    // The keys are due every hour, the token half-way through its day.
    for _ in 0..14 * 60 {
        proxy.step(Duration::from_mins(1));
        proxy.step(LATENCY);
        proxy.step(LATENCY);
    }
    assert_eq!(proxy.asked_for(IDENTITY), 2);
    assert!((15..=17).contains(&proxy.asked_for(KEYS)), "{}", proxy.asked_for(KEYS));
    proxy.ask(Script::chat);
    assert_eq!(proxy.admitted(), 2 * THREADS, "and nobody waits");
}

#[test]
fn while_azure_throttles_one_thread_asks_and_all_are_told_when_the_next_try_is() {
    let mut proxy = Proxy::new(true, without_identities);
    proxy.ask(Script::chat);
    for _ in 0..10 * 60 * 4 {
        proxy.step(Duration::from_millis(250));
    }
    assert_eq!(proxy.decided.len(), THREADS);
    // 0, 2, 8, 22 s and then every 30 s, each up to a tenth sooner.
    let asked = proxy.asked_for(IDENTITY);
    assert!((22..=26).contains(&asked), "{asked}");
    proxy.decided.clear();
    proxy.ask(Script::chat);
    let waits: Vec<u64> = proxy.decided.iter().map(|(_, decided)| wait(decided)).collect();
    assert!(waits.len() == THREADS && waits.windows(2).all(|pair| pair[0] == pair[1]), "{waits:?}");
    proxy.world = good;
    proxy.pass(Duration::from_secs(waits[0] + 1));
    proxy.decided.clear();
    proxy.ask(Script::chat);
    assert_eq!(proxy.admitted(), THREADS);
    assert_eq!(proxy.asked_for(IDENTITY), asked + 1);
}

#[test]
fn a_thread_that_dies_with_the_lease_is_replaced_before_any_request_times_out() {
    let mut proxy = Proxy::new(true, silent);
    proxy.ask(Script::chat);
    proxy.step(STEP);
    assert_eq!(proxy.asked, [KEYS, IDENTITY], "one thread began");
    proxy.dead.push(0);
    proxy.world = good;
    proxy.pass(Duration::from_secs(7));
    assert_eq!((proxy.admitted(), proxy.decided.len()), (THREADS - 1, THREADS - 1));
    assert_eq!((proxy.asked_for(KEYS), proxy.asked_for(IDENTITY)), (2, 2));
}

#[test]
fn a_gate_that_goes_away_gives_its_leases_back() {
    let mut proxy = Proxy::new(true, silent);
    proxy.ask(Script::chat);
    proxy.step(STEP);
    proxy.threads[0].gate.retire();
    proxy.dead.push(0);
    proxy.world = good;
    proxy.pass(Duration::from_millis(200));
    assert_eq!((proxy.admitted(), proxy.decided.len()), (THREADS - 1, THREADS - 1));
}

#[test]
fn a_new_key_is_asked_for_once_by_all() {
    fn rolled(script: &Script, fetch: Fetch) -> Option<Answer> {
        match fetch {
            Fetch::Keys(_) => Some(arrived(200, &jwks(&["k1", "k2"]))),
            Fetch::Identity(_) => good(script, fetch),
        }
    }
    let mut proxy = Proxy::new(true, good);
    proxy.ask(Script::chat);
    proxy.pass(Duration::from_secs(1));
    proxy.world = rolled;
    proxy.ask(|script| script.chat_signed_by("k2"));
    proxy.pass(Duration::from_millis(200));
    assert_eq!(proxy.admitted(), 2 * THREADS);
    assert_eq!(proxy.asked_for(KEYS), 2);
}

#[test]
fn unknown_keys_are_asked_for_no_more_often_than_configured_by_all_together() {
    let mut proxy = Proxy::new(true, good);
    proxy.ask(Script::chat);
    proxy.pass(Duration::from_secs(1));
    for _ in 0..60 {
        proxy.ask(|script| script.chat_signed_by("k2"));
        proxy.pass(Duration::from_secs(1));
    }
    let asked = proxy.asked_for(KEYS);
    // The first, three at once, and one each half minute.
    assert!((2..=6).contains(&asked), "{asked} in a minute, with an interval of 30 s");
    assert_eq!(proxy.admitted(), THREADS, "only those of the beginning");
}

/// How soon all threads must know what one of them has fetched.
const SECONDS: Duration = Duration::from_secs(3);

/// The issuer retires `k1`, one thread learns it from a token that is signed by `k2`, and then all
/// threads see one that is signed by `k1`. Returns how many admit it.
fn admitting_a_retired_key(is_private: bool, wait: Duration) -> (Proxy, usize) {
    fn retired(script: &Script, fetch: Fetch) -> Option<Answer> {
        match fetch {
            Fetch::Keys(_) => Some(arrived(200, &jwks(&["k2"]))),
            Fetch::Identity(_) => good(script, fetch),
        }
    }
    let mut proxy = Proxy::new(is_private, good);
    proxy.ask(Script::chat);
    proxy.pass(Duration::from_secs(1));
    proxy.world = retired;
    proxy.asked.clear();
    let first = &mut proxy.threads[0];
    assert!(first.ask(first.chat_signed_by("k2")).is_none());
    proxy.pass(wait);
    proxy.decided.clear();
    proxy.ask(Script::chat);
    let admitted = proxy.admitted();
    (proxy, admitted)
}

#[test]
fn a_retired_key_is_forgotten_by_all_threads_within_seconds_of_one() {
    let (proxy, admitted) = admitting_a_retired_key(true, SECONDS);
    assert_eq!(admitted, 0);
    assert_eq!(proxy.asked_for(KEYS), 1, "one thread asked for all");
}

#[test]
fn without_notes_of_their_own_a_retired_key_is_forgotten_by_each_thread_that_learns_of_it() {
    let (_, admitted) = admitting_a_retired_key(false, SECONDS);
    assert_eq!(admitted, THREADS - 1);
    let (_, admitted) = admitting_a_retired_key(false, Duration::from_mins(1));
    assert_eq!(admitted, THREADS - 1, "until its next refresh");
}

#[test]
fn a_thread_that_looks_for_newer_keys_wakes_every_two_seconds_and_asks_for_nothing() {
    let mut proxy = Proxy::new(true, good);
    proxy.ask(Script::chat);
    proxy.pass(Duration::from_secs(1));
    proxy.asked.clear();
    for _ in 0..100 {
        let wakes = proxy.threads.iter().map(|thread| thread.wake_at().unwrap()).min().unwrap();
        let wait = wakes.duration_since(proxy.now()).unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(2), "{wait:?}");
        proxy.step(wait.max(STEP));
    }
    assert_eq!(proxy.asked, []);
}

fn wait(decided: &Decided) -> u64 {
    let Decision::Deny(reply) = &decided.decision else { panic!("{decided:?}") };
    let (_, wait) = reply.headers.iter().find(|(name, _)| *name == "retry-after").unwrap();
    wait.parse().unwrap()
}
