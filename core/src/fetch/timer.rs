//! Times on a clock that may be set forward or back.

use std::time::{Duration, SystemTime};

/// Fires at a time, and at once if the clock is set back to well before the timer was set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    set: SystemTime,
    fires: SystemTime,
}

/// How far the clock may step back, as time synchronisation lets it, without any effect. A time that
/// lies further in the future was written before the clock was set back.
pub(super) const MAX_CLOCK_CORRECTION: Duration = Duration::from_secs(10);

impl Timer {
    pub(super) fn new(fires: SystemTime, now: SystemTime) -> Self {
        Self { set: now, fires }
    }

    pub(super) fn has_fired(self, now: SystemTime) -> bool {
        self.fires <= now || is_of_another_clock(self.set, now)
    }

    pub(super) fn fires(self) -> SystemTime {
        self.fires
    }

    pub(super) fn remaining(self, now: SystemTime) -> Duration {
        if self.has_fired(now) {
            return Duration::ZERO;
        }
        self.fires.duration_since(now).unwrap_or_default()
    }
}

/// Returns true if a time of the past lies in the future, because the clock was set back since.
pub(super) fn is_of_another_clock(past: SystemTime, now: SystemTime) -> bool {
    after(MAX_CLOCK_CORRECTION, now) < past
}

/// Returns the time that lies `wait` after `time`; one that the clock cannot hold counts as `time`.
pub fn after(wait: Duration, time: SystemTime) -> SystemTime {
    time.checked_add(wait).unwrap_or(time)
}

/// Returns a time that no process lives to see, and that every clock can hold: the year 2106.
pub(super) fn far_future() -> SystemTime {
    after(Duration::from_secs(1 << 32), SystemTime::UNIX_EPOCH)
}
