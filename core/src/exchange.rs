//! Carries out what the gate decided: changes the request, reads the answer for what it used, and
//! answers in the place of a backend that rejected the gateway's identity. What the host has to do for
//! that is the port [`Exchange`].

mod accounting;
mod admitted;
mod outcome;
mod replaced;

use std::time::Duration;

use crate::usage::Reader;
pub use accounting::{Rests, Used};
pub use admitted::{Admitted, Rejected, ResponseHead};
pub use outcome::{Applied, Outcome};

/// One request and its answer, as the host sees them at the moment.
///
/// The names of headers are in lower case. What has failed without an error is not worth one: the
/// answer passes as it is.
pub trait Exchange {
    /// Removes all headers of this name from the request.
    fn remove_request_header(&self, name: &str) -> Result<(), Refused>;

    /// Sets a header of the request, in place of all of that name.
    fn set_request_header(&self, name: &str, value: &[u8]) -> Result<(), Refused>;

    /// Has the proxy look for its own route again, which may depend on what is recorded.
    /// `is_unchanged` if the request goes on as it came: some proxies look again by themselves
    /// whenever a header is changed.
    fn clear_route_cache(&self, is_unchanged: bool);

    /// Returns all headers of the answer.
    fn response_headers(&self) -> Vec<(String, Vec<u8>)>;

    /// Returns the first value of a header of the answer.
    fn response_header(&self, name: &str) -> Option<Vec<u8>>;

    /// Removes all headers of this name from the answer.
    fn remove_response_header(&self, name: &str) -> Result<(), Refused>;

    /// Sets a header of the answer, in place of all of that name.
    fn set_response_header(&self, name: &str, value: &[u8]) -> Result<(), Refused>;

    /// Returns true if the backend, and nobody in its place, answers.
    fn is_from_upstream(&self) -> bool;

    /// Returns the part of a body that passes now, at most so many bytes of it.
    fn part(&self, body: Body, most: usize) -> Vec<u8>;

    /// Has the part of the answer read that passes now.
    fn read_part(&self, reader: &mut Reader) {
        reader.read(&self.part(Body::Response, usize::MAX));
    }

    /// Replaces the part of a body that passes now.
    fn replace_part(&self, body: Body, bytes: &[u8]);

    /// Returns how long ago the request began.
    fn age(&self) -> Option<Duration>;

    /// Returns true if a backend was given the request.
    fn was_sent(&self) -> bool;

    /// Returns the length of the request's body in bytes, as far as it has come.
    fn request_size(&self) -> u64;

    /// Writes something that operators see to filter state; the name begins with `wasm.keyless.`.
    fn record(&self, name: &'static str, value: &str);

    /// Records the reason, as [`REASON`]. It may be recorded again: what counts is the last one.
    fn record_reason(&self, reason: &'static str);
}

/// The name of the reason in filter state.
pub const REASON: &str = "wasm.keyless.reason";

/// Names one of the two bodies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// The caller's.
    Request,
    /// The backend's.
    Response,
}

/// The host did not do what it was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused;
