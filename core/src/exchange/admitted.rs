//! The answer to an admitted request.

use super::Exchange;
use super::accounting::{Accounting, Used};
use super::replaced::ReplacedAnswer;
use crate::denial::Denial;
use crate::http::Reply;
use crate::identity::IdentityIndex;
use crate::limit::Allowance;

/// What is kept of an admitted request until its answer is over. Of others it is empty.
#[derive(Debug, Default)]
pub struct Admitted {
    /// The identity whose token the request carries.
    identity: Option<IdentityIndex>,
    /// The account of its answer, if that is counted.
    accounting: Option<Accounting>,
    /// What is left of limits, for the head of the answer.
    allowances: Vec<Allowance>,
    /// The answer, if it is that of a backend which rejected the identity token.
    replaced: Option<ReplacedAnswer>,
}

/// Says what becomes of the head of an answer.
#[derive(Debug)]
pub enum ResponseHead {
    /// It passes.
    Passes,
    /// This reply takes the place of the whole answer.
    Replaced(Rejected, Reply),
}

/// Says that a backend rejected an identity token.
#[derive(Debug, Eq, PartialEq)]
pub struct Rejected {
    /// The identity.
    pub identity: IdentityIndex,
    /// What the backend said of it, as far as it is worth reading.
    pub said: Vec<u8>,
}

impl Admitted {
    pub(super) fn new(
        identity: Option<IdentityIndex>,
        accounting: Option<Accounting>,
        allowances: Vec<Allowance>,
    ) -> Self {
        Self { identity, accounting, allowances, replaced: None }
    }

    /// Returns true if it is counted what the request uses.
    pub fn is_counted(&self) -> bool {
        self.accounting.is_some()
    }

    /// Takes a part of the request's body, or all that has come of it.
    pub fn request_body(&mut self, exchange: &impl Exchange, is_last: bool) {
        if let Some(accounting) = &mut self.accounting {
            accounting.request_body(exchange, is_last);
        }
    }

    /// Returns true if the request's body is cut short now that trailers have come: nothing can be
    /// added to it any more. The request is to be refused.
    pub fn cuts_request(&self) -> bool {
        self.accounting.as_ref().is_some_and(Accounting::cuts_request)
    }

    /// Takes the head of the answer, and tells the caller in it what is left of limits, in place of
    /// what the backend says of all callers together. A backend's 401 is not passed on: the caller
    /// would take it for a word about its own token.
    pub fn response_head(&mut self, exchange: &impl Exchange, is_last: bool) -> ResponseHead {
        for (name, value) in self.allowances.drain(..).flat_map(|allowance| allowance.headers()) {
            _ = exchange.set_response_header(name, value.as_bytes());
        }
        if self.identity.is_none() && self.accounting.is_none() {
            return ResponseHead::Passes;
        }
        let status = exchange.response_header(":status").unwrap_or_default();
        if let Some(accounting) = &mut self.accounting {
            let is_success = status.starts_with(b"2") && exchange.is_from_upstream();
            accounting.response_head(exchange, is_success, is_last);
        }
        let is_rejection = || status == b"401" && exchange.is_from_upstream();
        let Some(identity) = self.identity.take_if(|_| is_rejection()) else {
            return ResponseHead::Passes;
        };
        let denial = Denial::IdentityRejected;
        exchange.record_reason(denial.code());
        if is_last {
            let rejected = Rejected { identity, said: Vec::new() };
            return ResponseHead::Replaced(rejected, denial.reply());
        }
        self.replaced = Some(ReplacedAnswer::begin(identity, denial.reply(), exchange));
        ResponseHead::Passes
    }

    /// Takes a part of the answer. Returns once what the backend has said of an identity, if it
    /// rejected that and has said enough.
    pub fn response_body(&mut self, exchange: &impl Exchange, is_last: bool) -> Option<Rejected> {
        if let Some(accounting) = &mut self.accounting {
            accounting.response_body(exchange, is_last);
        }
        let has_said_enough = self.replaced.as_mut()?.replace(exchange);
        if has_said_enough || is_last { self.rejected() } else { None }
    }

    /// Takes note that the answer ends with trailers.
    pub fn response_trailers(&mut self) {
        if let Some(accounting) = &mut self.accounting {
            accounting.response_trailers();
        }
    }

    /// Returns once, for an answer that is over, what the backend has said of an identity that it
    /// rejected.
    pub fn rejected(&mut self) -> Option<Rejected> {
        self.replaced.as_mut()?.rejected()
    }

    /// Records what was used, and returns it once, if it is counted. The stream is over, however it
    /// has ended.
    pub fn close(&mut self, exchange: &impl Exchange) -> Option<Used> {
        Some(self.accounting.take()?.close(exchange))
    }
}
