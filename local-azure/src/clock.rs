//! Seconds since the epoch, the only form of time that tokens know (RFC 7519, section 2).

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the present second.
pub(crate) fn now() -> u64 {
    seconds(SystemTime::now())
}

/// Returns `time` in whole seconds since the epoch, 0 if it lies before.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
