//! What the gate decides about a request.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::{ALREADY_TRYING, Check, Fetch, Forward};
use crate::denial::Denial;
use crate::http::Reply;
use crate::jwt::Verified;

/// Holds what becomes of a request, and what operators see of it.
#[derive(Debug)]
pub struct Decided {
    /// What becomes of the request.
    pub decision: Decision,
    /// What operators see of it.
    pub record: Record,
}

/// Says what becomes of a request. Nothing but [`Decision::Forward`] reaches a backend.
#[derive(Debug)]
pub enum Decision {
    /// The request is refused with this reply.
    Deny(Reply),
    /// The request goes on, changed like this.
    Forward(Forward),
    /// The gateway itself answers: a probe, or the metadata of the protected resource.
    Respond(Reply),
    /// The request cannot be decided yet.
    Wait(Wait),
}

/// Says what a request waits for, and what it is told if that does not come in time.
#[derive(Clone, Debug)]
pub struct Wait {
    /// What has to come.
    pub(super) on: Awaited,
    /// The denial if it does not come in time.
    pub(super) otherwise: Denial,
    /// The request may wait only if fewer than this many do.
    pub(super) room: usize,
}

/// Names what a request waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Awaited {
    /// The end of its body, which names the model.
    Body,
    /// A fetch; the number is how many of it had ended when the wait began.
    Fetch(Fetch, u64),
    /// All key sets and identity tokens; it is a probe.
    Readiness,
}

/// Says why a request does not go on now. It is the only error of the steps of a decision.
#[derive(Debug)]
pub(super) enum Stop {
    Deny(Denial),
    Respond(Reply),
    Wait(Wait),
}

/// Holds what operators see of a decision: names from the configuration, and claims only of tokens
/// that were verified.
#[derive(Clone, Default)]
pub struct Record {
    /// `ok`, `metadata`, `not_ready`, `preflight`, `public`, `ready`, or the code of the denial.
    pub reason: &'static str,
    /// The name of the issuer's entry.
    pub issuer: Option<Rc<str>>,
    /// The name of the route.
    pub route: Option<Rc<str>>,
    /// What the issuer vouched for.
    pub verified: Option<Rc<Verified>>,
    /// The deployment that an admitted request is for.
    pub deployment: Option<String>,
    /// The limits that it fell under.
    pub checks: Vec<Check>,
}

/// How long a request may wait for keys and an identity token, all in all, and for the next part of
/// its body.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long a probe waits for a worker that is about to be ready: less than the second after which
/// the kubelet gives up a probe by default.
pub(super) const MAX_PROBE_WAIT: Duration = Duration::from_millis(900);

/// How many requests of one thread may wait; each is held with its headers.
const MAX_WAITING: usize = 1024;

/// How many may wait for what a forged token or a slow caller can cause: half, so that there is room
/// for others.
const MAX_WAITING_DOUBTFUL: usize = MAX_WAITING / 2;

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

impl Stop {
    /// Leaves room for others if it is a wait that a forged token can cause.
    pub(super) fn doubtful(self) -> Self {
        match self {
            Self::Wait(wait) => Self::Wait(Wait { room: MAX_WAITING_DOUBTFUL, ..wait }),
            Self::Deny(_) | Self::Respond(_) => self,
        }
    }
}

impl Decision {
    /// Returns the word for it in filter state and counters.
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Forward(_) => "admitted",
            Self::Respond(reply) if reply.status < 400 => "admitted",
            Self::Deny(_) | Self::Respond(_) | Self::Wait(_) => "refused",
        }
    }
}

impl Wait {
    /// Returns what the request waits for.
    pub fn on(&self) -> Awaited {
        self.on
    }

    /// Returns how long the request may wait before it is decided without what it waits for.
    pub(super) fn longest(&self) -> Duration {
        match self.on {
            Awaited::Body | Awaited::Fetch(..) => MAX_WAIT,
            Awaited::Readiness => MAX_PROBE_WAIT,
        }
    }

    /// Waits for a fetch that will make the request decidable.
    pub(super) fn for_fetch(fetch: Fetch, ended: u64, otherwise: Denial) -> Self {
        Self { on: Awaited::Fetch(fetch, ended), otherwise, room: MAX_WAITING }
    }

    /// Waits for a fetch that may bring nothing new, because the token may be forged.
    pub(super) fn for_doubtful_fetch(fetch: Fetch, ended: u64, otherwise: Denial) -> Self {
        Self { room: MAX_WAITING_DOUBTFUL, ..Self::for_fetch(fetch, ended, otherwise) }
    }

    /// Waits until everything that requests need is cached.
    pub(super) fn for_readiness() -> Self {
        let otherwise = Denial::TooManyWaiting { retry_after: ALREADY_TRYING };
        Self { on: Awaited::Readiness, otherwise, room: MAX_WAITING_DOUBTFUL }
    }

    /// Waits for the end of the body.
    pub(super) fn for_body() -> Self {
        Self { on: Awaited::Body, otherwise: Denial::BodyLate, room: MAX_WAITING_DOUBTFUL }
    }
}

impl Record {
    /// Returns the calling application.
    pub fn client(&self) -> Option<&str> {
        self.verified.as_ref()?.claims().client()
    }

    /// Returns the token's `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.verified.as_ref()?.claims().text("sub")
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        let seen = |record: &Self| (record.reason, record.issuer.clone(), record.route.clone());
        seen(self) == seen(other)
            && self.client() == other.client()
            && self.subject() == other.subject()
            && self.deployment == other.deployment
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Record({} on {:?})", self.reason, self.route)
    }
}
