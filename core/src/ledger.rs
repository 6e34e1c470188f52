//! Counters of what was used, each for one window of time: in pages of shared data, so that all
//! threads of a proxy count together, and so that a new configuration or a lost thread forgets
//! nothing.
//!
//! A page is replaced only as the version that was read, so that no count is lost in a race. What a
//! page holds may come from anybody: it is checked, and else it counts as empty.
//!
//! Where several proxies count together, each counter also knows what the fleet was not told yet, and
//! what the fleet had used when it was asked last.

mod fleet;
mod page;

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::fetch::SharedData;
pub use fleet::{Due, Item};
use page::{Page, SLOTS, Slot};

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

/// Names a counter in one window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counter {
    /// Which one.
    pub key: Key,
    /// In which window.
    pub period: Period,
    /// The fleet is told of multiples of this; what is less waits for more.
    pub grain: u64,
}

/// Says what a request takes of a counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Taking {
    /// Which one.
    pub counter: Counter,
    /// How much, if anything.
    pub amount: u64,
    /// There must be less than this, and no more with the amount.
    pub most: u64,
}

/// Holds one window: when it ends, and how far it has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    /// Minutes since the epoch.
    now: u32,
    /// The same in seconds.
    seconds: u32,
    /// Minutes since the epoch.
    ends: u32,
    minutes: u32,
    /// How long it takes until the end.
    pub remaining: Duration,
}

/// Says what became of an amount that was to be counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// What was used before.
    pub used: u64,
    /// False if the amount did not fit, or if others were faster again and again.
    pub is_counted: bool,
    /// True if another counter of a window that is not over had to make room.
    pub is_evicting: bool,
    /// True if there is something to tell the fleet, or to ask it.
    pub is_pending: bool,
}

/// Keeps the counters; their number is bounded.
///
/// ```
/// # use std::{rc::Rc, time::{Duration, SystemTime}};
/// # use keyless_core::fetch::InMemorySharedData;
/// # use keyless_core::ledger::{Counter, Key, Ledger, Window};
/// let ledger = Ledger::new(Rc::new(InMemorySharedData::default()), 1024, None);
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(3_599);
/// let at = |now| Counter { key: Key([7; 16]), period: Window::Hour.period(now), grain: 1 };
/// assert_eq!(at(now).period.remaining, Duration::from_secs(1));
/// assert!(ledger.take(&at(now), 1, 1).is_counted);
/// assert!(!ledger.take(&at(now), 1, 1).is_counted, "it is used up");
/// assert_eq!(ledger.look(&at(now + Duration::from_secs(1))).used, 0);
/// ```
pub struct Ledger {
    shared: Rc<dyn SharedData>,
    pages: usize,
    /// How old what is known of the fleet may be, in seconds; none if each proxy counts for itself.
    interval: Option<u32>,
}

