//! Limits that are used up, as callers are told.

use std::rc::Rc;
use std::time::Duration;

/// Says which limit is used up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exhausted {
    /// Its name.
    pub limit: Rc<str>,
    /// What there is of it, such as `60 requests in 1m`.
    pub amount: String,
    /// What there is of it.
    pub most: u64,
    /// How long it takes until there is more.
    pub resets_in: Duration,
    /// What is left is set aside for requests under way.
    pub is_taken: bool,
}

/// The headers in which OpenAI's clients look for a limit, what is left of it, and when it begins
/// again.
pub const REQUESTS_HEADERS: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];

/// The same for tokens.
pub const TOKENS_HEADERS: [&str; 3] =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];

/// How long a client may be left to wait and try again by itself.
const MAX_CLIENT_WAIT: Duration = Duration::from_mins(1);

impl Exhausted {
    /// Returns what the caller reads.
    pub(super) fn message(&self) -> String {
        let Self { limit, amount, resets_in, .. } = self;
        let seconds = whole_seconds(*resets_in);
        if self.is_taken {
            return format!(
                "What is left of the limit {limit}, {amount}, is reserved for requests under way. Try again in {seconds} s."
            );
        }
        format!("The limit {limit}, {amount}, is used up. It begins again in {seconds} s.")
    }

    /// Returns the headers of these names for it. A client that would wait too long is told not to:
    /// `x-should-retry` is what OpenAI's clients obey.
    pub(super) fn headers(&self, names: Option<[&'static str; 3]>) -> Vec<(&'static str, String)> {
        let reset = format!("{}s", whole_seconds(self.resets_in));
        let values = [self.most.to_string(), "0".to_owned(), reset];
        let mut headers: Vec<_> = names.into_iter().flatten().zip(values).collect();
        if self.resets_in > MAX_CLIENT_WAIT {
            headers.push(("x-should-retry", "false".to_owned()));
        }
        headers
    }
}

/// Rounds up to whole seconds, at least one.
pub fn whole_seconds(time: Duration) -> u64 {
    let begun = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(begun).max(1)
}
