//! What the gate decides about a request.

use std::fmt;
use std::rc::Rc;

use super::Forward;
use crate::denial::Denial;
use crate::http::Reply;
use crate::jwt::Verified;
use crate::metadata::ProtectedResource;

/// Says what becomes of a request, and what is to be recorded of it.
#[derive(Debug)]
pub struct Ruling {
    /// What becomes of the request.
    pub verdict: Verdict,
    /// What operators see of it.
    pub record: Record,
}

/// Says what becomes of a request. Nothing but [`Verdict::Forward`] goes on.
#[derive(Debug)]
pub enum Verdict {
    /// The gateway itself answers it, with this reply.
    Answer(Reply),
    /// It goes no further; the caller gets this reply.
    Deny(Reply),
    /// It goes on, changed like this.
    Forward(Forward),
}

/// Holds what operators see of a ruling: names from the configuration, and claims only of tokens
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
}

impl Verdict {
    /// Returns the word for it in filter state and counters.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Answer(reply) if reply.status >= 400 => "refused",
            Self::Answer(_) | Self::Forward(_) => "admitted",
            Self::Deny(_) => "refused",
        }
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

impl Ruling {
    /// Refuses; a challenge points to the description of the gateway, if there is one.
    pub(super) fn deny(
        denial: &Denial,
        mut record: Record,
        resource: Option<&ProtectedResource>,
    ) -> Self {
        record.reason = denial.code();
        let reply = denial.reply();
        let reply = match resource {
            Some(resource) => reply.pointing_to(&resource.url),
            None => reply,
        };
        Self { verdict: Verdict::Deny(reply), record }
    }
}
