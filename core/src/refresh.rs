//! Decides when a remote value must be fetched again, without fetching it.
//!
//! Keys and identity tokens are one problem: somebody else issues a value, it is good for a while,
//! and it must be replaced in time. This module knows neither what it fetches nor how, only in which
//! ways that can fail, and it has no clock.

mod pause;

use std::time::{Duration, SystemTime};

use crate::http::FetchError;
use pause::{LEISURE, pause};

/// Holds a remote value and says when to replace it and when to stop using it.
///
/// At most one fetch is in flight, and a held value is never given out past its expiry.
///
/// ```
/// # use keyless_core::refresh::Refresh;
/// # use std::time::{Duration, SystemTime};
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
/// let after = |seconds| now + Duration::from_secs(seconds);
/// let mut keys = Refresh::new();
/// assert!(keys.begin(after(5), now), "nothing is held, so fetch");
/// assert!(!keys.begin(after(5), now), "one fetch at a time");
///
/// keys.renew("k1", after(50), after(100), now);
/// assert!(!keys.begin(after(5), now), "fresh enough");
/// assert!(keys.begin(after(55), after(50)), "half-way, fetch the next");
/// assert_eq!(keys.value(after(99)), Some(&"k1"), "and use this one meanwhile");
/// assert_eq!(keys.value(after(100)), None);
/// ```
#[derive(Debug)]
pub struct Refresh<T> {
    held: Option<Held<T>>,
    /// When the next fetch is due; while one is in flight, when it counts as lost.
    next: Alarm,
    in_flight: bool,
    /// When the last fetch of this thread began.
    begun: Option<SystemTime>,
    /// How the last fetch failed, if it did, and how many had failed before it in a row.
    failure: Option<(FetchError, u32)>,
    /// The last fetch of another thread failed.
    is_failing_elsewhere: bool,
    /// When the last fetch began that was brought forward.
    hastened: Option<SystemTime>,
    /// The next fetch was brought forward.
    is_hastened: bool,
    /// How many fetches have ended.
    count: u64,
}

#[derive(Debug)]
struct Held<T> {
    value: T,
    version: u64,
    asked: SystemTime,
    expires: SystemTime,
}

/// Rings at a time, and at once if the clock is set back to well before the alarm was set.
#[derive(Clone, Copy, Debug)]
struct Alarm {
    set: SystemTime,
    rings: SystemTime,
}

/// Tells what to expect of a value that is not at hand, or not new enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Prospect {
    /// A fetch is in flight, or due before the wait grows long.
    Soon,
    /// The next fetch is this far away.
    Later(Duration),
}

/// The least time between a success and the next fetch, or a zero lifetime would loop.
const FLOOR: Duration = Duration::from_secs(1);
/// A little over a hundred years, which every clock can hold.
const FOREVER: Duration = Duration::from_secs(1 << 32);
/// How far a clock that is being corrected may step back without anybody noticing.
pub const CLOCK_STEP: Duration = Duration::from_secs(10);
/// A request may as well wait for a fetch that is due within this time.
const SOON: Duration = Duration::from_secs(2);

impl<T> Refresh<T> {
    /// Makes an empty one whose first fetch is due at once.
    pub fn new() -> Self {
        let epoch = SystemTime::UNIX_EPOCH;
        let next = Alarm { set: epoch, rings: epoch };
        Self {
            held: None,
            next,
            in_flight: false,
            begun: None,
            failure: None,
            is_failing_elsewhere: false,
            hastened: None,
            is_hastened: false,
            count: 0,
        }
    }

    /// Makes one that holds a value for ever and never has it fetched.
    pub fn fixed(value: T) -> Self {
        let (epoch, never) = (SystemTime::UNIX_EPOCH, after(FOREVER, SystemTime::UNIX_EPOCH));
        let held = Held { value, version: 0, asked: epoch, expires: never };
        Self { held: Some(held), next: Alarm { set: epoch, rings: never }, ..Self::new() }
    }

