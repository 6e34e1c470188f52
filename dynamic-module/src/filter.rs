//! One request, from its head to the end of its answer.
//!
//! Envoy may call a hook of a stream while another one of it sends a reply or lets the request go on.
//! So nothing is borrowed over those two calls.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

use keyless_core::body;
use keyless_core::denial::Denial;
use keyless_core::exchange::{Admitted, Applied, Outcome, Rejected, ResponseHead};
use keyless_core::gate::{Decided, Decision, Progress, Record, StreamId};
use keyless_core::request::Head;

use crate::abi::{Body, Map, Stream};
use crate::exchange::{Facts, StreamExchange};
use crate::now;
use crate::plugin::{CallReport, Handle};
use crate::worker::Worker;

/// One request.
#[derive(Debug)]
pub(crate) struct Filter {
    id: StreamId,
    /// Absent if it could not be made on this thread: there was a panic, or the configuration cannot be
    /// parsed here, which it could on the main one.
    worker: Option<Rc<Worker>>,
    facts: Facts,
    /// It waits, and the bells have it.
    is_parked: Cell<bool>,
    admitted: RefCell<Admitted>,
    /// The verdict is written, and cannot be written again.
    is_recorded: Cell<bool>,
}

/// What becomes of a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HeadStatus {
    Continue,
    /// It is held, and the parts of the body are shown.
    Stop,
    /// It is held, and so is the body.
    StopAll,
}

/// What becomes of a part of a body, or of trailers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BodyStatus {
    Continue,
    Stop,
}

impl Filter {
    pub(crate) fn new(handle: &Handle) -> Self {
        Self::with(handle, Worker::of(handle.plugin()))
    }

    /// Makes one that refuses, because there is no gate for it.
    pub(crate) fn refusing(handle: &Handle) -> Self {
        Self::with(handle, None)
    }

    fn with(handle: &Handle, worker: Option<Rc<Worker>>) -> Self {
        if worker.is_none() {
            handle.plugin().report(CallReport::NoGate);
        }
        Self {
            id: worker.as_ref().map_or(0, |worker| worker.number()),
            worker,
            facts: Facts::new(),
            is_parked: Cell::new(false),
            admitted: RefCell::default(),
            is_recorded: Cell::new(false),
        }
    }

    pub(crate) fn request_head(&self, stream: &Stream<'_>, is_last: bool) -> HeadStatus {
        let Some(worker) = &self.worker else {
            stream.reply(&Denial::GatewayError.reply());
            return HeadStatus::Stop;
        };
        let pairs = stream.headers(Map::RequestHeaders);
        let head = Head::new(pairs);
        let head = if is_last { head.without_body() } else { head };
        let now = now();
        worker.catch_up(stream, now);
        let decided = worker.gate.borrow_mut().admit(self.id, head, now);
        if let Decision::Wait(_) = decided.decision {
            return self.wait(worker, stream, now);
        }
        if let Decision::Respond(_) = decided.decision {
            // A probe may have found that something is to be fetched.
            worker.drive(now);
        }
        self.apply(worker, stream, decided)
    }

    pub(crate) fn request_body(&self, stream: &Stream<'_>, is_last: bool) -> BodyStatus {
        let Some(worker) = &self.worker else { return BodyStatus::Stop };
        let is_held = self.is_parked.get();
        let status = self.proceed(worker, stream, is_last, true);
        let mut admitted = self.admitted.borrow_mut();
        if status == BodyStatus::Continue && admitted.is_counted() {
            let is_held_apart = is_held && !stream.was_held();
            let exchange = StreamExchange { is_held_apart, ..self.exchange(stream) };
            exchange.count_request_part();
            admitted.request_body(&exchange, is_last);
        }
        status
    }

    pub(crate) fn request_trailers(&self, stream: &Stream<'_>) -> BodyStatus {
        let Some(worker) = &self.worker else { return BodyStatus::Stop };
        for (name, _) in stream.headers(Map::RequestTrailers) {
            let is_stripped = worker.gate.borrow().strips_trailer(&name);
            if is_stripped && stream.remove(Map::RequestTrailers, &name).is_err() {
                return self.fail(worker, stream);
            }
        }
        let status = self.proceed(worker, stream, true, false);
        let is_cut = self.admitted.borrow().cuts_request();
        if is_cut { self.fail(worker, stream) } else { status }
    }

    pub(crate) fn response_head(&self, stream: &Stream<'_>, is_last: bool) -> HeadStatus {
        let Some(worker) = &self.worker else { return HeadStatus::Continue };
        let head = self.admitted.borrow_mut().response_head(&self.exchange(stream), is_last);
        match head {
            ResponseHead::Passes => HeadStatus::Continue,
            ResponseHead::Replaced(rejected, reply) => {
                worker.report_rejection(stream, &rejected);
                stream.reply(&reply);
                HeadStatus::Stop
            }
        }
    }

    pub(crate) fn response_body(&self, stream: &Stream<'_>, is_last: bool) {
        let exchange = self.exchange(stream);
        let rejected = self.admitted.borrow_mut().response_body(&exchange, is_last);
        self.report_rejection(stream, rejected);
    }

    pub(crate) fn response_trailers(&self) {
        self.admitted.borrow_mut().response_trailers();
    }

    /// Takes note that no backend answers.
    pub(crate) fn local_reply(&self) {
        self.facts.is_local.set(true);
    }

