//! Has a streamed chat say what it used, although its caller did not ask.
//!
//! The interface for chat completions tells the usage of a streamed answer only to those who ask
//! with `"stream_options": {"include_usage": true}`. [`BodyEditor`] adds that to a request as it
//! passes, and [`EventFilter`] takes the event that comes of it out of the answer. Neither holds
//! back more than the end of the request, or an event that has not come to its end.

mod answer;
mod body;
#[cfg(test)]
mod tests;

pub use answer::EventFilter;
pub use body::{Asked, BodyEditor};

use crate::body::Format;
use crate::request::Head;

/// The first version of Azure's interface that knows `stream_options`; older ones refuse it.
const FIRST_VERSION: &[u8] = b"2024-09-01";

/// How the path of a chat completion ends.
const CHAT: &str = "/chat/completions";

/// How the path begins where Azure wants an `api-version`.
const VERSIONED: &str = "/openai/deployments/";

/// Returns true for a request whose body may be a chat that can be asked what it used: JSON in the
/// clear, sent to a version of the interface that knows the question.
pub fn is_askable(head: &Head) -> bool {
    let Ok(path) = head.path() else { return false };
    let is_sent = |name| head.values(name).next().is_some();
    let knows_it = || match path.get(..VERSIONED.len()) {
        Some(begin) if begin.eq_ignore_ascii_case(VERSIONED) => {
            head.parameter("api-version").is_some_and(|version| version >= FIRST_VERSION)
        }
        Some(_) | None => true,
    };
    head.method() == "POST"
        && head.has_body()
        && path.ends_with(CHAT)
        && !is_sent("trailer")
        && Format::of(head) == Ok(Format::Json)
        && knows_it()
}
