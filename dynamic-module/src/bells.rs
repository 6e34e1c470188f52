//! Calls threads at the time that they name, and when there is news: the main thread by a bell of the
//! configuration, a worker by the bell of a stream that is parked there.
//!
//! Requests that need not wait do not come here, so nobody waits for this lock but those who wait
//! anyway.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keyless_core::gate::StreamId;

use crate::abi::{MainBell, StreamBell};
use crate::lock;

/// The bells of one configuration.
#[derive(Debug)]
pub(crate) struct Bells {
    state: Mutex<State>,
    changed: Condvar,
}

/// The number of a worker, of no other one in this process.
pub(crate) type WorkerId = u64;

#[derive(Debug)]
struct State {
    main: Bell<MainBell>,
    workers: BTreeMap<WorkerId, Bell<BTreeMap<StreamId, StreamBell>>>,
    is_over: bool,
}

/// A bell, and when it is to ring.
#[derive(Debug, Default)]
struct Bell<T> {
    bell: T,
    at: Option<Instant>,
}

/// How long to sleep while nobody is to be called.
const IDLE: Duration = Duration::from_hours(1);

impl Bells {
    pub(crate) fn new(main: MainBell) -> Self {
        let main = Bell { bell: main, at: None };
        let state = State { main, workers: BTreeMap::new(), is_over: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes the bell of a stream that is parked.
    pub(crate) fn park(&self, worker: WorkerId, stream: StreamId, bell: StreamBell) {
        lock(&self.state).workers.entry(worker).or_default().bell.insert(stream, bell);
    }

    /// Gives up the bell of a stream that is not parked any more.
    pub(crate) fn leave(&self, worker: WorkerId, stream: StreamId) {
        let mut state = lock(&self.state);
        if let Some(bells) = state.workers.get_mut(&worker) {
            bells.bell.remove(&stream);
            if bells.bell.is_empty() {
                state.workers.remove(&worker);
            }
        }
    }

    /// Calls a stream that is parked.
    pub(crate) fn ring(&self, worker: WorkerId, stream: StreamId) {
        let state = lock(&self.state);
        if let Some(bell) = state.workers.get(&worker).and_then(|bells| bells.bell.get(&stream)) {
            bell.ring();
        }
    }

    /// Calls each worker on which streams are parked.
    pub(crate) fn ring_workers(&self) {
        lock(&self.state).workers.values().for_each(Bell::ring_one);
    }

    /// Calls the main thread.
    pub(crate) fn ring_main(&self) {
        lock(&self.state).main.bell.ring();
    }

    /// Calls a worker then, if streams are parked there.
    pub(crate) fn ring_worker_at(&self, worker: WorkerId, at: Option<Instant>) {
        if let Some(bells) = lock(&self.state).workers.get_mut(&worker) {
            bells.at = at;
        }
        self.changed.notify_one();
    }

    /// Calls the main thread then.
    pub(crate) fn ring_main_at(&self, at: Option<Instant>) {
        lock(&self.state).main.at = at;
        self.changed.notify_one();
    }

    /// Ends [`Bells::run`].
    pub(crate) fn end(&self) {
        lock(&self.state).is_over = true;
        self.changed.notify_one();
    }

    /// Rings at the times that were named, on a thread of its own, until the end.
    pub(crate) fn run(&self) {
        let mut state = lock(&self.state);
        while !state.is_over {
            let now = Instant::now();
            let next = state.ring_due(now);
            let sleep = next.map_or(IDLE, |next| next.saturating_duration_since(now));
            let woken = self.changed.wait_timeout(state, sleep);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// Rings what is due, and returns when the next bell is.
    fn ring_due(&mut self, now: Instant) -> Option<Instant> {
        if self.main.takes_due(now) {
            self.main.bell.ring();
        }
        for bells in self.workers.values_mut() {
            if bells.takes_due(now) {
                bells.ring_one();
            }
        }
        self.workers.values().filter_map(|bells| bells.at).chain(self.main.at).min()
    }
}

impl<T> Bell<T> {
    fn takes_due(&mut self, now: Instant) -> bool {
        self.at.take_if(|at| *at <= now).is_some()
    }
}

impl Bell<BTreeMap<StreamId, StreamBell>> {
    /// Any stream will do: what it is called for is done for all of its thread.
    fn ring_one(&self) {
        if let Some(bell) = self.bell.values().next() {
            bell.ring();
        }
    }
}
