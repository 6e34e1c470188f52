//! Plain HTTP data: what the gate asks the host to send, and what came back.

use std::fmt;
use std::time::Duration;

/// Describes one HTTP request that the host is to send to a cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// The value of `:method`.
    pub method: &'static str,
    /// The value of `:authority`.
    pub authority: String,
    /// The value of `:path`, with the query.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(&'static str, &'static str)>,
    /// How long the answer may take; never zero, which Envoy takes for "for ever".
    pub timeout: Duration,
}

/// Holds what came back for a [`Call`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The other side answered, or Envoy did in its place (503 and 504).
    Arrived {
        /// The value of `:status`.
        status: u16,
        /// The body, at most [`MAX_BODY`] bytes of it.
        body: Vec<u8>,
    },
    /// The stream was reset before it was complete.
    Broken,
    /// Nothing came back, not even a failure.
    Lost,
    /// The host refused to send the call: no such cluster, no healthy host, or a full circuit.
    Unsent,
}

/// Limits what is taken of an answer, in bytes; a longer one arrives as one byte more than that.
pub const MAX_BODY: usize = 1 << 20;

/// Tells why a fetch brought nothing; it drives the back-off and is logged and counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FetchError {
    /// The body was not what it should be; the text says how, without quoting it.
    Malformed(&'static str),
    /// The answer was cut off.
    Reset,
    /// The status was not 200.
    Status(u16),
    /// The body was longer than [`MAX_BODY`].
    TooLarge,
    /// No answer and no failure was ever reported.
    Unanswered,
    /// The call could not be sent.
    Unsent,
}

impl Answer {
    /// Returns the body of a complete answer with status 200.
    ///
    /// # Errors
    ///
    /// Returns the [`FetchError`] that says what it was instead.
    pub fn content(&self) -> Result<&[u8], FetchError> {
        match self {
            Self::Arrived { status: 200, body } if body.len() > MAX_BODY => {
                Err(FetchError::TooLarge)
            }
            Self::Arrived { status: 200, body } => Ok(body),
            Self::Arrived { status, .. } => Err(FetchError::Status(*status)),
            Self::Broken => Err(FetchError::Reset),
            Self::Lost => Err(FetchError::Unanswered),
            Self::Unsent => Err(FetchError::Unsent),
        }
    }
}

impl FetchError {
    /// Returns the stable word for this error that metrics and logs use.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Reset => "reset",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Unanswered => "unanswered",
            Self::Unsent => "unsent",
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(formatter, "malformed answer: {what}"),
            Self::Reset => formatter.write_str("the connection was reset"),
            Self::Status(status) => write!(formatter, "status {status}"),
            Self::TooLarge => write!(formatter, "more than {MAX_BODY} bytes"),
            Self::Unanswered => formatter.write_str("no answer in time"),
            Self::Unsent => formatter.write_str("no such cluster, or no healthy host in it"),
        }
    }
}

impl std::error::Error for FetchError {}
