//! The proxies of a fleet under random events, against a model of the service that counts for them:
//! calls that are slow, lost, refused or half done, threads that die, clocks that jump.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may fail loudly, and its values are made for it"
)]

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyless_core::fetch::{InMemorySharedData, SharedData};
use keyless_core::ledger::{Key, Ledger, Window};
use keyless_core::limit::{Amount, Limit, Tag};
use keyless_core::policy::Grant;
use keyless_core::settle::{Fleet, Settled, Settlement, SettlementError, Settler, Unavailable};
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;

const PROXIES: usize = 3;
const THREADS: usize = 2;
const KEYS: u8 = 5;
const MOST: u32 = 1_000_000;
const INTERVAL: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(250);

#[derive(Message)]
struct Request {
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
}

#[derive(Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    #[prost(message, optional, tag = "3")]
    hits: Option<u64>,
}

#[derive(Message)]
struct Entry {
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Message)]
struct Response {
    #[prost(message, repeated, tag = "2")]
    statuses: Vec<Status>,
}

#[derive(Message)]
struct Status {
    #[prost(message, optional, tag = "2")]
    limit: Option<RateLimit>,
    #[prost(uint32, tag = "3")]
    remaining: u32,
}

#[derive(Message)]
struct RateLimit {
    #[prost(uint32, tag = "1")]
    most: u32,
    #[prost(int32, tag = "2")]
    unit: i32,
}

/// What becomes of calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum World {
    Good,
    /// Counted, and the answer is lost.
    Deaf,
    /// Not counted, and it fails.
    Failing,
    /// Counted, and the answer is none.
    Garbled,
    /// The host does not send it.
    Unsent,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A thread of a proxy counts an amount for a key.
    Use(usize, usize, u8, u64),
    /// A thread of a proxy is asked what is used of a key.
    Look(usize, usize, u8),
    World(World),
    /// So many steps pass.
    Pass(u8),
    /// A thread dies, with what it knew.
    Die(usize, usize),
    /// The service forgets everything.
    Forget,
}

struct Thread {
    ledger: Ledger,
    settler: Settler,
}

struct Proxy {
    shared: InMemorySharedData,
    threads: Vec<Thread>,
    /// What it has used, by key.
    used: HashMap<u8, u64>,
    calls: usize,
}

struct Model {
    proxies: Vec<Proxy>,
    limits: Vec<Limit>,
    world: World,
    /// What the service has counted, by the text of the key.
    counted: HashMap<String, u64>,
    /// What was told and perhaps not counted.
    lost: u64,
    holders: u64,
    now: SystemTime,
}

fn fleet() -> Fleet {
    Fleet {
        cluster: "fleet".to_owned(),
        domain: "keyless".to_owned(),
        interval: INTERVAL,
        timeout: INTERVAL,
        unavailable: Unavailable::Count,
    }
}

fn limit() -> Limit {
    Limit {
        name: "all".into(),
        tag: Tag::of("all", Amount::Requests(MOST.into()), Window::Days365),
        per: Vec::new(),
        per_claims: Vec::new(),
        when: Grant::default(),
        routes: Vec::new(),
        amount: Amount::Requests(MOST.into()),
        window: Window::Days365,
        reserve: 0,
        report_only: false,
    }
}

fn thread(shared: &InMemorySharedData, holder: u64) -> Thread {
    let shared: Rc<dyn SharedData> = Rc::new(shared.of_holder(holder));
    let ledger = Ledger::new(Rc::clone(&shared), 1024, Some(INTERVAL));
    Thread { ledger, settler: Settler::new(fleet(), &shared) }
}

impl Model {
    fn new() -> Self {
        let proxies = (0..PROXIES).map(|_| {
            let shared = InMemorySharedData::default();
            let threads = (1..=THREADS as u64).map(|holder| thread(&shared, holder)).collect();
            Proxy { shared, threads, used: HashMap::new(), calls: 0 }
        });
        Self {
            proxies: proxies.collect(),
            limits: vec![limit()],
            world: World::Good,
            counted: HashMap::new(),
            lost: 0,
            holders: THREADS as u64,
            now: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        }
    }

    fn key(&self, number: u8) -> Key {
        self.limits[0].tag.key([number; 12])
    }

