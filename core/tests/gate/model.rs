//! The threads of one proxy under random events: answers that are good, bad, slow or missing, threads
//! that die with or without notice, a clock that jumps.
//!
//! Each case is a sequence of random events and then a repair: from then on each call is answered
//! well. What must hold always is asserted at each step; see the constants for the bounds. A step is a
//! thread's whole turn; threads that race inside one compare-and-swap are in the tests of the lease.

use std::time::{Duration, SystemTime};

use keyless_core::fetch::InMemorySharedData;
use keyless_core::gate::{Decided, Fetch};
use keyless_core::http::Answer;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::scripted::{KEYS, Request, Script, arrived, header, is_admitted, start};

const THREADS: usize = 3;

/// How often each thread runs. Shared data is looked at every 10 ms while another thread fetches;
/// a coarser step finds the same interleavings sooner.
const STEP: Duration = Duration::from_millis(250);

/// A call is lost 1 s after its own time-out of 5 s, and with it the lease.
const CALL_LOST: Duration = Duration::from_secs(6);

/// The least time between two calls for the same thing while nothing is disrupted: the first
/// back-off is 2 s, shortened by jitter to 1.8 s.
const MIN_CALL_INTERVAL: Duration = Duration::from_millis(1800);

/// How many calls without that interval a disruption causes at most. After a jump of the clock no thread can rely on
/// another one's times: each may fetch once. A thread that goes away is one thread that begins
/// again, and one lease that another thread takes over.
const CALLS_PER_JUMP: usize = THREADS + 1;
const CALLS_PER_REPLACEMENT: usize = 2;

/// When everybody is served after the repair. In the worst case a call was sent just before, and no
/// answer comes: it is lost after 6 s and followed by the longest back-off, 30 s; then its thread is
/// away, too, and another one takes over after 2 s. The back-off is 60 s if the thread with the lease
/// holds a value, which the others normally share; after the clock was set back they cannot tell how
/// old it is, and wait.
const SERVED_AFTER: Duration = Duration::from_secs(6 + 60 + 2 + 1);

/// How the world answers calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum World {
    Good,
    Failing,
    /// Answers come well, but only after so many milliseconds.
    Slow(u64),
    Silent,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many milliseconds pass, in steps in which each thread runs.
    Pass(u64),
    World(World),
    /// A request comes to a thread.
    Ask(usize),
    /// A thread dies without notice, and a new one starts.
    Crash(usize),
    /// A thread goes away in order, and a new one starts.
    Retire(usize),
    /// The clock jumps by so many seconds.
    Jump(i64),
}

struct Thread {
    script: Script,
    /// The number of the newest token that it sent.
    newest: u64,
}

struct InFlight {
    thread: usize,
    fetch: Fetch,
    begun: SystemTime,
    /// The number that a token of this call has; calls are numbered in their order.
    number: u64,
    /// The clock jumped since, or its thread retired: its lease may be another one's.
    disrupted: bool,
}

struct Proxy {
    shared: InMemorySharedData,
    /// A good request, at all times that the clock shows.
    request: Request,
    threads: Vec<Thread>,
    world: World,
    now: SystemTime,
    /// How much time passed, without jumps.
    passed: Duration,
    in_flight: Vec<InFlight>,
    calls: u64,
    /// When the last call for the keys and for the token began, in time that passed.
    last_calls: [Option<Duration>; 2],
    /// How many calls followed the one before sooner than after [`MIN_CALL_INTERVAL`].
    hurried: [usize; 2],
    disruptions: usize,
    holders: u64,
}

impl Proxy {
    fn new() -> Self {
        let mut proxy = Self {
            shared: InMemorySharedData::new(true),
            request: Script::new().chat_with(json!({ "exp": 2_000_000_000 })),
            threads: Vec::new(),
            world: World::Good,
            now: start(),
            passed: Duration::ZERO,
            in_flight: Vec::new(),
            calls: 0,
            last_calls: [None; 2],
            hurried: [0; 2],
            disruptions: 0,
            holders: 0,
        };
        for _ in 0..THREADS {
            let thread = proxy.thread();
            proxy.threads.push(thread);
        }
        proxy
    }

