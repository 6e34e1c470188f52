//! Keeps remote values fresh: key sets and identity tokens, fetched once for all threads of a proxy.
//!
//! A value is fetched before it is needed, replaced before it expires, and retried with back-off
//! when a fetch fails. This room decides when; it does not send the calls, does not know who waits
//! for the value, and has no clock.
//!
//! [`Cached`] is what the gate uses. It joins a schedule (when is the next fetch due?), the back-off
//! (how long after a failure?) and a lease in the proxy's shared data (which thread fetches?).

mod backoff;
mod jitter;
mod lease;
mod schedule;
mod shared_data;
mod timer;

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::http::{Answer, Call, FetchError};
use backoff::MAX_BACKOFF_BY_HELD;
use jitter::Jitter;
pub use lease::record_key;
use lease::{Claim, Lease, Publication};
pub use schedule::NextFetch;
use schedule::Schedule;
pub use shared_data::{InMemorySharedData, SharedData};
pub use timer::after;
use timer::{Timer, far_future};

/// Holds a remote value, and says when to fetch it again and when to stop using it.
///
/// At most one fetch is in flight per thread, and with [`Cached::leased`] per proxy. A value is given
/// out until it expires, also while fetches fail.
///
/// ```
/// # use std::rc::Rc;
/// # use std::time::{Duration, SystemTime};
/// # use keyless_core::fetch::{Cached, FetchedValue, InMemorySharedData, SharedData};
/// # use keyless_core::http::{Answer, FetchError};
/// fn read(body: &[u8], arrived: SystemTime) -> Result<FetchedValue<Vec<u8>>, FetchError> {
///     let after = |seconds| arrived + Duration::from_secs(seconds);
///     Ok(FetchedValue { value: body.to_vec(), refresh_at: after(50), expires: after(100) })
/// }
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
/// let after = |seconds| now + Duration::from_secs(seconds);
/// let shared: Rc<dyn SharedData> = Rc::new(InMemorySharedData::new(true));
/// let mut keys = Cached::unshared(&shared);
/// assert!(keys.begin(after(5), now, read), "there is no value, so fetch one");
/// assert!(!keys.begin(after(5), now, read), "one fetch at a time");
///
/// let answer = Answer::Arrived { status: 200, retry_after: None, body: b"k1".to_vec() };
/// keys.settle(read(b"k1", now), &answer, now);
/// assert!(!keys.begin(after(5), now, read), "the value is fresh");
/// assert!(keys.begin(after(55), after(50), read), "half of its life is over: fetch the next");
/// assert_eq!(keys.value(after(99)), Some(&b"k1".to_vec()), "and use this one meanwhile");
/// assert_eq!(keys.value(after(100)), None, "it has expired");
/// ```
#[derive(Debug)]
pub struct Cached<T> {
    held: Option<Held<T>>,
    schedule: Schedule,
    jitter: Jitter,
    /// Without a lease, this thread fetches for itself.
    lease: Option<Lease>,
    /// When to look whether another thread has published a newer value than the held one.
    look: Option<Timer>,
    /// What the thread that fetches for this one has yet to be told.
    want: Option<Want>,
}

/// Says that a thread which leaves its fetches to another one has found one due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Want {
    /// Somebody asked for it before its time.
    is_early: bool,
    /// When the value was requested that it is to replace.
    held_since: Option<SystemTime>,
}

/// Holds what was read from an answer, and the times that it is good for.
#[derive(Debug)]
pub struct FetchedValue<T> {
    /// The value.
    pub value: T,
    /// When the next fetch is due. Jitter makes it up to a tenth sooner, counted from the arrival.
    pub refresh_at: SystemTime,
    /// From when on the value must not be used.
    pub expires: SystemTime,
}

/// Tells how a fetch ended.
#[derive(Debug)]
pub struct FetchOutcome {
    /// Why it failed, if it did.
    pub result: Result<(), FetchError>,
    /// True if the fetch before it ended differently, or if there was none.
    pub is_news: bool,
}

#[derive(Debug)]
struct Held<T> {
    value: T,
    version: u64,
    requested: SystemTime,
    expires: SystemTime,
}

/// The least time between a success and the next fetch; without it, a value that expires at once
/// would be fetched in a loop.
const MIN_REFETCH_INTERVAL: Duration = Duration::from_secs(1);

/// How often a thread that holds a value looks for a newer one of another thread: a key that is known
/// to be gone must not serve on for the hour until the next refresh. It costs one read of shared data.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

impl<T> Cached<T> {
    /// Makes an empty one that each thread fetches for itself. Nothing of it goes into shared data.
    pub fn unshared(shared: &Rc<dyn SharedData>) -> Self {
        Self::of(Schedule::due_now(), Jitter::of(shared.holder(), ""), None)
    }

    /// Makes one that holds a value for ever and never has it fetched.
    pub fn fixed(value: T) -> Self {
        let (requested, expires) = (SystemTime::UNIX_EPOCH, far_future());
        let held = Some(Held { value, version: 0, requested, expires });
        Self { held, ..Self::of(Schedule::never(), Jitter::of(0, ""), None) }
    }