    /// Returns the value, unless there is none or it has expired.
    pub fn value(&self, now: SystemTime) -> Option<&T> {
        self.held.as_ref().filter(|held| now < held.expires).map(|held| &held.value)
    }

    /// Returns true if it is time for a fetch, and none is in flight.
    pub fn is_due(&self, now: SystemTime) -> bool {
        !self.in_flight && self.next.has_rung(now)
    }

    /// Returns true if the caller must fetch now, and counts that fetch as in flight; it counts as
    /// lost at `deadline`, so that an answer that never comes stops nothing.
    pub fn begin(&mut self, deadline: SystemTime, now: SystemTime) -> bool {
        let begin = self.is_due(now);
        if begin {
            self.in_flight = true;
            self.begun = Some(now);
            if std::mem::take(&mut self.is_hastened) {
                self.hastened = self.begun;
            }
            self.next = Alarm { set: now, rings: deadline };
        }
        begin
    }

    /// Puts off the deadline of the fetch in flight, because it takes another call.
    pub fn prolong(&mut self, deadline: SystemTime, now: SystemTime) {
        if self.in_flight {
            self.next = Alarm { set: now, rings: deadline };
        }
    }

    /// Returns true if the fetch in flight is lost; the caller must then report it as failed.
    pub fn is_lost(&self, now: SystemTime) -> bool {
        self.in_flight && self.next.has_rung(now)
    }

    /// Takes a fetched value, to be replaced from `refresh_at` on and unusable from `expires` on.
    pub fn renew(
        &mut self,
        value: T,
        refresh_at: SystemTime,
        expires: SystemTime,
        now: SystemTime,
    ) {
        self.hold(value, self.begun.unwrap_or(now), refresh_at, expires, now);
    }

    /// Takes a value that another thread asked for at `asked`, because it was brought forward or
    /// not, with the same times.
    pub fn adopt(
        &mut self,
        value: T,
        (asked, is_hastened): (SystemTime, bool),
        refresh_at: SystemTime,
        expires: SystemTime,
        now: SystemTime,
    ) {
        self.is_hastened = false;
        if is_hastened {
            self.hastened = Some(asked);
        }
        self.hold(value, asked, refresh_at, expires, now);
    }

    /// Leaves the fetch that is due to another thread, until there may be something to see.
    pub fn put_off(&mut self, until: SystemTime, now: SystemTime) {
        self.next = Alarm { set: now, rings: until };
    }

    /// Takes it that another thread's fetch failed and that it will try again at `next`.
    pub fn fail_elsewhere(&mut self, next: SystemTime, now: SystemTime) {
        self.is_failing_elsewhere = true;
        self.end(next, now);
    }

    /// Takes a failed fetch and puts off the next one: by as much as the kind of failure and the
    /// number of failures in a row demand, and by no less than the other side asked for (`told`).
    pub fn fail(&mut self, error: FetchError, told: Option<Duration>, now: SystemTime) {
        let before = self.failure.take().map_or(0, |(_, before)| before.saturating_add(1));
        let is_held = self.value(after(LEISURE, now)).is_some();
        let wait = pause(&error, told, before, is_held, now);
        (self.failure, self.is_failing_elsewhere) = (Some((error, before)), false);
        self.end(after(wait, now), now);
    }

    /// Brings the next fetch forward, because the value may be outdated, if that makes it begin
    /// within `patience`; fetches that are brought forward begin at least `interval` apart.
    ///
    /// Returns true if a fetch is in flight or will begin within `patience`.
    pub fn hasten(&mut self, interval: Duration, patience: Duration, now: SystemTime) -> bool {
        if self.in_flight {
            return true;
        }
        let last = self.hastened.filter(|last| *last <= after(CLOCK_STEP, now));
        let earliest = last.map_or(now, |last| after(interval, last).max(now));
        if earliest <= after(patience, now) && earliest < self.next.rings {
            self.next = Alarm { set: now, rings: earliest };
            self.is_hastened = true;
        }
        self.next.remaining(now) <= patience
    }