    /// Ends the stream, before the access log is written.
    pub(crate) fn complete(&self, stream: &Stream<'_>) {
        let exchange = self.exchange(stream);
        exchange.write_reason();
        let mut admitted = self.admitted.borrow_mut();
        self.report_rejection(stream, admitted.rejected());
        if let (Some(worker), Some(used)) = (&self.worker, admitted.close(&exchange)) {
            worker.count(stream, &used);
        }
    }

    /// Does what is due on this thread, and goes on if that has decided this request.
    pub(crate) fn called(&self, stream: &Stream<'_>) {
        let Some(worker) = &self.worker else { return };
        worker.plugin.count_reports(stream);
        worker.drive(now());
        if let Some(decided) = worker.decided(self.id)
            && self.apply(worker, stream, decided) == HeadStatus::Continue
        {
            stream.go_on();
        }
    }

    /// Refuses the request because a hook has panicked, whatever it has written before.
    pub(crate) fn refuse_after_panic(&self, stream: &Stream<'_>) {
        if let Some(worker) = &self.worker {
            worker.abandon();
            self.leave(worker);
            _ = self.fail(worker, stream);
        }
    }

    /// Counts that a hook has panicked after which nobody can be refused any more.
    pub(crate) fn count_panic(&self, stream: &Stream<'_>) {
        if let Some(worker) = &self.worker {
            worker.abandon();
            worker.plugin.count_failed(stream);
        }
    }

    /// Parks a request that cannot be decided now.
    fn wait(&self, worker: &Worker, stream: &Stream<'_>, now: SystemTime) -> HeadStatus {
        // Another worker may have what is missing here.
        worker.drive(now);
        if let Some(decided) = worker.decided(self.id) {
            return self.apply(worker, stream, decided);
        }
        worker.park(self.id, stream, now);
        self.is_parked.set(true);
        if worker.gate.borrow().reads_bodies() { HeadStatus::Stop } else { HeadStatus::StopAll }
    }

    /// Carries out a decision on this stream.
    fn apply(&self, worker: &Worker, stream: &Stream<'_>, decided: Decided) -> HeadStatus {
        self.leave(worker);
        self.carry_out(worker, stream, Applied::new(decided, &self.exchange(stream)))
    }

    /// Refuses the request because Envoy failed.
    fn fail(&self, worker: &Worker, stream: &Stream<'_>) -> BodyStatus {
        self.carry_out(worker, stream, Applied::failed(Record::default()));
        BodyStatus::Stop
    }

    fn carry_out(&self, worker: &Worker, stream: &Stream<'_>, applied: Applied) -> HeadStatus {
        applied.record.count(applied.verdict, &mut worker.plugin.metrics.with(stream));
        worker.settle();
        if self.is_recorded.replace(true) {
            self.facts.reason.set(Some(applied.record.reason));
        } else {
            applied.record(&self.exchange(stream));
        }
        *self.admitted.borrow_mut() = applied.admitted;
        match applied.outcome {
            Outcome::GoesOn => HeadStatus::Continue,
            Outcome::Reply(reply) => {
                stream.reply(&reply);
                HeadStatus::Stop
            }
            Outcome::Waits => HeadStatus::Stop,
        }
    }

    /// Asks what to do with a part of the body, or with trailers, of a request that waits. Only where
    /// routes look for the model in the body does Envoy show it before the request goes on.
    fn proceed(
        &self,
        worker: &Worker,
        stream: &Stream<'_>,
        is_last: bool,
        is_body: bool,
    ) -> BodyStatus {
        if !self.is_parked.get() {
            return BodyStatus::Continue;
        }
        let decided = worker.decided(self.id).map(Box::new);
        let now = now();
        let progress = decided.map_or_else(
            || {
                let read = || whole_body(stream, is_body);
                worker.gate.borrow_mut().body(self.id, is_last, read, now)
            },
            Progress::Decided,
        );
        match progress {
            Progress::Decided(decided) => match self.apply(worker, stream, *decided) {
                HeadStatus::Continue => BodyStatus::Continue,
                HeadStatus::Stop | HeadStatus::StopAll => BodyStatus::Stop,
            },
            Progress::Free => BodyStatus::Continue,
            Progress::Held => {
                worker.drive(now);
                BodyStatus::Stop
            }
        }
    }

    /// Passes on what a backend has said of an identity that it rejected.
    fn report_rejection(&self, stream: &Stream<'_>, rejected: Option<Rejected>) {
        if let (Some(worker), Some(rejected)) = (&self.worker, rejected) {
            worker.report_rejection(stream, &rejected);
        }
    }

    fn exchange<'hook>(&'hook self, stream: &'hook Stream<'hook>) -> StreamExchange<'hook> {
        StreamExchange { stream, facts: &self.facts, is_held_apart: false }
    }

    /// Takes the stream out of its place among those that wait.
    fn leave(&self, worker: &Worker) {
        if self.is_parked.replace(false) {
            worker.leave(self.id);
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.as_ref().filter(|_| self.is_parked.get()) {
            worker.forget(self.id);
        }
    }
}

/// Reads all that has come of the request's body.
fn whole_body(stream: &Stream<'_>, is_body: bool) -> Vec<u8> {
    let most = body::MAX_BODY.saturating_add(1);
    if is_body && stream.was_held() {
        return stream.body(Body::Request, most);
    }
    let mut whole = stream.body(Body::HeldRequest, most);
    if is_body {
        let room = most.saturating_sub(whole.len());
        whole.extend(stream.body(Body::Request, room));
    }
    whole
}