    /// Makes an empty one that one thread at a time fetches with these calls. Where shared data is
    /// private, the other threads take the answer over, when it is due for them and every two
    /// seconds. `kind` names the format of the answer:
    /// `jwks`, `discovery` or `identity`.
    pub fn leased(shared: &Rc<dyn SharedData>, kind: &str, calls: &[&Call]) -> Self {
        let lease = Lease::new(Rc::clone(shared), kind, calls);
        let jitter = Jitter::of(shared.holder(), lease.key());
        Self::of(Schedule::due_now(), jitter, Some(lease))
    }

    fn of(schedule: Schedule, jitter: Jitter, lease: Option<Lease>) -> Self {
        Self { held: None, schedule, jitter, lease, look: None, want: None }
    }

    /// Returns the value, unless there is none or it has expired.
    pub fn value(&self, now: SystemTime) -> Option<&T> {
        self.held.as_ref().filter(|held| now < held.expires).map(|held| &held.value)
    }

    /// Returns true if this thread must send the call now; the fetch then counts as in flight, and
    /// as lost at `deadline`. If another thread has published a newer value, adopts that instead;
    /// `read` reads an answer that arrived at the given time.
    pub fn begin(
        &mut self,
        deadline: SystemTime,
        now: SystemTime,
        read: impl FnOnce(&[u8], SystemTime) -> Result<FetchedValue<T>, FetchError>,
    ) -> bool {
        let is_due = self.schedule.is_due(now);
        let looks = self.looks(now) && !self.schedule.is_in_flight();
        if !is_due && !looks {
            return false;
        }
        let held_since = self.held.as_ref().map(|held| held.requested);
        let newer = self.lease.as_ref().and_then(|lease| lease.published(held_since, now));
        let is_adopted = newer.is_some_and(|publication| self.adopt(publication, now, read));
        if is_adopted || !is_due {
            return false;
        }
        match self.lease.as_ref().map_or(Claim::Granted, |lease| lease.claim(deadline, now)) {
            Claim::Granted => self.schedule.begin(deadline, now),
            Claim::Taken(look_again) => self.schedule.wait_for_other_thread(look_again, now),
            Claim::Failing(next_try, code) => self.schedule.fail_elsewhere(code, next_try, now),
            Claim::Left(look_again) => {
                self.want = Some(Want { is_early: self.schedule.is_early(), held_since });
                self.schedule.wait_for_other_thread(look_again, now);
            }
        }
        self.schedule.is_in_flight()
    }

    /// Returns, once, that a fetch is due which this thread leaves to another one.
    pub fn want(&mut self) -> Option<Want> {
        self.want.take()
    }

    /// Makes the next fetch due early if another thread wants that, and has not seen the value that
    /// is held since; `max_wait` is as in [`Cached::refresh_early`]. After a failure the back-off
    /// alone says when to try again.
    pub fn fetch_for_another(&mut self, want: Want, max_wait: Duration, now: SystemTime) {
        let is_newer = |held: &Held<T>| want.held_since.is_none_or(|since| since < held.requested);
        if want.is_early && !self.is_failing() && !self.held.as_ref().is_some_and(is_newer) {
            self.refresh_early(max_wait, now);
        }
    }

    /// Extends the deadline of the fetch in flight, and its lease, because it takes another call.
    pub fn extend(&mut self, deadline: SystemTime, now: SystemTime) {
        self.schedule.extend(deadline, now);
        if let Some(lease) = &self.lease {
            // If another thread took the lease over, both fetch; either answer is as good.
            _ = lease.claim(deadline, now);
        }
    }

    /// Takes the result of the fetch in flight, and publishes a good answer for the other threads.
    pub fn settle(
        &mut self,
        fetched: Result<FetchedValue<T>, FetchError>,
        answer: &Answer,
        now: SystemTime,
    ) -> FetchOutcome {
        match fetched {
            Ok(fetched) => {
                let is_news = self.schedule.is_failing() || self.schedule.ended() == 0;
                let requested = self.schedule.requested(now);
                self.publish(requested, answer, now);
                self.hold(fetched, requested, now, now);
                FetchOutcome { result: Ok(()), is_news }
            }
            Err(error) => {
                let is_news = self.schedule.failure() != Some(&error);
                self.fail(error.clone(), answer.retry_after(), now);
                FetchOutcome { result: Err(error), is_news }
            }
        }
    }

    /// Gives the lease back, so that another thread can fetch at once: this one is going away.
    pub fn retire(&self) {
        if let Some(lease) = &self.lease {
            lease.release();
        }
    }

    /// Allows this many early fetches at once, and then one more for each `interval` that passes;
    /// without it, early fetches are not bounded.
    #[must_use]
    pub fn with_early_budget(mut self, at_once: u32, interval: Duration) -> Self {
        self.schedule.set_early_budget(at_once, interval);
        self
    }

