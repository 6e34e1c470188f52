//! Back-off: how long to wait after a failed fetch, in one table for all that is fetched.

use std::time::{Duration, SystemTime};

use super::jitter::Jitter;
use crate::http::FetchError;

/// The first wait of the exponential back-off, and what is added each time it doubles: 2, 6, 14, 30
/// and 60 s (Microsoft: "How to use managed identities for Azure resources on an Azure VM to acquire
/// an access token", retry guidance).
const BACKOFF_STEP: Duration = Duration::from_secs(2);
/// The longest exponential back-off while no value is held. It bounds how long requests are refused
/// after the source has recovered.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The wait after an error that a retry will not change, such as 403.
const PERMANENT_ERROR_WAIT: Duration = Duration::from_mins(1);
/// How many times longer the two above are while a value is held, since no request waits then; it
/// makes the longest back-off the documented 60 s.
const FACTOR_WHILE_HELD: u32 = 2;
/// How long IMDS may be away after it answers 410 (the same guidance).
const IMDS_UPGRADE_WAIT: Duration = Duration::from_secs(70);
/// The longest `Retry-After` that is kept. A longer one is taken for a mistake of the source, which
/// must not switch the gateway off.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Says what an error means for the next try.
enum RetryClass {
    /// A retry may succeed at any moment.
    Transient,
    /// No retry succeeds before this time is over.
    Unavailable(Duration),
    /// Each retry fails in the same way until somebody changes the configuration.
    Permanent,
}

/// The longest wait that is chosen because a value is held. A value that expires within this time
/// does not count as held.
pub(super) const MAX_BACKOFF_BY_HELD: Duration =
    PERMANENT_ERROR_WAIT.saturating_mul(FACTOR_WHILE_HELD);

/// Returns how long to wait after an error that follows so many `failures` in a row. Jitter shortens
/// the back-off by up to a tenth; a wait that must not be shorter, it lengthens.
pub(super) fn wait(
    error: &FetchError,
    retry_after: Option<Duration>,
    failures: u32,
    is_held: bool,
    jitter: Jitter,
    now: SystemTime,
) -> Duration {
    let factor = if is_held { FACTOR_WHILE_HELD } else { 1 };
    let retry_after = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
    let (step, least) = match retry_class(error) {
        RetryClass::Transient => {
            (exponential(failures).min(MAX_BACKOFF.saturating_mul(factor)), retry_after)
        }
        RetryClass::Unavailable(wait) => (Duration::ZERO, retry_after.max(wait)),
        RetryClass::Permanent => {
            (Duration::ZERO, retry_after.max(PERMANENT_ERROR_WAIT.saturating_mul(factor)))
        }
    };
    let shortened = step.saturating_sub(jitter.share(step, failures, now));
    shortened.max(least.saturating_add(jitter.share(least, failures, now)))
}

fn retry_class(error: &FetchError) -> RetryClass {
    match error {
        FetchError::Status { status: 410, .. } => RetryClass::Unavailable(IMDS_UPGRADE_WAIT),
        // IMDS answers 404 and 408 while it starts or is busy: transient, like 429.
        FetchError::Status { status: 404 | 408 | 429, .. } => RetryClass::Transient,
        FetchError::AssertionAudience(_)
        | FetchError::AssertionInvalid(_)
        | FetchError::ClientUnknown(_)
        | FetchError::NoFederatedCredential(_)
        | FetchError::Status { status: 400..=499, .. }
        | FetchError::TenantUnknown(_)
        | FetchError::Unset(_) => RetryClass::Permanent,
        // A file is replaced at any moment, and reading it costs nobody anything.
        FetchError::AssertionExpired(_)
        | FetchError::ClientSecretExpired(_)
        | FetchError::ClientSecretInvalid(_)
        | FetchError::Compressed
        | FetchError::Expiry(_)
        | FetchError::FileEmpty
        | FetchError::FileMalformed(_)
        | FetchError::FileTooLarge
        | FetchError::FileUnavailable(_)
        | FetchError::Malformed(_)
        | FetchError::NoUsableKey(_)
        | FetchError::NotBefore
        | FetchError::NotJson
        | FetchError::Repeated
        | FetchError::Reset
        | FetchError::Resource
        | FetchError::Status { .. }
        | FetchError::Timeout
        | FetchError::Token(_)
        | FetchError::TokenType
        | FetchError::TooLarge
        | FetchError::Truncated
        | FetchError::Unanswered
        | FetchError::Unreachable(_)
        | FetchError::Unsent => RetryClass::Transient,
    }
}

