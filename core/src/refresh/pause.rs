//! How long to wait after a failure: one table for all that is fetched.

use std::time::{Duration, SystemTime};

use super::share;
use crate::http::FetchError;

/// What the pauses grow by, and the first of them: with each failure in a row the next one is twice
/// as long and one step more, so 2, 6, 14, 30 and 60 s (Microsoft: "How to use managed identities
/// for Azure resources on an Azure VM to acquire an access token", retry guidance).
const STEP: Duration = Duration::from_secs(2);
/// The longest pause of that kind while nothing is held, and so the longest that service stays away
/// once the other side is back.
const LONGEST: Duration = Duration::from_secs(30);
/// The pause after an answer that another try will not change.
const PROBE: Duration = Duration::from_mins(1);
/// What the two above are multiplied by while a value is held, since nobody waits then; it makes
/// the longest pause the documented 60 s.
const AT_LEISURE: u32 = 2;
/// How long IMDS may be away after it answers 410 (the same guidance).
const UPGRADE: Duration = Duration::from_secs(70);
/// The longest wait that the other side may ask for: beyond it lies a mistake, which must not
/// switch us off.
const LONGEST_TOLD: Duration = Duration::from_hours(1);

/// What a failure says about the next try.
enum Outlook {
    /// It may succeed at any moment.
    Soon,
    /// It will not succeed before this is over.
    Later(Duration),
    /// It will fail like this one, unless somebody mends something.
    Never,
}

/// The longest pause that depends on whether a value is held; one that ends sooner counts as none.
pub(super) const LEISURE: Duration = PROBE.saturating_mul(AT_LEISURE);

/// Returns how long to wait after a failure that followed `before` others, if the other side asked
/// for a wait of `told`. Chance shortens it by up to a tenth, or lengthens it by as much where it
/// must not be shorter.
pub(super) fn pause(
    error: &FetchError,
    told: Option<Duration>,
    before: u32,
    is_held: bool,
    now: SystemTime,
) -> Duration {
    let leisure = if is_held { AT_LEISURE } else { 1 };
    let told = told.unwrap_or_default().min(LONGEST_TOLD);
    let (step, least) = match outlook(error) {
        Outlook::Soon => (steps(before).min(LONGEST.saturating_mul(leisure)), told),
        Outlook::Later(wait) => (Duration::ZERO, told.max(wait)),
        Outlook::Never => (Duration::ZERO, told.max(PROBE.saturating_mul(leisure))),
    };
    let shortened = step.saturating_sub(share(step, now));
    shortened.max(least.saturating_add(share(least, now)))
}

fn outlook(error: &FetchError) -> Outlook {
    match error {
        FetchError::Status { status: 410, .. } => Outlook::Later(UPGRADE),
        // Not found, and it took too long: passing states of IMDS, like too many requests.
        FetchError::Status { status: 404 | 408 | 429, .. } => Outlook::Soon,
        FetchError::Status { status: 400..=499, .. } | FetchError::Unset(_) => Outlook::Never,
        FetchError::Expiry(_)
        | FetchError::Malformed(_)
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
        | FetchError::Unsent => Outlook::Soon,
    }
}

/// 2, 6, 14, 30, 62 s and so on.
fn steps(before: u32) -> Duration {
    let doublings = 2_u32.saturating_pow(before.saturating_add(1));
    STEP.saturating_mul(doublings.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment at which chance changes nothing.
    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn status(status: u16) -> FetchError {
        FetchError::Status { status, error: None }
    }

    /// The pauses, in seconds, of failures in a row.
    fn pauses(error: &FetchError, told: Option<u64>, is_held: bool) -> [u64; 6] {
        let told = told.map(Duration::from_secs);
        [0, 1, 2, 3, 4, 5].map(|before| pause(error, told, before, is_held, NOW).as_secs())
    }

    #[test]
    fn what_may_pass_is_tried_again_in_the_documented_steps() {
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
            assert_eq!(pauses(error, None, true), [2, 6, 14, 30, 60, 60], "{error:?}");
            assert_eq!(pauses(error, None, false), [2, 6, 14, 30, 30, 30], "{error:?}");
        }
        let endless = pause(&FetchError::Reset, None, u32::MAX, true, NOW);
        assert_eq!(endless, Duration::from_mins(1));
    }

    #[test]
    fn an_answer_that_will_be_the_same_is_asked_for_slowly() {
        let errors = [400, 401, 403, 405, 409, 422, 451, 499].map(status);
        for error in errors.iter().chain(&[FetchError::Unset("A".into())]) {
            assert_eq!(pauses(error, None, true), [120; 6], "{error:?}");
            assert_eq!(pauses(error, None, false), [60; 6], "{error:?}");
        }
    }

    #[test]
    fn an_endpoint_that_is_being_updated_is_given_its_time() {
        for is_held in [true, false] {
            assert_eq!(pauses(&status(410), None, is_held), [70; 6]);
            assert_eq!(pauses(&status(410), Some(5), is_held), [70; 6]);
            assert_eq!(pauses(&status(410), Some(100), is_held), [100; 6]);
        }
    }

    #[test]
    fn what_the_other_side_asks_for_is_the_least_and_at_most_an_hour() {
        assert_eq!(pauses(&status(429), Some(20), false), [20, 20, 20, 30, 30, 30]);
        assert_eq!(pauses(&status(503), Some(0), false), [2, 6, 14, 30, 30, 30]);
        assert_eq!(pauses(&status(400), Some(90), false), [90; 6]);
        assert_eq!(pauses(&status(429), Some(3600), false), [3600; 6]);
        assert_eq!(pauses(&status(429), Some(u64::MAX), true), [3600; 6]);
    }

    #[test]
    fn chance_shortens_a_step_and_never_what_was_asked_for() {
        let late = NOW + Duration::from_nanos(999);
        let wait = |error: &FetchError, told| pause(error, told, 3, true, late);
        let step = wait(&FetchError::Reset, None);
        assert!(
            step >= Duration::from_secs(27) && step < Duration::from_millis(27_100),
            "{step:?}"
        );
        for (error, told, least) in [(status(410), None, 70), (status(429), Some(100), 100)] {
            let wait = wait(&error, told.map(Duration::from_secs));
            let most = Duration::from_secs(least * 11 / 10);
            assert!(wait > Duration::from_secs(least) && wait <= most, "{wait:?}");
        }
    }
}