    /// Makes the next fetch due early, because the value may be outdated, unless that is more than
    /// `max_wait` away by the budget of [`Cached::with_early_budget`].
    ///
    /// Returns true if a fetch is in flight or will begin within `max_wait`.
    pub fn refresh_early(&mut self, max_wait: Duration, now: SystemTime) -> bool {
        self.schedule.refresh_early(max_wait, now)
    }

    /// Returns true if the fetch in flight is lost; it is then to be settled with [`Answer::Lost`].
    pub fn is_lost(&self, now: SystemTime) -> bool {
        self.schedule.is_lost(now)
    }

    /// Tells whether to wait for the fetch that is in flight or due next.
    pub fn next_fetch(&self, now: SystemTime) -> NextFetch {
        self.schedule.next_fetch(now)
    }

    /// Returns when [`Cached::begin`] or [`Cached::is_lost`] may return true next; `None` is never.
    pub fn wake_at(&self) -> Option<SystemTime> {
        self.schedule.wake_at().into_iter().chain(self.look.map(Timer::fires)).min()
    }

    /// Returns true if the last fetch failed, of this thread or of the one that holds the lease.
    pub fn is_failing(&self) -> bool {
        self.schedule.is_failing()
    }

    /// Returns the code of the last fetch's failure, if it failed: [`FetchError::code`]. That of
    /// another thread's is known as far as that thread could say.
    pub fn failure_code(&self) -> Option<&'static str> {
        self.schedule.failure_code()
    }

    /// Returns how many fetches have ended; it changes when there may be a new value.
    pub fn ended(&self) -> u64 {
        self.schedule.ended()
    }

    /// Returns a number that differs for each value that was ever held.
    pub fn version(&self) -> u64 {
        self.held.as_ref().map_or(u64::MAX, |held| held.version)
    }

    /// Returns when the held value was requested and when it expires.
    pub fn held(&self) -> Option<(SystemTime, SystemTime)> {
        self.held.as_ref().map(|held| (held.requested, held.expires))
    }

    /// Returns true if the held value was requested at `time` or later.
    pub fn is_as_new_as(&self, time: SystemTime) -> bool {
        self.held.as_ref().is_some_and(|held| held.requested >= time)
    }

    /// Returns true once for each time that it is worth looking for another thread's newer value.
    fn looks(&mut self, now: SystemTime) -> bool {
        let looks = self.look.is_some_and(|look| look.has_fired(now));
        if looks {
            self.look = Some(Timer::new(after(LOOK_INTERVAL, now), now));
        }
        looks
    }

    /// Holds what another thread fetched. Returns false if it cannot be used.
    fn adopt(
        &mut self,
        publication: Publication,
        now: SystemTime,
        read: impl FnOnce(&[u8], SystemTime) -> Result<FetchedValue<T>, FetchError>,
    ) -> bool {
        let Publication { requested, early_spent, arrived, body } = publication;
        let Ok(fetched) = read(&body, arrived) else { return false };
        let is_usable = now < fetched.expires;
        if is_usable {
            self.schedule.learn_early(early_spent, now);
            self.hold(fetched, requested, arrived, now);
        }
        is_usable
    }

    fn hold(
        &mut self,
        fetched: FetchedValue<T>,
        requested: SystemTime,
        arrived: SystemTime,
        now: SystemTime,
    ) {
        let FetchedValue { value, refresh_at, expires } = fetched;
        let life = refresh_at.duration_since(arrived).unwrap_or_default();
        let refresh_at = after(life.saturating_sub(self.jitter.share(life, 0, arrived)), arrived);
        let version = self.schedule.ended();
        self.held = Some(Held { value, version, requested, expires });
        let is_shared = self.lease.as_ref().is_some_and(Lease::is_shared);
        self.look = is_shared.then(|| Timer::new(after(LOOK_INTERVAL, now), now));
        self.schedule.succeed(refresh_at.max(after(MIN_REFETCH_INTERVAL, now)), now);
    }

    fn fail(&mut self, error: FetchError, retry_after: Option<Duration>, now: SystemTime) {
        let failures = self.schedule.failures();
        let is_held = self.value(after(MAX_BACKOFF_BY_HELD, now)).is_some();
        let wait = backoff::wait(&error, retry_after, failures, is_held, self.jitter, now);
        let next_try = after(wait, now);
        if let Some(lease) = &self.lease {
            lease.keep_until_retry(error.code(), next_try, now);
        }
        self.schedule.fail(error, next_try, now);
    }

    fn publish(&self, requested: SystemTime, answer: &Answer, now: SystemTime) {
        if let (Some(lease), Ok(body)) = (&self.lease, answer.content()) {
            let (early_spent, body) = (self.schedule.early_spent(now), body.to_vec());
            lease.publish(&Publication { requested, early_spent, arrived: now, body });
        }
    }
}

#[cfg(test)]
mod tests;