    /// Tells whether to wait for the fetch that is in flight or due next.
    pub fn prospect(&self, now: SystemTime) -> Prospect {
        let wait = self.next.remaining(now);
        if self.in_flight || wait <= SOON { Prospect::Soon } else { Prospect::Later(wait) }
    }

    /// Returns a number that is another for each value that was ever held.
    pub fn version(&self) -> u64 {
        self.held.as_ref().map_or(u64::MAX, |held| held.version)
    }

    /// Returns when the held value was asked for and when it expires.
    pub fn held(&self) -> Option<(SystemTime, SystemTime)> {
        self.held.as_ref().map(|held| (held.asked, held.expires))
    }

    /// Returns when the held value was asked for.
    pub fn asked(&self) -> Option<SystemTime> {
        self.held.as_ref().map(|held| held.asked)
    }

    /// Returns when the last fetch of this thread began, and if it was brought forward.
    pub fn begun(&self) -> Option<(SystemTime, bool)> {
        self.begun.map(|begun| (begun, self.hastened == self.begun))
    }

    /// Returns true if the held value was asked for at `time` or later.
    pub fn is_as_new_as(&self, time: SystemTime) -> bool {
        self.asked().is_some_and(|asked| asked >= time)
    }

    /// Returns how many fetches have ended; it changes when there is something new to see.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns true if the last fetch failed.
    pub fn is_failing(&self) -> bool {
        self.failure.is_some() || self.is_failing_elsewhere
    }

    /// Returns how the last fetch failed, if it did.
    pub fn failure(&self) -> Option<&FetchError> {
        self.failure.as_ref().map(|(error, _)| error)
    }

    /// Returns when [`Refresh::begin`] or [`Refresh::is_lost`] is worth asking again.
    pub fn wake_at(&self) -> SystemTime {
        self.next.rings
    }

    fn hold(
        &mut self,
        value: T,
        asked: SystemTime,
        refresh_at: SystemTime,
        expires: SystemTime,
        now: SystemTime,
    ) {
        self.held = Some(Held { value, version: self.count, asked, expires });
        (self.failure, self.is_failing_elsewhere) = (None, false);
        self.end(refresh_at.max(after(FLOOR, now)), now);
    }

    fn end(&mut self, next: SystemTime, now: SystemTime) {
        self.in_flight = false;
        self.count = self.count.wrapping_add(1);
        self.next = Alarm { set: now, rings: next };
    }
}

impl<T> Default for Refresh<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl Alarm {
    fn has_rung(&self, now: SystemTime) -> bool {
        self.rings <= now || after(CLOCK_STEP, now) < self.set
    }

    fn remaining(&self, now: SystemTime) -> Duration {
        if self.has_rung(now) {
            return Duration::ZERO;
        }
        self.rings.duration_since(now).unwrap_or_default()
    }
}

/// Returns the time that lies `wait` after `time`; one that the clock cannot hold counts as `time`.
pub fn after(wait: Duration, time: SystemTime) -> SystemTime {
    time.checked_add(wait).unwrap_or(time)
}

/// Shortens a wait by up to a tenth, so that a fleet that started together does not march in step.
pub fn spread(wait: Duration, now: SystemTime) -> Duration {
    wait.saturating_sub(share(wait, now))
}

/// Returns up to a tenth of a wait.
///
/// The nanoseconds of the clock serve as chance: the core has no other source, and needs no better.
fn share(wait: Duration, now: SystemTime) -> Duration {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let chance = since_epoch.subsec_nanos() % 1000;
    wait.checked_div(10_000).unwrap_or_default().saturating_mul(chance)
}

#[cfg(test)]
mod tests;
