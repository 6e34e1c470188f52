//! A request and its answer, as the gate's decision is carried out on them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use keyless_core::exchange::{self, Exchange, Refused};
use keyless_core::usage::Reader;

use crate::abi::{Attribute, Body, Map, Stream};

/// One stream, for as long as Envoy calls one of its hooks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamExchange<'hook> {
    pub(crate) stream: &'hook Stream<'hook>,
    pub(crate) facts: &'hook Facts,
    /// Envoy held what has come of the request's body before, apart from the part that passes now.
    pub(crate) is_held_apart: bool,
}

/// What Envoy does not keep of a stream, or not for us.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) began: Instant,
    /// How long the request's body is so far, if that is counted.
    pub(crate) request_size: Cell<u64>,
    /// Envoy or a filter answers in the place of a backend.
    pub(crate) is_local: Cell<bool>,
    /// The reason, until that is written: it can change when the answer comes, and what is written
    /// cannot.
    pub(crate) reason: Cell<Option<&'static str>>,
}

impl Facts {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            request_size: Cell::new(0),
            is_local: Cell::new(false),
            reason: Cell::new(None),
        }
    }
}

impl StreamExchange<'_> {
    /// Counts the part of the request's body that passes now.
    pub(crate) fn count_request_part(&self) {
        let size = bodies(exchange::Body::Request, self.is_held_apart)
            .iter()
            .fold(0, |size: usize, body| size.saturating_add(self.stream.body_size(*body)));
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        self.facts.request_size.set(self.facts.request_size.get().saturating_add(size));
    }

    /// Writes the reason, once.
    pub(crate) fn write_reason(&self) {
        if let Some(reason) = self.facts.reason.take() {
            self.record(exchange::REASON, reason);
        }
    }
}

impl Exchange for StreamExchange<'_> {
    fn remove_request_header(&self, name: &str) -> Result<(), Refused> {
        self.stream.remove(Map::RequestHeaders, name)
    }

    fn set_request_header(&self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.stream.set(Map::RequestHeaders, name, value)
    }

    fn clear_route_cache(&self, _is_unchanged: bool) {
        self.stream.clear_route_cache();
    }

    fn response_headers(&self) -> Vec<(String, Vec<u8>)> {
        self.stream.headers(Map::ResponseHeaders)
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        self.stream.header(Map::ResponseHeaders, name)
    }

    fn remove_response_header(&self, name: &str) -> Result<(), Refused> {
        self.stream.remove(Map::ResponseHeaders, name)
    }

    fn set_response_header(&self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.stream.set(Map::ResponseHeaders, name, value)
    }

    /// Envoy 1.38 does not say what the details of the answer are, but that a local reply comes.
    fn is_from_upstream(&self) -> bool {
        let details = self.stream.attribute(Attribute::ResponseCodeDetails);
        details.map_or(!self.facts.is_local.get(), |details| details == b"via_upstream")
    }

    fn part(&self, body: exchange::Body, most: usize) -> Vec<u8> {
        let mut part = Vec::new();
        for body in bodies(body, self.is_held_apart) {
            let room = most.saturating_sub(part.len());
            let more = self.stream.body(*body, room);
            if part.is_empty() { part = more } else { part.extend(more) }
        }
        part
    }

    fn read_part(&self, reader: &mut Reader) {
        self.stream.read_body(Body::Response, reader);
    }

    fn replace_part(&self, body: exchange::Body, bytes: &[u8]) {
        if let Some((last, before)) = bodies(body, self.is_held_apart).split_last() {
            for body in before {
                self.stream.replace_body(*body, b"");
            }
            self.stream.replace_body(*last, bytes);
        }
    }

    fn age(&self) -> Option<Duration> {
        Some(self.facts.began.elapsed())
    }

    fn was_sent(&self) -> bool {
        let address = self.stream.attribute(Attribute::UpstreamAddress);
        address.is_some_and(|address| !address.is_empty())
    }

    fn request_size(&self) -> u64 {
        self.facts.request_size.get()
    }

    /// The names are the Wasm filter's, so that the same guard and the same access log fit both.
    fn record(&self, name: &'static str, value: &str) {
        self.stream.state(name, value);
    }

    fn record_reason(&self, reason: &'static str) {
        self.facts.reason.set(Some(reason));
    }
}

/// Where the part lies that passes now.
fn bodies(body: exchange::Body, is_held_apart: bool) -> &'static [Body] {
    match body {
        exchange::Body::Request if is_held_apart => &[Body::HeldRequest, Body::Request],
        exchange::Body::Request => &[Body::Request],
        exchange::Body::Response => &[Body::Response],
    }
}
