//! What the gate decides about a request.

use std::fmt;
use std::rc::Rc;

use super::Forward;
use crate::denial::{Denial, Reply};

/// Says what becomes of a request, and what is to be recorded of it.
#[derive(Debug)]
pub struct Ruling {
    /// What becomes of the request.
    pub verdict: Verdict,
    /// What operators see of it.
    pub record: Record,
}

/// Says what becomes of a request. All that is not [`Verdict::Forward`] is a refusal.
#[derive(Debug)]
pub enum Verdict {
    /// It goes no further; the caller gets this reply.
    Deny(Reply),
    /// It goes on, changed like this.
    Forward(Forward),
}

/// Holds what operators see of a ruling: names from the configuration, and claims only of tokens
/// that were verified.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Record {
    /// `ok`, `public`, or the code of the denial.
    pub reason: &'static str,
    /// The name of the issuer's entry.
    pub issuer: Option<Rc<str>>,
    /// The name of the route.
    pub route: Option<Rc<str>>,
    /// The calling application.
    pub client: Option<String>,
    /// The token's `sub`.
    pub subject: Option<String>,
    /// The deployment that an admitted request is for.
    pub deployment: Option<String>,
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Record({} on {:?})", self.reason, self.route)
    }
}

impl Ruling {
    pub(super) fn deny(denial: &Denial, mut record: Record) -> Self {
        record.reason = denial.code();
        Self { verdict: Verdict::Deny(denial.reply()), record }
    }

    pub(super) fn forward(forward: Forward, record: Record) -> Self {
        Self { verdict: Verdict::Forward(forward), record }
    }
}
