//! One request, from its head to the end of its answer.
//!
//! Envoy may call a hook of a stream while another one of it sends a reply or lets the request go on.
//! So nothing is borrowed over those two calls.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use keyless_core::body;
use keyless_core::denial::Denial;
use keyless_core::gate::{Decided, Decision, Progress, Record, StreamId};
use keyless_core::identity::IdentityIndex;
use keyless_core::limit::Allowance;
use keyless_core::request::Head;

use crate::abi::{Attribute, Body, Map, Stream};
use crate::accounting::Accounting;
use crate::now;
use crate::outcome::{self, Applied, End};
use crate::plugin::Handle;
use crate::upstream_rejection::ReplacedAnswer;
use crate::worker::Worker;

/// One request.
#[derive(Debug)]
pub(crate) struct Filter {
    id: StreamId,
    /// Absent if the configuration cannot be parsed on this thread, which it could on the main one.
    worker: Option<Rc<Worker>>,
    began: Instant,
    /// It waits, and the bells have it.
    is_parked: Cell<bool>,
    /// The identity whose token the request carries.
    identity: Cell<Option<IdentityIndex>>,
    /// The account of its answer, if that is counted.
    accounting: RefCell<Option<Accounting>>,
    /// What is left of limits, for the head of the answer.
    allowances: RefCell<Vec<Allowance>>,
    /// Envoy or a filter answers in the place of a backend.
    is_local: Cell<bool>,
    /// The verdict is written, and cannot be written again.
    is_recorded: Cell<bool>,
    /// The reason, until that is written.
    reason: Cell<Option<&'static str>>,
    /// The answer, if it is that of a backend which rejected the identity token.
    replaced: RefCell<Option<ReplacedAnswer>>,
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
        let worker = Worker::of(handle.plugin());
        Self {
            id: worker.as_ref().map_or(0, |worker| worker.number()),
            worker,
            began: Instant::now(),
            is_parked: Cell::new(false),
            identity: Cell::new(None),
            accounting: RefCell::default(),
            allowances: RefCell::default(),
            is_local: Cell::new(false),
            is_recorded: Cell::new(false),
            reason: Cell::new(None),
            replaced: RefCell::default(),
        }
    }

    pub(crate) fn request_head(&self, stream: &Stream<'_>, is_last: bool) -> HeadStatus {
        let Some(worker) = &self.worker else {
            stream.reply(&Denial::GatewayError.reply());
            return HeadStatus::Stop;
        };
        let pairs = stream.headers(Map::RequestHeaders);
        #[cfg(feature = "chaos")]
        crate::chaos::obey("request_headers", &pairs);
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
        #[cfg(feature = "chaos")]
        crate::chaos::obey("request_body", &stream.headers(Map::RequestHeaders));
        let is_held = self.is_parked.get();
        let status = self.proceed(worker, stream, is_last, true);
        if status == BodyStatus::Continue
            && let Some(accounting) = &mut *self.accounting.borrow_mut()
        {
            accounting.request_body(stream, is_held, is_last);
        }
        status
    }

    pub(crate) fn request_trailers(&self, stream: &Stream<'_>) -> BodyStatus {
        let Some(worker) = &self.worker else { return BodyStatus::Stop };
        #[cfg(feature = "chaos")]
        crate::chaos::obey("request_trailers", &stream.headers(Map::RequestHeaders));
        for (name, _) in stream.headers(Map::RequestTrailers) {
            let is_stripped = worker.gate.borrow().strips_trailer(&name);
            if is_stripped && stream.remove(Map::RequestTrailers, &name).is_err() {
                return self.fail(worker, stream);
            }
        }
        let status = self.proceed(worker, stream, true, false);
        let is_cut = self.accounting.borrow().as_ref().is_some_and(Accounting::cuts_request);
        if is_cut { self.fail(worker, stream) } else { status }
    }

    pub(crate) fn response_head(&self, stream: &Stream<'_>, is_last: bool) -> HeadStatus {
        let Some(worker) = &self.worker else { return HeadStatus::Continue };
        #[cfg(feature = "chaos")]
        crate::chaos::obey("response_headers", &stream.headers(Map::RequestHeaders));
        self.tell_allowances(stream);
        let identity = self.identity.get();
        if identity.is_none() && self.accounting.borrow().is_none() {
            return HeadStatus::Continue;
        }
        let status = stream.header(Map::ResponseHeaders, ":status");
        let is_from_upstream = self.is_from_upstream(stream);
        if let Some(accounting) = &mut *self.accounting.borrow_mut() {
            let is_success = status.as_ref().is_some_and(|status| status.starts_with(b"2"));
            accounting.response_head(stream, is_success && is_from_upstream, is_last);
        }
        let is_rejection = status.as_deref() == Some(b"401") && is_from_upstream;
        let Some(identity) = identity.filter(|_| is_rejection) else { return HeadStatus::Continue };
        let denial = Denial::IdentityRejected;
        self.reason.set(Some(denial.code()));
        if is_last {
            worker.report_rejection(stream, identity, &[]);
            self.identity.set(None);
            stream.reply(&denial.reply());
            return HeadStatus::Stop;
        }
        let replaced = ReplacedAnswer::begin(stream, identity, denial.reply());
        *self.replaced.borrow_mut() = Some(replaced);
        HeadStatus::Continue
    }

    pub(crate) fn response_body(&self, stream: &Stream<'_>, is_last: bool) {
        #[cfg(feature = "chaos")]
        crate::chaos::obey("response_body", &stream.headers(Map::RequestHeaders));
        if let Some(accounting) = &mut *self.accounting.borrow_mut() {
            accounting.response_body(stream, is_last, self.began);
        }
        let mut replaced = self.replaced.borrow_mut();
        if let Some(answer) = &mut *replaced
            && (answer.replace(stream) || is_last)
        {
            self.report_rejection(stream, answer);
        }
    }

    pub(crate) fn response_trailers(&self) {
        if let Some(accounting) = &mut *self.accounting.borrow_mut() {
            accounting.response_trailers();
        }
    }

    /// Takes note that no backend answers.
    pub(crate) fn local_reply(&self) {
        self.is_local.set(true);
    }

    /// Ends the stream, before the access log is written.
    pub(crate) fn complete(&self, stream: &Stream<'_>) {
        #[cfg(feature = "chaos")]
        crate::chaos::obey("stream_complete", &stream.headers(Map::RequestHeaders));
        if let Some(reason) = self.reason.take() {
            stream.state("wasm.keyless.reason", reason);
        }
        if let Some(answer) = &mut *self.replaced.borrow_mut() {
            self.report_rejection(stream, answer);
        }
        let accounting = self.accounting.borrow_mut().take();
        if let (Some(worker), Some(accounting)) = (&self.worker, accounting) {
            worker.close(stream, accounting);
        }
    }

    /// Does what is due on this thread, and goes on if that has decided this request.
    pub(crate) fn called(&self, stream: &Stream<'_>) {
        let Some(worker) = &self.worker else { return };
        #[cfg(feature = "chaos")]
        crate::chaos::obey("scheduled", &stream.headers(Map::RequestHeaders));
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
        self.carry_out(worker, stream, outcome::apply(stream, decided))
    }

    /// Refuses the request because Envoy failed.
    fn fail(&self, worker: &Worker, stream: &Stream<'_>) -> BodyStatus {
        self.carry_out(worker, stream, outcome::fail(Record::default()));
        BodyStatus::Stop
    }

    fn carry_out(&self, worker: &Worker, stream: &Stream<'_>, applied: Applied) -> HeadStatus {
        let Applied { end, identity, accounting, allowances, record, verdict } = applied;
        worker.plugin.metrics.count_request(stream, verdict, &record);
        worker.settle();
        self.identity.set(identity);
        *self.accounting.borrow_mut() = accounting;
        *self.allowances.borrow_mut() = allowances;
        self.reason.set(Some(record.reason));
        if !self.is_recorded.replace(true) {
            outcome::record(stream, verdict, &record);
        }
        match end {
            End::GoesOn => HeadStatus::Continue,
            End::Reply(reply) => {
                stream.reply(&reply);
                HeadStatus::Stop
            }
            End::Waits => HeadStatus::Stop,
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

    /// Tells the caller what is left, in place of what the backend says of all callers together.
    fn tell_allowances(&self, stream: &Stream<'_>) {
        let allowances = std::mem::take(&mut *self.allowances.borrow_mut());
        for (name, value) in allowances.iter().flat_map(Allowance::headers) {
            _ = stream.set(Map::ResponseHeaders, name, value.as_bytes());
        }
    }

    /// Returns true if the backend, and no filter in its place, answers. Envoy 1.38 does not say what
    /// the details of the answer are, but that a local reply comes.
    fn is_from_upstream(&self, stream: &Stream<'_>) -> bool {
        let details = stream.attribute(Attribute::ResponseCodeDetails);
        details.map_or(!self.is_local.get(), |details| details == b"via_upstream")
    }

    /// Passes on what the backend has said, once.
    fn report_rejection(&self, stream: &Stream<'_>, answer: &mut ReplacedAnswer) {
        if let (Some(worker), Some(identity)) = (&self.worker, answer.identity.take()) {
            worker.report_rejection(stream, identity, &answer.said);
        }
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