    fn thread(&mut self) -> Thread {
        self.holders += 1;
        let script = Script::on(&self.shared.of_holder(self.holders), json!({}));
        Thread { script, newest: 0 }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Pass(millis) => self.pass(Duration::from_millis(millis)),
            Event::World(world) => self.world = world,
            Event::Ask(number) => _ = self.ask(number),
            Event::Crash(number) => self.replace(number),
            Event::Retire(number) => {
                self.threads[number].script.gate.retire();
                self.replace(number);
            }
            Event::Jump(seconds) => self.jump(seconds),
        }
    }

    fn replace(&mut self, number: usize) {
        self.disruptions += CALLS_PER_REPLACEMENT;
        self.in_flight.retain(|call| call.thread != number);
        self.threads[number] = self.thread();
    }

    fn jump(&mut self, seconds: i64) {
        self.disruptions += CALLS_PER_JUMP;
        let by = Duration::from_secs(seconds.unsigned_abs());
        self.now = if seconds < 0 { self.now - by } else { self.now + by };
        for call in &mut self.in_flight {
            call.disrupted = true;
        }
    }

    /// Sends a request to a thread, and says whether it was admitted at once.
    fn ask(&mut self, number: usize) -> bool {
        let thread = &mut self.threads[number];
        thread.script.now = self.now;
        let Some(decided) = thread.script.ask(self.request.clone()) else { return false };
        thread.see(&decided);
        is_admitted(&decided)
    }

    fn pass(&mut self, time: Duration) {
        let end = self.passed + time;
        while self.passed < end {
            self.passed += STEP;
            self.now += STEP;
            for number in 0..THREADS {
                self.drive(number);
            }
        }
    }

    /// Does what a host does for one thread.
    fn drive(&mut self, number: usize) {
        self.threads[number].script.now = self.now;
        self.answer(number);
        let script = &mut self.threads[number].script;
        for fetch in script.gate.lost(self.now) {
            self.in_flight.retain(|call| (call.thread, call.fetch) != (number, fetch));
            _ = script.gate.answered(fetch, &Answer::Lost, self.now);
        }
        for (fetch, _) in script.calls() {
            self.begin(number, fetch);
        }
        let thread = &mut self.threads[number];
        for (_, decided) in thread.script.released() {
            thread.see(&decided);
        }
    }

    /// Notes a call, and asserts that no other thread has the lease.
    fn begin(&mut self, thread: usize, fetch: Fetch) {
        let (begun, disrupted) = (self.now, false);
        let has_lease = |call: &&InFlight| {
            call.fetch == fetch && !call.disrupted && begun < call.begun + CALL_LOST
        };
        let holder = self.in_flight.iter().find(has_lease).map(|call| call.thread);
        assert_eq!(holder, None, "{thread} fetches {fetch:?}, but another thread has the lease");
        self.calls += 1;
        let which = usize::from(fetch == KEYS);
        let last = self.last_calls[which].replace(self.passed);
        let is_hurried = last.is_some_and(|last| self.passed < last + MIN_CALL_INTERVAL);
        self.hurried[which] += usize::from(is_hurried);
        let (hurried, most) = (self.hurried[which], self.disruptions);
        assert!(hurried <= most, "{hurried} hurried calls for {fetch:?}, {most} allowed");
        self.in_flight.push(InFlight { thread, fetch, begun, number: self.calls, disrupted });
    }

    /// Answers the calls of a thread that are to be answered now.
    fn answer(&mut self, number: usize) {
        let (world, now) = (self.world, self.now);
        let is_answered = |call: &mut InFlight| {
            let age = now.duration_since(call.begun).unwrap_or_default();
            let latency = match world {
                World::Good | World::Failing => Some(Duration::ZERO),
                World::Slow(millis) => Some(Duration::from_millis(millis)),
                World::Silent => None,
            };
            call.thread == number && latency.is_some_and(|latency| age >= latency)
        };
        let answered: Vec<_> = self.in_flight.extract_if(.., is_answered).collect();
        let script = &mut self.threads[number].script;
        for InFlight { fetch, number, .. } in answered {
            let answer = match (world, fetch) {
                (World::Failing, _) => arrived(503, b""),
                (_, Fetch::Keys(_)) => script.good_answer(fetch),
                (_, Fetch::Identity(_)) => {
                    arrived(200, &script.token_answer(&number.to_string(), 86_400))
                }
            };
            _ = script.gate.answered(fetch, &answer, now);
        }
    }

    /// Repairs the world, and asserts that each thread soon serves.
    fn check_recovery(&mut self) {
        self.world = World::Good;
        let deadline = self.passed + SERVED_AFTER;
        let mut waiting: Vec<_> = (0..THREADS).collect();
        while !waiting.is_empty() {
            assert!(self.passed <= deadline, "{waiting:?} serve nobody");
            waiting.retain(|number| !self.ask(*number));
            self.pass(STEP);
        }
    }
}

impl Thread {
    /// Asserts that no token is older than one that this thread sent before.
    fn see(&mut self, decided: &Decided) {
        if is_admitted(decided) {
            let token = header(decided, "authorization").unwrap();
            let number = token.strip_prefix("Bearer ").unwrap().parse().unwrap();
            assert!(number >= self.newest, "token {number} after token {}", self.newest);
            self.newest = number;
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let worlds = [
        World::Good,
        World::Failing,
        World::Slow(1000),
        World::Slow(5500),
        World::Slow(8000),
        World::Silent,
    ];
    let hour = 3600;
    let jumps = [-24 * hour, -hour, -60, 60, hour, 13 * hour, 25 * hour];
    prop_oneof![
        6 => select(vec![250, 1000, 5000, 10_000, 40_000]).prop_map(Event::Pass),
        3 => select(worlds.to_vec()).prop_map(Event::World),
        6 => (0..THREADS).prop_map(Event::Ask),
        2 => (0..THREADS).prop_map(Event::Crash),
        1 => (0..THREADS).prop_map(Event::Retire),
        1 => select(jumps.to_vec()).prop_map(Event::Jump),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn one_thread_fetches_nothing_old_is_adopted_and_all_serve_soon_after_a_repair(
        events in prop::collection::vec(event(), 1..40)
    ) {
        let mut proxy = Proxy::new();
        for event in events {
            proxy.apply(event);
        }
        proxy.check_recovery();
        prop_assert!(proxy.calls >= 2, "keys and a token were fetched");
    }
}
