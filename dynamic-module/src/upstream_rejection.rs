//! A backend's 401 to the gateway's identity: the caller gets another answer in its place, and what
//! the backend says is kept for the operator.
//!
//! Nothing is held back on the way: the head is replaced at once, and the body as it comes.

use keyless_core::http::Reply;
use keyless_core::identity::IdentityIndex;

use crate::abi::{Body, Map, Stream};

/// One answer that is being replaced.
#[derive(Debug)]
pub(crate) struct ReplacedAnswer {
    /// The identity that was rejected, until the operator knows.
    pub(crate) identity: Option<IdentityIndex>,
    /// What the backend has said so far, as far as it is worth reading.
    pub(crate) said: Vec<u8>,
    /// The body for the caller, until it is sent.
    body: Option<String>,
}

/// How much of a backend's explanation is read, in bytes.
const MAX_SAID: usize = 4096;

impl ReplacedAnswer {
    /// Replaces the head. Its length is left open, since a body that never comes is not replaced.
    pub(crate) fn begin(stream: &Stream<'_>, identity: IdentityIndex, reply: Reply) -> Self {
        let theirs = stream.headers(Map::ResponseHeaders);
        for (name, _) in theirs.iter().filter(|(name, _)| !name.starts_with(':')) {
            _ = stream.remove(Map::ResponseHeaders, name);
        }
        let set = |name: &str, value: &str| {
            _ = stream.set(Map::ResponseHeaders, name, value.as_bytes());
        };
        set(":status", &reply.status.to_string());
        for (name, value) in &reply.headers {
            set(name, value);
        }
        Self { identity: Some(identity), said: Vec::new(), body: Some(reply.body) }
    }

    /// Replaces a piece of the body; true if the backend has said enough.
    pub(crate) fn replace(&mut self, stream: &Stream<'_>) -> bool {
        let more = MAX_SAID.saturating_sub(self.said.len());
        self.said.extend(stream.body(Body::Response, more));
        let ours = self.body.take().unwrap_or_default();
        stream.replace_body(Body::Response, ours.as_bytes());
        self.said.len() >= MAX_SAID
    }
}
