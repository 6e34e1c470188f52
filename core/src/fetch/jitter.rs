//! Jitter: makes waits differ, so that proxies that started together do not call together.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Gives the jitter of one value on one thread. It is a function of its inputs: the core has no
/// source of randomness, and needs none, because each thread's number in shared data is random.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(u64);

/// Into how many steps a tenth of a wait is divided.
const STEPS: u64 = 1000;

impl Jitter {
    /// Makes the jitter of the thread `holder` for the value that `key` names.
    pub(super) fn of(holder: u64, key: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (holder, key).hash(&mut hasher);
        Self(hasher.finish())
    }

    /// Returns up to a tenth of a wait that begins `now` after so many failures.
    ///
    /// All digits of the time count, and not it alone: a clock may show no nanoseconds, and two
    /// proxies may ask at the same moment.
    pub(super) fn share(self, wait: Duration, failures: u32, now: SystemTime) -> Duration {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        (self.0, failures, since_epoch.as_nanos()).hash(&mut hasher);
        let steps = u32::try_from(hasher.finish() % STEPS).unwrap_or_default();
        wait.checked_div(10_000).unwrap_or_default().saturating_mul(steps)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const WAIT: Duration = Duration::from_secs(1000);

    fn micros(micros: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_micros(micros)
    }

    #[test]
    fn a_clock_with_microseconds_gives_jitter_of_all_sizes_up_to_a_tenth() {
        let jitter = Jitter::of(1, "key");
        let shares: Vec<_> = (0..1000).map(|at| jitter.share(WAIT, 0, micros(at))).collect();
        let tenths: HashSet<_> = shares.iter().map(|share| share.as_secs() / 10).collect();
        assert_eq!(tenths.len(), 10, "{tenths:?}");
        assert!(shares.iter().all(|share| *share < WAIT / 10));
    }

    #[test]
    fn threads_values_and_failures_differ_at_the_same_moment_and_the_same_inputs_do_not() {
        let share =
            |holder, key, failures| Jitter::of(holder, key).share(WAIT, failures, micros(0));
        let mut shares =
            vec![share(1, "a", 0), share(2, "a", 0), share(1, "b", 0), share(1, "a", 1)];
        assert_eq!(shares[0], share(1, "a", 0));
        shares.sort_unstable();
        shares.dedup();
        assert_eq!(shares.len(), 4, "{shares:?}");
    }

    #[test]
    fn a_wait_that_is_too_long_for_any_clock_overflows_nothing() {
        let share = Jitter::of(1, "").share(Duration::MAX, u32::MAX, UNIX_EPOCH);
        assert!(share < Duration::MAX / 10);
    }
}
