//! The requests that wait: for keys, for an identity token, or for the rest of their bodies.

use std::time::{Duration, SystemTime};

use super::admission::Admission;
use super::decision::{Awaited, MAX_WAIT, Stop};
use super::trace::NoTrace;
use super::{ALREADY_TRYING, Decided, Decision, Fetch, Forward, Progress, Record, StreamId, Wait};
use crate::body::{self, Format};
use crate::denial::Denial;
use crate::fetch::after;
use crate::policy::{Deployment, DeploymentPlace, RouteIndex};
use crate::request::Head;

/// A request as it arrived, and what was found out about it since.
pub(super) struct Request {
    pub(super) arrived: SystemTime,
    pub(super) body: Body,
    pub(super) head: Head,
    /// The route that was found for it.
    pub(super) route: Option<RouteIndex>,
}

/// What is known of a request's body.
pub(super) enum Body {
    /// Nothing yet.
    Awaited,
    /// The model that it names, if it names one.
    Read(Result<Option<String>, Denial>),
}

/// The requests that wait, in the order of their arrival.
#[derive(Default)]
pub(super) struct WaitingList {
    list: Vec<Waiting>,
    /// More requests were ready than were released at the last time.
    is_crowded: bool,
}

/// A request that cannot be decided yet.
struct Waiting {
    stream: StreamId,
    request: Request,
    /// True while the host holds the beginning of its body and awaits the rest. Then it can go on
    /// only when the next part comes: Envoy loses a part, or all, if it is resumed in between.
    is_midway: bool,
    /// True if the host holds any of its body, which then passes unseen if it is not decided by
    /// [`WaitingList::body`].
    has_body: bool,
    wait: Wait,
    record: Record,
    until: SystemTime,
}

/// How many requests are released at a time. Envoy carries out what is done to one stream inside of
/// what it does for the one before: several hundred overflow the stack, and the VM traps.
const MAX_RELEASED_PER_TICK: usize = 32;

/// How long a body may take from its request's arrival to its end.
const MAX_BODY_TIME: Duration = Duration::from_mins(1);

impl Request {
    pub(super) fn new(head: Head, now: SystemTime) -> Self {
        let body = if head.has_body() { Body::Awaited } else { Body::Read(Ok(None)) };
        Self { arrived: now, body, head, route: None }
    }
}

impl Body {
    pub(super) fn deployment(&self) -> Deployment<'_> {
        match self {
            Self::Awaited | Self::Read(Err(_)) => Deployment::Unread,
            Self::Read(Ok(model)) => model.as_deref().into(),
        }
    }

    /// Says why the deployment is not known; what can be told from the head, is.
    pub(super) fn stop(&self, head: &Head) -> Stop {
        match self {
            Self::Awaited => {
                Format::of(head).map_or_else(Stop::Deny, |_| Stop::Wait(Wait::for_body()))
            }
            Self::Read(Err(denial)) => Stop::Deny(denial.clone()),
            Self::Read(Ok(_)) => Stop::Deny(Denial::ModelMissing),
        }
    }
}

impl WaitingList {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Keeps a request until [`WaitingList::release`] or [`WaitingList::body`] decides it; where
    /// there is no room for it, it is refused.
    pub(super) fn keep(
        &mut self,
        stream: StreamId,
        mut request: Request,
        decided: Decided,
        admission: &mut Admission,
        now: SystemTime,
    ) -> Decided {
        let Decision::Wait(wait) = &decided.decision else { return decided };
        if self.list.len() >= wait.room {
            let full = match wait.on {
                Awaited::Body => Denial::TooManyWaiting { retry_after: ALREADY_TRYING },
                Awaited::Fetch(..) | Awaited::Readiness => wait.otherwise.clone(),
            };
            return admission.give_up(&mut request, &full, decided.record, now);
        }
        admission.is_awake = true;
        let (wait, record) = (wait.clone(), decided.record.clone());
        let until = after(wait.longest(), now);
        self.list.push(Waiting {
            stream,
            request,
            is_midway: false,
            has_body: false,
            wait,
            record,
            until,
        });
        decided
    }

    /// Takes note of a part of a request's body; `read` gives all of it that has come.
    pub(super) fn body(
        &mut self,
        stream: StreamId,
        is_last: bool,
        read: impl FnOnce() -> Vec<u8>,
        admission: &mut Admission,
        now: SystemTime,
    ) -> Progress {
        let Some(at) = self.list.iter().position(|waiting| waiting.stream == stream) else {
            return Progress::Free;
        };
        let Some(waiting) = self.list.get_mut(at) else { return Progress::Free };
        match waiting.proceed(is_last, read, admission, now) {
            None => Progress::Held,
            Some(decided) => {
                self.list.remove(at);
                Progress::Decided(Box::new(decided))
            }
        }
    }

