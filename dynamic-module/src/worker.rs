//! The gate of one worker: nothing of it leaves the thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use keyless_core::exchange::{Rejected, Rests, Used};
use keyless_core::fetch::SharedData;
use keyless_core::gate::{Decided, Gate, StreamId, Wake, count_evicted};
use keyless_core::http::Answer;
use keyless_core::metrics::{HOST_CRYPTO, Meter};

use crate::abi::{Stream, write};
use crate::bells::WorkerId;
use crate::crypto::NativeCrypto;
use crate::fetcher::{instant, variable};
use crate::now;
use crate::plugin::{CallReport, Plugin};
use crate::shared_data::ProcessData;

/// One configuration on one worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) gate: RefCell<Gate>,
    /// What was decided about streams that are parked, until they are called.
    decided: RefCell<HashMap<StreamId, Decided>>,
    next_stream: Cell<StreamId>,
    next_wake: Cell<Wake>,
    parked: Cell<usize>,
    rests: RefCell<Rests>,
    is_introduced: Cell<bool>,
}

static NEXT_WORKER: AtomicU64 = AtomicU64::new(0);

/// How many configurations Envoy has let go of.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Has each thread give up, at its next request, what it has of a configuration that has ended.
pub(crate) fn end_configuration() {
    ENDED.fetch_add(1, Ordering::Release);
}

thread_local! {
    /// The workers of this thread, one for each configuration that has had a stream here.
    static WORKERS: RefCell<Vec<Rc<Worker>>> = const { RefCell::new(Vec::new()) };

    /// What [`ENDED`] was when this thread last gave up what had ended.
    static GIVEN_UP: Cell<u64> = const { Cell::new(0) };
}

impl Worker {
    /// Returns that of a configuration on this thread; it is made for the first stream.
    pub(crate) fn of(plugin: &Arc<Plugin>) -> Option<Rc<Self>> {
        WORKERS.with_borrow_mut(|workers| {
            let ended = ENDED.load(Ordering::Acquire);
            if GIVEN_UP.replace(ended) != ended {
                workers.retain(|worker| !worker.plugin.is_over());
            }
            let is_of = |worker: &&Rc<Self>| Arc::ptr_eq(&worker.plugin, plugin);
            if let Some(worker) = workers.iter().find(is_of) {
                return Some(Rc::clone(worker));
            }
            let worker = Rc::new(Self::new(plugin)?);
            workers.push(Rc::clone(&worker));
            Some(worker)
        })
    }

    fn new(plugin: &Arc<Plugin>) -> Option<Self> {
        let shared: Rc<dyn SharedData> = Rc::new(ProcessData::of_worker());
        let crypto = Box::new(NativeCrypto::default());
        let gate = Gate::new(plugin.config()?, crypto, variable, &shared);
        Some(Self {
            id: NEXT_WORKER.fetch_add(1, Ordering::Relaxed),
            plugin: Arc::clone(plugin),
            gate: RefCell::new(gate),
            decided: RefCell::default(),
            next_stream: Cell::new(0),
            next_wake: Cell::new(Wake::Never),
            parked: Cell::new(0),
            rests: RefCell::default(),
            is_introduced: Cell::new(false),
        })
    }

    /// Has the next stream of this thread begin with another gate: a panic may have left this one
    /// half-done. Streams that wait for it stay with it.
    pub(crate) fn abandon(&self) {
        WORKERS.with_borrow_mut(|workers| workers.retain(|worker| worker.id != self.id));
    }

    /// Numbers a stream.
    pub(crate) fn number(&self) -> StreamId {
        let number = self.next_stream.get();
        self.next_stream.set(number.wrapping_add(1));
        number
    }

    /// Does what is due before a request is decided, if anything is.
    pub(crate) fn catch_up(&self, stream: &Stream<'_>, now: SystemTime) {
        self.plugin.count_reports(stream);
        if !self.is_introduced.replace(true) {
            self.plugin.metrics.with(stream).set(&HOST_CRYPTO, &[], 1);
        }
        let is_due = match self.next_wake.get() {
            Wake::At(time) => time <= now,
            Wake::Now => true,
            Wake::Never => false,
        };
        if is_due {
            self.drive(now);
        }
    }

    /// Does all that is due: takes over what was fetched, says what is requested, calls streams that are
    /// decided.
    pub(crate) fn drive(&self, now: SystemTime) {
        let mut gate = self.gate.borrow_mut();
        let lost = gate.lost(now).into_iter().map(|fetch| (fetch, Answer::Lost));
        // A worker makes no calls; one that is asked for is not sent.
        let unsent = gate.calls(now).into_iter().map(|(fetch, _)| (fetch, Answer::Unsent));
        let ended: Vec<_> = lost.chain(unsent).collect();
        for (fetch, answer) in ended {
            if let Some(report) = gate.answered(fetch, &answer, now) {
                self.plugin.report(CallReport::Fetch(report));
            }
        }
        self.plugin.want(gate.requested());
        for (stream, decided) in gate.released(now) {
            self.decided.borrow_mut().insert(stream, decided);
            self.plugin.bells.ring(self.id, stream);
        }
        self.next_wake.set(gate.wake_at());
        drop(gate);
        self.set_bell(now);
    }

    /// Parks a stream until it is called.
    pub(crate) fn park(&self, id: StreamId, stream: &Stream<'_>, now: SystemTime) {
        self.plugin.bells.park(self.id, id, stream.bell());
        self.parked.set(self.parked.get().saturating_add(1));
        self.set_bell(now);
    }

    /// Takes a stream out of its place, because it was decided or is gone.
    pub(crate) fn leave(&self, id: StreamId) {
        self.plugin.bells.leave(self.id, id);
        self.parked.set(self.parked.get().saturating_sub(1));
    }

    /// Forgets a stream that is gone while it waits.
    pub(crate) fn forget(&self, id: StreamId) {
        self.leave(id);
        if let Ok(mut gate) = self.gate.try_borrow_mut() {
            gate.forget(id);
        }
        self.decided.borrow_mut().remove(&id);
    }

    /// Returns what was decided about a stream that is parked, once.
    pub(crate) fn decided(&self, id: StreamId) -> Option<Decided> {
        self.decided.borrow_mut().remove(&id)
    }

    /// Counts what a request used whose stream is over.
    pub(crate) fn count(&self, stream: &Stream<'_>, used: &Used) {
        let mut meter = self.plugin.metrics.with(stream);
        used.count(&mut self.rests.borrow_mut(), &mut meter);
        if !used.charges.is_empty() {
            count_evicted(used.charge(&self.gate.borrow(), now()), &mut meter);
            self.settle();
        }
    }

    /// Has the main thread settle what a request has left to settle, if it has.
    pub(crate) fn settle(&self) {
        if self.gate.borrow().is_to_settle() {
            self.plugin.settle();
        }
    }

    /// Tells the gate and the operator that a backend rejected an identity token.
    pub(crate) fn report_rejection(&self, stream: &Stream<'_>, rejected: &Rejected) {
        let now = now();
        let Rejected { identity, said } = rejected;
        let rejection = self.gate.borrow_mut().rejected_upstream(*identity, said, now);
        let Some(rejection) = rejection else { return };
        rejection.count(&mut self.plugin.metrics.with(stream));
        write(rejection.line());
        self.drive(now);
    }

    /// Has this worker called when the gate is to be asked again, if anybody waits.
    fn set_bell(&self, now: SystemTime) {
        if self.parked.get() > 0 {
            self.plugin.bells.ring_worker_at(self.id, instant(self.next_wake.get(), now));
        }
    }
}
