//! Counters of what was used, each for one window of time: in pages of shared data, so that all
//! threads of a proxy count together, and so that a new configuration or a lost thread forgets
//! nothing.
//!
//! A page is replaced only as the version that was read, so that no count is lost in a race. What a
//! page holds may come from anybody: it is checked, and else it counts as empty.

mod page;

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::fetch::SharedData;
use page::{Page, SLOTS};

/// Identifies a counter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key(pub [u8; 16]);

/// Says how long a window is; each begins when the last one ends, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Window {
    /// `1m`
    Minute,
    /// `1h`
    Hour,
    /// `1d`, from midnight in UTC
    Day,
    /// `7d`, from Thursday
    Week,
    /// `30d`
    Days30,
    /// `365d`
    Days365,
}

/// Holds one window: when it ends, and how far it has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    /// Minutes since the epoch.
    now: u32,
    /// Minutes since the epoch.
    ends: u32,
    minutes: u32,
    /// How long it takes until the end.
    pub remaining: Duration,
}

/// Says what became of an amount that was to be counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Count {
    /// What was used before.
    pub used: u64,
    /// False if the amount did not fit, or if others were faster again and again.
    pub is_counted: bool,
    /// True if another counter of a window that is not over had to make room.
    pub is_evicting: bool,
}

/// Keeps the counters; their number is bounded.
///
/// ```
/// # use std::{rc::Rc, time::{Duration, SystemTime}};
/// # use keyless_core::fetch::InMemorySharedData;
/// # use keyless_core::ledger::{Key, Ledger, Window};
/// let ledger = Ledger::new(Rc::new(InMemorySharedData::default()), 1024);
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(3_599);
/// let (key, hour) = (Key([7; 16]), Window::Hour.period(now));
/// assert_eq!(hour.remaining, Duration::from_secs(1));
/// assert!(ledger.take(&key, hour, 1, 1).is_counted);
/// assert!(!ledger.take(&key, hour, 1, 1).is_counted, "it is used up");
/// assert_eq!(ledger.used(&key, Window::Hour.period(now + Duration::from_secs(1))), 0);
/// ```
#[derive(Clone)]
pub struct Ledger {
    shared: Rc<dyn SharedData>,
    pages: usize,
}

/// How often a page is read again because another thread was faster. Each time one of them has got
/// on, so more are needed only with more threads than a proxy has.
const MAX_ATTEMPTS: usize = 256;

impl Window {
    /// Holds all windows, with the texts of the configuration.
    pub const ALL: [(&str, Self); 6] = [
        ("1m", Self::Minute),
        ("1h", Self::Hour),
        ("1d", Self::Day),
        ("7d", Self::Week),
        ("30d", Self::Days30),
        ("365d", Self::Days365),
    ];

    /// Returns the text of the configuration.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, window)| *window == self).map_or("", |(name, _)| name)
    }

    /// Returns the window at a time.
    pub fn period(self, now: SystemTime) -> Period {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = u64::from(self.minutes()).saturating_mul(60);
        let elapsed = since.as_secs().checked_rem(length).unwrap_or_default();
        let elapsed = Duration::new(elapsed, since.subsec_nanos());
        let remaining = Duration::from_secs(length).saturating_sub(elapsed);
        let minutes = |time: Duration| {
            u32::try_from(time.as_secs().checked_div(60).unwrap_or_default()).unwrap_or(u32::MAX)
        };
        let (now, ends) = (minutes(since), minutes(since.saturating_add(remaining)));
        Period { now, ends, minutes: self.minutes(), remaining }
    }

    fn minutes(self) -> u32 {
        const DAY: u32 = 24 * 60;
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Days30 => 30 * DAY,
            Self::Days365 => 365 * DAY,
        }
    }
}

impl Ledger {
    /// Keeps at most about this many counters.
    pub fn new(shared: Rc<dyn SharedData>, entries: usize) -> Self {
        Self { shared, pages: entries.div_ceil(SLOTS).max(1) }
    }

    /// Returns what was used.
    pub fn used(&self, key: &Key, period: Period) -> u64 {
        let (page, _) = self.read(&self.name(key));
        page.find(key, period).map_or(0, |slot| slot.used)
    }

    /// Counts an amount whatever was used before.
    pub fn add(&self, key: &Key, period: Period, amount: u64) -> Count {
        self.count(key, period, amount, u64::MAX)
    }

    /// Counts an amount unless it makes the sum greater than `most`.
    pub fn take(&self, key: &Key, period: Period, amount: u64, most: u64) -> Count {
        self.count(key, period, amount, most)
    }

    /// Takes back what was counted.
    pub fn give_back(&self, key: &Key, period: Period, amount: u64) {
        let name = self.name(key);
        for _ in 0..MAX_ATTEMPTS {
            let (mut page, version) = self.read(&name);
            let Some(mut slot) = page.find(key, period) else { return };
            slot.used = slot.used.saturating_sub(amount);
            page.put(slot, period);
            if self.shared.replace(&name, version, page.bytes()) {
                return;
            }
        }
    }

    fn count(&self, key: &Key, period: Period, amount: u64, most: u64) -> Count {
        let name = self.name(key);
        let mut used = 0;
        for _ in 0..MAX_ATTEMPTS {
            let (mut page, version) = self.read(&name);
            let mut slot = page.find_or_empty(key, period);
            used = slot.used;
            slot.used = used.saturating_add(amount);
            if slot.used > most {
                break;
            }
            let is_evicting = page.put(slot, period);
            if self.shared.replace(&name, version, page.bytes()) {
                return Count { used, is_counted: true, is_evicting };
            }
        }
        Count { used, is_counted: false, is_evicting: false }
    }

    fn read(&self, name: &str) -> (Page, Option<u32>) {
        match self.shared.read(name) {
            Some((bytes, version)) => (Page::parse(bytes), Some(version)),
            None => (Page::empty(), None),
        }
    }

    /// The name of the page for a key: one of a fixed number.
    fn name(&self, key: &Key) -> String {
        let Key([first, second, third, ..]) = *key;
        let number = usize::from(first) << 16 | usize::from(second) << 8 | usize::from(third);
        let mut name = String::with_capacity(24);
        _ = write!(name, "keyless.ledger.{}", number.checked_rem(self.pages).unwrap_or_default());
        name
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Ledger({} pages)", self.pages)
    }
}

#[cfg(test)]
mod tests;