    /// Counts, or only looks; returns what is used as far as the proxy knows.
    fn count(&mut self, proxy: usize, at: usize, key: u8, amount: u64) -> u64 {
        let counter = self.limits[0].counter(self.key(key), self.now);
        let proxy = &mut self.proxies[proxy];
        let Thread { ledger, settler } = &proxy.threads[at];
        let count = if amount > 0 {
            *proxy.used.entry(key).or_default() += amount;
            ledger.add(&counter, amount)
        } else {
            ledger.look(&counter)
        };
        if count.is_pending {
            settler.note(self.now);
        }
        count.used
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Use(proxy, at, key, amount) => _ = self.count(proxy, at, key, amount),
            Event::Look(proxy, at, key) => {
                let used = self.count(proxy, at, key, 0);
                let own = self.proxies[proxy].used.get(&key).copied().unwrap_or_default();
                assert!(used >= own, "its own sum is the floor: {used} < {own}");
            }
            Event::World(world) => self.world = world,
            Event::Pass(steps) => (0..steps).for_each(|_| self.step()),
            Event::Die(proxy, at) => {
                self.holders += 1;
                let proxy = &mut self.proxies[proxy];
                proxy.threads[at] = thread(&proxy.shared, self.holders);
            }
            Event::Forget => self.counted.clear(),
        }
    }

    /// Each thread has its turn, as the root of a worker has its tick.
    fn step(&mut self) {
        self.now += STEP;
        for proxy in 0..PROXIES {
            for at in 0..THREADS {
                while let Some(settlement) = self.call(proxy, at) {
                    self.proxies[proxy].calls += 1;
                    let settled = self.serve(&settlement);
                    let Some(settled) = settled else { break };
                    self.settle(proxy, at, settled);
                }
                if self.proxies[proxy].threads[at].settler.is_lost(self.now) {
                    self.settle(proxy, at, Settled::Lost);
                }
            }
        }
    }

    fn call(&mut self, proxy: usize, at: usize) -> Option<Settlement> {
        let Thread { ledger, settler } = &mut self.proxies[proxy].threads[at];
        settler.call(&self.limits, ledger, self.now)
    }

    fn settle(&mut self, proxy: usize, at: usize, settled: Settled) {
        let Thread { ledger, settler } = &mut self.proxies[proxy].threads[at];
        let is_unsent = settled == Settled::Unsent;
        let report = settler.settled(settled, &self.limits, ledger, self.now).unwrap();
        assert_eq!(report.result == Err(SettlementError::Unsent), is_unsent);
    }

    /// What the service does with a call, and what comes of it.
    fn serve(&mut self, settlement: &Settlement) -> Option<Settled> {
        let Request { descriptors } = Request::decode(&settlement.message[..]).unwrap();
        assert!(descriptors.len() <= 200);
        let hits = |descriptor: &Descriptor| descriptor.hits.unwrap();
        if matches!(self.world, World::Failing | World::Deaf | World::Garbled) {
            self.lost += descriptors.iter().map(hits).sum::<u64>();
        }
        if matches!(self.world, World::Failing) {
            return Some(Settled::Failed(2));
        }
        if self.world == World::Unsent {
            return Some(Settled::Unsent);
        }
        let mut statuses = Vec::new();
        for descriptor in &descriptors {
            let counted = self.counted.entry(descriptor.entries[1].value.clone()).or_default();
            *counted += hits(descriptor);
            let remaining = MOST - u32::try_from(*counted).unwrap();
            statuses.push(Status { limit: Some(RateLimit { most: MOST, unit: 6 }), remaining });
        }
        match self.world {
            World::Deaf => None,
            World::Garbled => Some(Settled::Answered(b"\xff".to_vec())),
            World::Good | World::Failing | World::Unsent => {
                Some(Settled::Answered(Response { statuses }.encode_to_vec()))
            }
        }
    }

    fn used(&self) -> u64 {
        self.proxies.iter().flat_map(|proxy| proxy.used.values()).sum()
    }

    fn counted(&self) -> u64 {
        self.counted.values().sum()
    }
}

fn event() -> impl Strategy<Value = Event> {
    let worlds = [World::Good, World::Deaf, World::Failing, World::Garbled, World::Unsent];
    prop_oneof![
        8 => (0..PROXIES, 0..THREADS, 0..KEYS, 1..100_u64)
            .prop_map(|(proxy, at, key, amount)| Event::Use(proxy, at, key, amount)),
        3 => (0..PROXIES, 0..THREADS, 0..KEYS).prop_map(|(proxy, at, key)| Event::Look(proxy, at, key)),
        2 => select(worlds.to_vec()).prop_map(Event::World),
        6 => (1..12_u8).prop_map(Event::Pass),
        1 => (0..PROXIES, 0..THREADS).prop_map(|(proxy, at)| Event::Die(proxy, at)),
    ]
}

