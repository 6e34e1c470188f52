//! What a request used, in tokens, and how sure that is; read from the answer as it passes.
//!
//! It knows server-sent events and JSON, and no HTTP. An answer may come in any pieces and have any
//! length: nothing of it is held back, and a few kilobytes at most are kept. Chat completions, legacy
//! completions, Responses, embeddings, images, audio and Anthropic's messages are read alike: the
//! last `usage` counts, of the text itself or of its `response` or `message`, and nothing is summed.

mod event;
mod reader;
mod report;
mod stream;
#[cfg(test)]
mod tests;

pub use reader::{End, Reader, unanswered};

/// Counts the tokens that a request used, as the backend reports them.
///
/// Some of the counts are parts of others, and must not be added to them: [`Usage::cached`],
/// [`Usage::cache_write`] and [`Usage::audio_input`] are parts of [`Usage::input`];
/// [`Usage::reasoning`] and [`Usage::audio_output`] are parts of [`Usage::output`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// All tokens of the request.
    pub input: u64,
    /// All tokens of the answer.
    pub output: u64,
    /// Tokens of the request that the backend had in its cache.
    pub cached: u64,
    /// Tokens of the request that the backend wrote to its cache, where that has a price.
    pub cache_write: u64,
    /// Tokens of the request that are audio.
    pub audio_input: u64,
    /// Tokens of the answer that the model used to think, and that the caller does not see.
    pub reasoning: u64,
    /// Tokens of the answer that are audio.
    pub audio_output: u64,
}

/// Says how sure it is what a request used. Measured and estimated counts are never mixed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Basis {
    /// A successful answer did not say what it used: it was encoded, or is of a kind that has no
    /// usage. It is counted as an answer without tokens.
    Absent,
    /// The answer broke off before it said what it used. Its output is a lower bound: the events
    /// with content that came, each of at least one token. Its input is a guess by the request's size.
    Estimated,
    /// The backend said so.
    Exact,
    /// There is nothing to count: the route is not counted, the request was refused, or the answer
    /// is no successful one.
    #[default]
    None,
}

/// Says whether the answers of a route are read for what they used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Counting {
    /// They are read, and streamed chats are made to say what they used.
    Ask,
    /// They are read as they come.
    Read,
}

/// Holds what a request used, and how sure that is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// How sure it is.
    pub basis: Basis,
    /// The tokens; none unless [`Basis::Exact`] or [`Basis::Estimated`].
    pub usage: Usage,
}

impl Usage {
    /// Returns input and output together.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl Basis {
    /// Returns the name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Estimated => "estimated",
            Self::Exact => "exact",
            Self::None => "none",
        }
    }
}