/// What is taken of a counter in the page of this number, and what comes of it.
type Place<'a> = (usize, &'a Taking, &'a mut Count);

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
        let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        Period { now, seconds, ends, minutes: self.minutes(), remaining }
    }

    /// Returns how long it is.
    pub fn length(self) -> Duration {
        Duration::from_secs(u64::from(self.minutes()).saturating_mul(60))
    }

    /// Returns what a service of Envoy's rate-limit protocol calls it: in its configuration, and the
    /// number in its answers (`RateLimitResponse.RateLimit.Unit`).
    pub fn unit(self) -> (&'static str, i32) {
        match self {
            Self::Minute => ("minute", 2),
            Self::Hour => ("hour", 3),
            Self::Day => ("day", 4),
            Self::Week => ("week", 7),
            Self::Days30 => ("month", 5),
            Self::Days365 => ("year", 6),
        }
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
    /// Keeps at most about this many counters. With an interval they are told to a fleet, and what
    /// is known of that is asked for again when it is older.
    pub fn new(shared: Rc<dyn SharedData>, entries: usize, interval: Option<Duration>) -> Self {
        let seconds = |interval: Duration| u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
        let interval = interval.map(|interval| seconds(interval).max(1));
        Self { shared, pages: entries.div_ceil(SLOTS).max(1), interval }
    }

    /// Returns what was used; of a fleet, as far as it is known.
    pub fn look(&self, counter: &Counter) -> Count {
        self.take(counter, 0, u64::MAX)
    }

    /// Counts an amount whatever was used before.
    pub fn add(&self, counter: &Counter, amount: u64) -> Count {
        self.take(counter, amount, u64::MAX)
    }

    /// Counts an amount unless it makes the sum greater than `most`.
    pub fn take(&self, counter: &Counter, amount: u64, most: u64) -> Count {
        let counts = self.take_all(&[Taking { counter: *counter, amount, most }]);
        counts.first().copied().unwrap_or_default()
    }

    /// Counts all amounts, or none of them if there is not enough left of any. Counters in one page
    /// are read and written at once.
    pub fn take_all(&self, takings: &[Taking]) -> Vec<Count> {
        let mut counts = vec![Count::default(); takings.len()];
        let places = takings.iter().zip(&mut counts);
        let places = places.map(|(taking, count)| (self.page(&taking.counter.key), taking, count));
        let mut places: Vec<Place<'_>> = places.collect();
        places.sort_by_key(|(page, ..)| *page);
        let mut is_enough = true;
        for places in places.chunk_by_mut(|(one, ..), (other, ..)| one == other) {
            is_enough = self.take_in_page(places, is_enough);
        }
        if !is_enough {
            for (taking, count) in
                takings.iter().zip(&mut counts).filter(|(_, count)| count.is_counted)
            {
                self.give_back(&taking.counter, taking.amount);
                count.is_counted = false;
            }
        }
        counts
    }

    /// Takes back what was counted a moment ago. If a settlement has told it in between, so much less
    /// is told the next time.
    pub fn give_back(&self, counter: &Counter, amount: u64) {
        let Counter { key, period, .. } = counter;
        self.change(self.page(key), |page| {
            let Some(mut slot) = page.find(key, *period) else { return false };
            slot.used = slot.used.saturating_sub(amount);
            if self.interval.is_some() {
                slot.unsettled = slot.unsettled.saturating_sub_unsigned(amount);
            }
            page.put(slot, *period);
            true
        });
    }

    /// Counts in one page if there was enough left in those before it. Returns true if there still is.
    fn take_in_page(&self, places: &mut [Place<'_>], was_enough: bool) -> bool {
        let Some(&mut (number, ..)) = places.first_mut() else { return was_enough };
        let (mut is_enough, mut is_news) = (was_enough, false);
        let is_written = self.change(number, |page| {
            let slot = |(_, Taking { counter, .. }, _): &Place<'_>| {
                page.find_or_empty(&counter.key, counter.period)
            };
            let slots: Vec<Slot> = places.iter().map(slot).collect();
            let of_each = || places.iter().zip(&slots);
            is_enough = was_enough
                && of_each().all(|((_, taking, _), slot)| taking.fits(self.total(*slot)));
            let mut is_changed = false;
            is_news = false;
            for ((_, taking, count), slot) in places.iter_mut().zip(slots) {
                is_changed |= self.count(page, slot, taking, is_enough, count);
                is_news |= count.is_pending && !slot.is_pending(taking.counter.grain);
            }
            is_changed
        });
        for (.., count) in &mut *places {
            count.is_counted &= is_written;
        }
        if is_written && is_news {
            self.mark(&[number]);
        }
        is_enough
    }

    /// Counts one amount in a page, if it is to be. Returns true if the page has changed.
    fn count(
        &self,
        page: &mut Page,
        mut slot: Slot,
        taking: &Taking,
        is_taken: bool,
        count: &mut Count,
    ) -> bool {
        let Taking { counter: Counter { period, grain, .. }, amount, .. } = *taking;
        *count = Count { used: self.total(slot), ..Count::default() };
        count.is_counted = is_taken && amount > 0;
        if count.is_counted {
            slot.used = slot.used.saturating_add(amount);
            let more = if self.interval.is_some() { amount } else { 0 };
            slot.unsettled = slot.unsettled.saturating_add_unsigned(more);
        }
        let is_asked = self.is_outdated(slot.asked, period.seconds);
        if is_asked {
            (slot.asked, slot.is_to_ask) = (period.seconds, true);
        }
        count.is_pending = self.interval.is_some() && slot.is_pending(grain);
        let is_changed = count.is_counted || is_asked;
        if is_changed {
            count.is_evicting = page.put(slot, period);
        }
        is_changed
    }

    fn total(&self, slot: Slot) -> u64 {
        if self.interval.is_some() { slot.total() } else { slot.used }
    }

    /// Changes a page, whatever other threads do to it. Returns false if it was left as it is.
    fn change(&self, number: usize, mut change: impl FnMut(&mut Page) -> bool) -> bool {
        let name = name(number);
        for _ in 0..MAX_ATTEMPTS {
            let (mut page, version) = self.read(&name);
            if !change(&mut page) {
                return false;
            }
            if self.shared.replace(&name, version, page.bytes()) {
                return true;
            }
        }
        false
    }

    fn read(&self, name: &str) -> (Page, Option<u32>) {
        match self.shared.read(name) {
            Some((bytes, version)) => (Page::parse(bytes), Some(version)),
            None => (Page::empty(), None),
        }
    }

    /// The page for a key: one of a fixed number, by its end. All counters of a limit begin alike,
    /// and those of one caller in limits that count by the same end alike.
    fn page(&self, key: &Key) -> usize {
        let Key([.., third, second, first]) = *key;
        let number = usize::from(first) << 16 | usize::from(second) << 8 | usize::from(third);
        number.checked_rem(self.pages).unwrap_or_default()
    }
}

impl Taking {
    fn fits(&self, used: u64) -> bool {
        used.saturating_add(self.amount.max(1)) <= self.most
    }
}

fn name(page: usize) -> String {
    let mut name = String::with_capacity(24);
    _ = write!(name, "keyless.ledger.{page}");
    name
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Ledger({} pages)", self.pages)
    }
}

#[cfg(test)]
mod tests;