    /// Decides the requests that can be decided now, or have waited too long: as many as a host can
    /// let go at a time, and those that came first before the others.
    pub(super) fn release(
        &mut self,
        admission: &mut Admission,
        now: SystemTime,
    ) -> Vec<(StreamId, Decided)> {
        let mut released = Vec::new();
        self.is_crowded = false;
        self.list.retain_mut(|waiting| {
            if !waiting.is_overdue(now) && !waiting.is_ready(admission, now) {
                return true;
            }
            if released.len() >= MAX_RELEASED_PER_TICK {
                self.is_crowded = true;
                return true;
            }
            let decided = waiting.decide(admission, now).map(|decided| waiting.unasked(decided));
            let is_decided = decided.is_some();
            released.extend(decided.map(|decided| (waiting.stream, decided)));
            !is_decided
        });
        released
    }

    /// Drops a request whose stream is gone.
    pub(super) fn forget(&mut self, stream: StreamId) {
        self.list.retain(|waiting| waiting.stream != stream);
    }

    /// Returns true if [`WaitingList::release`] is worth asking again at once.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// Returns when each request has waited too long.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = SystemTime> {
        self.list.iter().map(|waiting| waiting.until)
    }
}

impl Waiting {
    /// Returns true if what the request waits for was fetched again since; what waits for its body
    /// is decided when that comes.
    fn is_ready(&self, admission: &Admission, now: SystemTime) -> bool {
        !self.is_midway && self.is_settled(admission, now)
    }

    /// Takes back that the body is to be changed, if it has come already.
    fn unasked(&self, mut decided: Decided) -> Decided {
        if self.has_body
            && let Decision::Forward(Forward { account: Some(account), .. }) = &mut decided.decision
        {
            account.is_asked = false;
        }
        decided
    }

    fn is_settled(&self, admission: &Admission, now: SystemTime) -> bool {
        match self.wait.on {
            Awaited::Body => false,
            Awaited::Fetch(Fetch::Identity(index), ended) => {
                admission.identities.count(index) != ended
            }
            Awaited::Fetch(Fetch::Keys(index), ended) => admission.issuers.count(index) != ended,
            Awaited::Readiness => admission.is_ready(now),
        }
    }

    /// A clock that was set back far must not make a request wait as long as it was set back.
    fn is_overdue(&self, now: SystemTime) -> bool {
        self.until <= now || after(MAX_WAIT.saturating_mul(2), now) < self.until
    }

    /// Decides the request if that is possible now, or if it has waited too long.
    fn decide(&mut self, admission: &mut Admission, now: SystemTime) -> Option<Decided> {
        if self.is_midway {
            let record = std::mem::take(&mut self.record);
            return Some(admission.rules.deny(&Denial::BodyLate, record));
        }
        let decided = self.retry(admission, now);
        if decided.is_some() || !self.is_overdue(now) {
            return decided;
        }
        let record = std::mem::take(&mut self.record);
        Some(admission.give_up(&mut self.request, &self.wait.otherwise, record, now))
    }

    /// Decides from the start, so that there is one way to an admission however often it is walked.
    fn retry(&mut self, admission: &mut Admission, now: SystemTime) -> Option<Decided> {
        // A request that came before the clock was set back has been here at least since now.
        self.request.arrived = self.request.arrived.min(now);
        let decided = admission.decide(&mut self.request, &mut NoTrace, now);
        let Decision::Wait(wait) = decided.decision else { return Some(decided) };
        (self.wait, self.record) = (wait, decided.record);
        None
    }

    /// Notes that a part of the body has come. With the last one the time for keys and an identity
    /// token starts again, and the body is read where the route looks for the model in it.
    fn proceed(
        &mut self,
        is_last: bool,
        read: impl FnOnce() -> Vec<u8>,
        admission: &mut Admission,
        now: SystemTime,
    ) -> Option<Decided> {
        // Envoy begins a WebSocket with an empty part, and the next one comes after the answer.
        self.is_midway = !is_last && self.request.head.has_body();
        self.has_body = true;
        let until = after(MAX_WAIT, now);
        let latest = after(MAX_BODY_TIME, self.request.arrived);
        self.until = if is_last { until } else { until.min(latest) };
        let is_read = is_last && self.reads_body(admission);
        if is_read {
            let format = Format::of(&self.request.head);
            let model = format.and_then(|format| body::model(&format, &read()));
            self.request.body = Body::Read(model);
        }
        if is_read || self.is_settled(admission, now) { self.retry(admission, now) } else { None }
    }

    /// Returns true if the body says which deployment the request is for, and was not read yet.
    fn reads_body(&mut self, admission: &Admission) -> bool {
        let Request { body: Body::Awaited, head, route, .. } = &mut self.request else {
            return false;
        };
        let found = head.path().ok().and_then(|path| admission.rules.find(head, path, route));
        found.is_some_and(|found| found.route.deployment == DeploymentPlace::Body)
    }
}
