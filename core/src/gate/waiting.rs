//! The requests that wait: for keys, for an identity token, or for the rest of their bodies.

use std::time::{Duration, SystemTime};

use super::{ALREADY_TRYING, Fetch, Record, Ruling, Stop, StreamId};
use crate::body::{self, Format};
use crate::denial::Denial;
use crate::policy::Deployment;
use crate::refresh::{Refresh, after};
use crate::request::Head;

/// A request that cannot be decided yet, as it arrived.
pub(super) struct Waiting {
    pub(super) stream: StreamId,
    pub(super) head: Head,
    pub(super) content: Content,
    pub(super) arrived: SystemTime,
    /// True while the host holds the beginning of its body and awaits the rest. Then it can go on
    /// only when the next part comes: Envoy loses a part, or all, if it is resumed in between.
    pub(super) is_midway: bool,
    pub(super) pending: Box<Pending>,
    until: SystemTime,
}

/// What a request waits for, and what it is told if that does not come in time.
pub(super) struct Pending {
    /// The fetch, and how many of this thing had ended when the wait began; one more is worth a
    /// look. Without one, it is the body.
    pub(super) fetch: Option<(Fetch, u64)>,
    pub(super) otherwise: Denial,
    pub(super) record: Record,
    /// It may wait only if fewer than this are waiting.
    pub(super) room: usize,
}

/// What is known of a request's body.
pub(super) enum Content {
    /// Nothing yet.
    Awaited,
    /// The model that it names, if it names one.
    Read(Result<Option<String>, Denial>),
}

/// How long a request may wait for keys and an identity token, all in all, and for the next part of
/// its body.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a body may take from its request's arrival to its end.
const LONGEST_BODY: Duration = Duration::from_mins(1);

/// How many requests of one thread may wait; each is held with its headers.
const MAX_WAITING: usize = 1024;

impl Waiting {
    pub(super) fn new(
        stream: StreamId,
        head: Head,
        content: Content,
        pending: Box<Pending>,
        now: SystemTime,
    ) -> Self {
        let until = after(PATIENCE, now);
        Self { stream, head, content, arrived: now, is_midway: false, pending, until }
    }

    /// Notes that a part of the body has come; with the last one the wait for keys and an identity
    /// token begins anew.
    pub(super) fn proceed(&mut self, is_last: bool, now: SystemTime) {
        self.is_midway = !is_last;
        let until = after(PATIENCE, now);
        self.until = if is_last { until } else { until.min(after(LONGEST_BODY, self.arrived)) };
    }

    /// A clock that was set back far must not make a request wait as long as it was set back.
    pub(super) fn is_overdue(&self, now: SystemTime) -> bool {
        self.until <= now || after(PATIENCE.saturating_mul(2), now) < self.until
    }

    /// Returns when it has waited too long.
    pub(super) fn until(&self) -> SystemTime {
        self.until
    }

    /// Gives up a request of whose body the host holds the beginning only.
    pub(super) fn interrupt(&self) -> Ruling {
        Ruling::deny(&Denial::BodyLate, self.pending.record.clone(), None)
    }
}

impl Pending {
    pub(super) fn of<T>(fetch: Fetch, refresh: &Refresh<T>, otherwise: Denial) -> Self {
        let fetch = Some((fetch, refresh.count()));
        Self { fetch, otherwise, record: Record::default(), room: MAX_WAITING }
    }

    /// Waits for the body.
    pub(super) fn body() -> Self {
        let (otherwise, record) = (Denial::BodyLate, Record::default());
        Self { fetch: None, otherwise, record, room: MAX_WAITING }.doubtful()
    }

    /// Leaves half of the room to others: a forged token can make this wait, too, or a caller that
    /// sends its body slowly.
    pub(super) fn doubtful(self) -> Self {
        Self { room: MAX_WAITING.div_euclid(2), ..self }
    }

    /// Says what a request is told for which there is no room.
    pub(super) fn turn_away(self) -> (Denial, Record) {
        let full = Denial::TooManyWaiting { retry_after: ALREADY_TRYING };
        (if self.fetch.is_some() { self.otherwise } else { full }, self.record)
    }
}

impl Content {
    /// Says what is known as soon as the head has come.
    pub(super) fn of(head: &Head) -> Self {
        if head.has_body() { Self::Awaited } else { Self::Read(Ok(None)) }
    }

    /// Reads the whole body.
    pub(super) fn read(head: &Head, body: &[u8]) -> Self {
        Self::Read(Format::of(head).and_then(|format| body::model(&format, body)))
    }

    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Awaited => true,
            Self::Read(_) => false,
        }
    }

    pub(super) fn deployment(&self) -> Deployment<'_> {
        match self {
            Self::Awaited | Self::Read(Err(_)) => Deployment::Unread,
            Self::Read(Ok(model)) => model.as_deref().into(),
        }
    }

    /// Says why the deployment is not known; what can be told from the head, is.
    pub(super) fn stop(&self, head: &Head) -> Stop {
        match self {
            Self::Awaited => Format::of(head).map_or_else(Stop::Deny, |_| Stop::BodyMissing),
            Self::Read(Err(denial)) => Stop::Deny(denial.clone()),
            Self::Read(Ok(_)) => Stop::Deny(Denial::ModelMissing),
        }
    }
}
