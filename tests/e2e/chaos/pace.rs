//! How fast the rows go by.

use std::env;
use std::time::Duration;

/// Says how long the faults last, and how many requests come meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pace {
    /// What the page's table says.
    Real,
    /// As long as it takes to see the same.
    Short,
}

impl Pace {
    /// Reads the environment variable `CHAOS_PACE`.
    pub(super) fn from_env() -> Self {
        match env::var("CHAOS_PACE").as_deref() {
            Ok("real") => Self::Real,
            Ok(other) => panic!("CHAOS_PACE: expected \"real\" or nothing, found {other:?}"),
            Err(_) => Self::Short,
        }
    }

    /// Returns one of two numbers of seconds.
    pub(super) fn seconds(self, short: u64, real: u64) -> Duration {
        Duration::from_secs(match self {
            Self::Real => real,
            Self::Short => short,
        })
    }

    /// Returns the number of requests a second.
    pub(super) fn rate(self) -> u32 {
        match self {
            Self::Real => 200,
            Self::Short => 25,
        }
    }

    pub(super) fn rows_at_once(self) -> usize {
        match self {
            Self::Real => 4,
            Self::Short => 7,
        }
    }
}