/// What is to be said of a fleet after an outage: every thread that lives looks once, time passes.
fn repair(model: &mut Model) {
    model.happen(Event::World(World::Good));
    for _ in 0..2 {
        for proxy in 0..PROXIES {
            for key in 0..KEYS {
                model.count(proxy, 0, key, 0);
            }
        }
        model.happen(Event::Pass(20));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nobody_is_charged_twice_and_what_is_missing_was_told_once_and_not_answered(
        events in prop::collection::vec(event(), 1..120)
    ) {
        let mut model = Model::new();
        for event in events {
            model.happen(event);
            let (counted, used) = (model.counted(), model.used());
            assert!(counted <= used, "{counted} were counted of {used} after {event:?}");
        }
        repair(&mut model);
        let (counted, used, lost) = (model.counted(), model.used(), model.lost);
        assert!(counted <= used && used <= counted + lost, "{counted} of {used}, {lost} lost");
        for proxy in 0..PROXIES {
            for key in 0..KEYS {
                let known = model.count(proxy, 1, key, 0);
                let own = model.proxies[proxy].used.get(&key).copied().unwrap_or_default();
                assert!(known >= own, "its own sum is the floor: {known} < {own}");
            }
        }
    }

    #[test]
    fn without_an_outage_every_proxy_comes_to_know_the_exact_sum(
        events in prop::collection::vec(event(), 1..80)
    ) {
        let mut model = Model::new();
        for event in events {
            if !matches!(event, Event::World(_)) {
                model.happen(event);
            }
        }
        repair(&mut model);
        assert_eq!(model.counted(), model.used());
        for key in 0..KEYS {
            let used: u64 = model.proxies.iter().filter_map(|proxy| proxy.used.get(&key)).sum();
            for proxy in 0..PROXIES {
                assert_eq!(model.count(proxy, 0, key, 0), used);
            }
        }
    }
}

#[test]
fn a_proxy_calls_once_in_an_interval_however_many_threads_it_has_and_not_without_need() {
    let mut model = Model::new();
    for second in 0..20 {
        for at in 0..THREADS {
            model.count(0, at, 1, 1 + second);
        }
        model.happen(Event::Pass(4));
    }
    assert!((20..=21).contains(&model.proxies[0].calls), "{}", model.proxies[0].calls);
    let calls = model.proxies[0].calls;
    model.happen(Event::Pass(100));
    assert!(model.proxies[0].calls <= calls + 1);
    assert_eq!(model.counted(), model.used());
}

#[test]
fn an_outage_costs_what_one_call_told_however_long_it_is() {
    let mut model = Model::new();
    model.count(0, 0, 1, 1_000);
    model.happen(Event::Pass(8));
    model.happen(Event::World(World::Failing));
    for _ in 0..100 {
        model.count(0, 0, 1, 10);
        model.happen(Event::Pass(4));
    }
    assert_eq!((model.lost, model.used()), (10, 2_000));
    repair(&mut model);
    assert_eq!(model.counted(), 1_990);
    assert_eq!(model.count(0, 0, 1, 0), 2_000);
}

#[test]
fn what_was_told_before_it_was_given_back_is_told_less_the_next_time() {
    let mut model = Model::new();
    let counter = model.limits[0].counter(model.key(1), model.now);
    model.count(0, 0, 1, 1);
    model.happen(Event::Pass(8));
    model.proxies[0].threads[0].ledger.give_back(&counter, 1);
    assert_eq!(
        (model.counted(), model.count(0, 1, 1, 0)),
        (1, 0),
        "the fleet knows of one too many"
    );
    model.happen(Event::Pass(8));
    for _ in 0..3 {
        model.count(0, 0, 1, 1);
        model.happen(Event::Pass(8));
    }
    assert_eq!((model.counted(), model.count(0, 1, 1, 0)), (3, 3));
}

#[test]
fn a_service_that_forgets_takes_nothing_from_what_a_proxy_has_used_itself() {
    let mut model = Model::new();
    for proxy in 0..PROXIES {
        model.count(proxy, 0, 1, 100);
    }
    repair(&mut model);
    assert_eq!(model.count(0, 0, 1, 0), 300);
    model.happen(Event::Forget);
    model.happen(Event::Pass(8));
    repair(&mut model);
    assert_eq!(model.count(0, 0, 1, 0), 100);
}

#[test]
fn a_clock_that_jumps_neither_stops_settling_nor_hurries_it() {
    let day = Duration::from_hours(24);
    for jump in [0, 1, 2] {
        let mut model = Model::new();
        model.count(0, 0, 1, 100);
        model.happen(Event::Pass(8));
        model.now = if jump == 0 { model.now - day } else { model.now + day * jump };
        let calls = model.proxies[0].calls;
        for _ in 0..10 {
            model.count(0, 1, 1, 1);
            model.happen(Event::Pass(4));
        }
        assert!((9..=12).contains(&(model.proxies[0].calls - calls)), "{jump}");
        assert_eq!(model.counted(), model.used());
    }
}

#[test]
fn many_counters_are_told_in_calls_of_two_hundred() {
    let mut model = Model::new();
    for number in 0..1_000_u16 {
        let mut key = model.key(0).0;
        key[13..15].copy_from_slice(&number.to_le_bytes());
        let counter = model.limits[0].counter(Key(key), model.now);
        let Thread { ledger, settler } = &model.proxies[0].threads[0];
        assert!(ledger.add(&counter, 7).is_counted);
        settler.note(model.now);
    }
    model.happen(Event::Pass(1));
    assert_eq!((model.proxies[0].calls, model.counted(), model.counted.len()), (5, 7_000, 1_000));
}