/// 2, 6, 14, 30, 62 s and so on.
fn exponential(failures: u32) -> Duration {
    let doublings = 2_u32.saturating_pow(failures.saturating_add(1));
    BACKOFF_STEP.saturating_mul(doublings.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> FetchError {
        FetchError::Status { status, error: None }
    }

    /// The waits of failures in a row, on several threads.
    fn waits(
        error: &FetchError,
        retry_after: Option<u64>,
        is_held: bool,
    ) -> impl Iterator<Item = [Duration; 6]> {
        let retry_after = retry_after.map(Duration::from_secs);
        (0..20).map(move |holder| {
            let jitter = Jitter::of(holder, "key");
            [0, 1, 2, 3, 4, 5].map(|failures| {
                wait(error, retry_after, failures, is_held, jitter, SystemTime::UNIX_EPOCH)
            })
        })
    }

    /// Asserts that the waits are these, in seconds, or up to a tenth shorter.
    fn at_most(error: &FetchError, retry_after: Option<u64>, is_held: bool, seconds: [u64; 6]) {
        for waits in waits(error, retry_after, is_held) {
            for (wait, seconds) in waits.into_iter().zip(seconds) {
                let most = Duration::from_secs(seconds);
                assert!(wait <= most && wait > most * 9 / 10, "{error:?}: {wait:?}, not {seconds}");
            }
        }
    }

    /// Asserts that all waits are this, in seconds, or up to a tenth longer.
    fn at_least(error: &FetchError, retry_after: Option<u64>, is_held: bool, seconds: u64) {
        let least = Duration::from_secs(seconds);
        for wait in waits(error, retry_after, is_held).flatten() {
            assert!(wait >= least && wait < least * 11 / 10, "{error:?}: {wait:?}, not {seconds}");
        }
    }

    #[test]
    fn a_transient_error_is_retried_in_the_documented_steps() {
        let statuses = [204, 302, 404, 408, 429, 500, 502, 503, 599].map(status);
        let others = [
            FetchError::Expiry(""),
            FetchError::NotJson,
            FetchError::Reset,
            FetchError::Timeout,
            FetchError::Token(""),
            FetchError::Unanswered,
            FetchError::Unsent,
        ];
        for error in statuses.iter().chain(&others) {
            at_most(error, None, true, [2, 6, 14, 30, 60, 60]);
            at_most(error, None, false, [2, 6, 14, 30, 30, 30]);
        }
        let (jitter, now) = (Jitter::of(1, ""), SystemTime::UNIX_EPOCH);
        let endless = wait(&FetchError::Reset, None, u32::MAX, true, jitter, now);
        assert!(endless <= Duration::from_mins(1));
    }

    #[test]
    fn a_permanent_error_is_retried_slowly() {
        let errors = [400, 401, 403, 405, 409, 422, 451, 499].map(status);
        for error in errors.iter().chain(&[FetchError::Unset("A".into())]) {
            at_least(error, None, true, 120);
            at_least(error, None, false, 60);
        }
    }

    #[test]
    fn an_endpoint_that_is_being_upgraded_is_given_its_time() {
        for is_held in [true, false] {
            at_least(&status(410), None, is_held, 70);
            at_least(&status(410), Some(5), is_held, 70);
            at_least(&status(410), Some(100), is_held, 100);
        }
    }

    #[test]
    fn retry_after_is_the_least_wait_up_to_an_hour() {
        at_most(&status(503), Some(0), false, [2, 6, 14, 30, 30, 30]);
        at_least(&status(400), Some(90), false, 90);
        at_least(&status(429), Some(3600), false, 3600);
        at_least(&status(429), Some(u64::MAX), true, 3600);
        let twenty = Duration::from_secs(20);
        let throttled = status(429);
        let mut waits = waits(&throttled, Some(20), false).flatten();
        assert!(waits.all(|wait| wait >= twenty && wait <= Duration::from_secs(30)));
    }

    #[test]
    fn threads_wait_for_different_times() {
        for (error, retry_after) in
            [(status(500), None), (status(410), None), (status(429), Some(9))]
        {
            let all: std::collections::HashSet<_> = waits(&error, retry_after, true).collect();
            assert!(all.len() > 15, "{error:?}: {} of 20", all.len());
        }
    }
}
