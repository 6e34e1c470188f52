//! A backend's 401 to the gateway's identity: the caller gets another answer in its place, and what
//! the backend says is kept for the operator.
//!
//! Nothing is held back on the way: the head is replaced at once, and the body as it comes. Envoy
//! gives a Wasm filter no body while the head is paused.

use super::{Body, Exchange, Rejected};
use crate::http::Reply;
use crate::identity::IdentityIndex;

/// One answer that is being replaced.
#[derive(Debug)]
pub(super) struct ReplacedAnswer {
    /// The identity that was rejected, until the operator knows.
    identity: Option<IdentityIndex>,
    /// What the backend has said so far, as far as it is worth reading.
    said: Vec<u8>,
    /// The body for the caller, until it is sent.
    body: Option<String>,
}

/// How much of a backend's explanation is read, in bytes.
const MAX_SAID: usize = 4096;

impl ReplacedAnswer {
    /// Replaces the head. Its length is left open, since a body that never comes is not replaced.
    pub(super) fn begin(identity: IdentityIndex, reply: Reply, exchange: &impl Exchange) -> Self {
        for (name, _) in exchange.response_headers() {
            if !name.starts_with(':') {
                _ = exchange.remove_response_header(&name);
            }
        }
        _ = exchange.set_response_header(":status", reply.status.to_string().as_bytes());
        for (name, value) in &reply.headers {
            _ = exchange.set_response_header(name, value.as_bytes());
        }
        Self { identity: Some(identity), said: Vec::new(), body: Some(reply.body) }
    }

    /// Replaces a part of the body; true if the backend has said enough.
    pub(super) fn replace(&mut self, exchange: &impl Exchange) -> bool {
        if self.identity.is_some() {
            let most = MAX_SAID.saturating_sub(self.said.len());
            self.said.extend(exchange.part(Body::Response, most));
        }
        let ours = self.body.take().unwrap_or_default();
        exchange.replace_part(Body::Response, ours.as_bytes());
        self.said.len() >= MAX_SAID
    }

    /// Returns what the backend has said, once.
    pub(super) fn rejected(&mut self) -> Option<Rejected> {
        let identity = self.identity.take()?;
        Some(Rejected { identity, said: std::mem::take(&mut self.said) })
    }
}
