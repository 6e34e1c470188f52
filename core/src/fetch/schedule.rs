//! When the next fetch is due, and whether one is in flight; it knows nothing of the value.

use std::time::{Duration, SystemTime};

use super::timer::{Timer, after, is_of_another_clock};
use crate::http::FetchError;

/// Says when to fetch.
#[derive(Debug)]
pub(super) struct Schedule {
    state: State,
    last: Outcome,
    /// When this thread last began a fetch.
    requested: Option<SystemTime>,
    /// What early fetches are left, of this thread and of the others.
    early: EarlyBudget,
    /// How many fetches have ended.
    ended: u64,
}

/// Bounds early fetches: a few at once, and then one for each interval. It is a token bucket, kept as
/// the time at which it is full again (the generic cell rate algorithm of ITU-T I.371).
#[derive(Debug, Default)]
struct EarlyBudget {
    at_once: u32,
    interval: Duration,
    /// When all that was spent is earned again.
    spent: Option<SystemTime>,
}

/// What is being done about the value.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The next fetch is due when the timer fires; `early` if somebody asked for it.
    Idle { due: Timer, early: bool },
    /// This thread fetches; the fetch is lost when the timer fires.
    InFlight { lost: Timer },
    /// A fetch is due, but another thread has the lease; look again when the timer fires.
    Elsewhere { look_again: Timer, early: bool },
    /// The value never changes.
    Never,
}

/// How the last fetch ended. It outlives the state: a retry in flight still follows a failure.
#[derive(Debug)]
enum Outcome {
    /// It was good, or there was none yet.
    Good,
    /// It failed.
    Failed(Failure),
    /// Another thread's fetch failed, with this code; before that, this thread's own may have failed,
    /// too.
    FailedElsewhere(Option<&'static str>, Option<Failure>),
}

/// The last of several failures in a row.
#[derive(Debug)]
struct Failure {
    error: FetchError,
    in_a_row: u32,
}

/// Tells how far away the next fetch is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NextFetch {
    /// A fetch is in flight, or due so soon that a request may as well wait for it.
    Soon,
    /// The next fetch begins after this time.
    Later(Duration),
}

/// A request waits for a fetch that begins within this time, instead of being refused.
const MAX_WAIT_FOR_RETRY: Duration = Duration::from_secs(2);

impl EarlyBudget {
    /// Returns when the next early fetch may begin.
    fn earliest(&self, now: SystemTime) -> SystemTime {
        let others = self.interval.saturating_mul(self.at_once.saturating_sub(1));
        let earned = self.spent(now).and_then(|spent| spent.checked_sub(others));
        earned.map_or(now, |earned| earned.max(now))
    }

    /// Takes one early fetch, which begins now.
    fn spend(&mut self, now: SystemTime) {
        let from = self.spent(now).map_or(now, |spent| spent.max(now));
        self.spent = Some(after(self.interval, from).min(self.empty(now)));
    }

    /// Takes over what other threads have spent, who may know of more fetches than this one.
    fn learn(&mut self, spent: SystemTime, now: SystemTime) {
        let spent = spent.min(self.empty(now));
        self.spent = Some(self.spent(now).map_or(spent, |own| own.max(spent)));
    }

    /// What lies further ahead than all that can be spent was noted before the clock was set back.
    fn spent(&self, now: SystemTime) -> Option<SystemTime> {
        self.spent.filter(|spent| !is_of_another_clock(*spent, self.empty(now)))
    }

    /// Returns when all is earned again if nothing is left now.
    fn empty(&self, now: SystemTime) -> SystemTime {
        after(self.interval.saturating_mul(self.at_once.max(1)), now)
    }
}

impl Schedule {
    /// Makes one whose first fetch is due at once.
    pub(super) fn due_now() -> Self {
        let epoch = SystemTime::UNIX_EPOCH;
        Self::of(State::Idle { due: Timer::new(epoch, epoch), early: false })
    }

    /// Makes one that never asks for a fetch.
    pub(super) fn never() -> Self {
        Self::of(State::Never)
    }

    fn of(state: State) -> Self {
        Self {
            state,
            last: Outcome::Good,
            requested: None,
            early: EarlyBudget::default(),
            ended: 0,
        }
    }

    /// Returns true if it is time for a fetch, and none is in flight.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        self.next().is_some_and(|next| next.has_fired(now))
    }

    /// Notes that this thread begins a fetch, which counts as lost at `deadline`, so that an answer
    /// that never comes blocks nothing.
    pub(super) fn begin(&mut self, deadline: SystemTime, now: SystemTime) {
        self.requested = Some(now);
        if self.is_early() {
            self.early.spend(now);
        }
        self.state = State::InFlight { lost: Timer::new(deadline, now) };
    }

    /// Moves the deadline of the fetch in flight.
    pub(super) fn extend(&mut self, deadline: SystemTime, now: SystemTime) {
        if self.is_in_flight() {
            self.state = State::InFlight { lost: Timer::new(deadline, now) };
        }
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight { .. })
    }

    pub(super) fn is_lost(&self, now: SystemTime) -> bool {
        matches!(self.state, State::InFlight { lost } if lost.has_fired(now))
    }

    /// Leaves the fetch that is due to the thread that has the lease.
    pub(super) fn wait_for_other_thread(&mut self, look_again: SystemTime, now: SystemTime) {
        let early = self.is_early();
        self.state = State::Elsewhere { look_again: Timer::new(look_again, now), early };
    }

    /// Notes that another thread's fetch failed with this code, and that it will retry at `next_try`.
    pub(super) fn fail_elsewhere(
        &mut self,
        code: Option<&'static str>,
        next_try: SystemTime,
        now: SystemTime,
    ) {
        let own = match std::mem::replace(&mut self.last, Outcome::Good) {
            Outcome::Good => None,
            Outcome::Failed(failure) => Some(failure),
            Outcome::FailedElsewhere(_, own) => own,
        };
        self.last = Outcome::FailedElsewhere(code, own);
        self.end(next_try, self.is_early(), now);
    }

    /// Notes that the fetch failed, and that the next one is due at `next_try`.
    pub(super) fn fail(&mut self, error: FetchError, next_try: SystemTime, now: SystemTime) {
        let in_a_row = self.failures().saturating_add(1);
        self.last = Outcome::Failed(Failure { error, in_a_row });
        self.end(next_try, false, now);
    }

    /// Notes that there is a new value, which is to be replaced at `refresh_at`.
    pub(super) fn succeed(&mut self, refresh_at: SystemTime, now: SystemTime) {
        self.last = Outcome::Good;
        self.end(refresh_at, false, now);
    }

    /// Takes over what other threads have spent of the early fetches, which count for all.
    pub(super) fn learn_early(&mut self, spent: Option<SystemTime>, now: SystemTime) {
        if let Some(spent) = spent {
            self.early.learn(spent, now);
        }
    }

    /// Returns when all early fetches are earned again, if any was made.
    pub(super) fn early_spent(&self, now: SystemTime) -> Option<SystemTime> {
        self.early.spent(now)
    }

    /// Sets how many fetches may be early at once, and how long each of them takes to be earned
    /// again.
    pub(super) fn set_early_budget(&mut self, at_once: u32, interval: Duration) {
        self.early = EarlyBudget { at_once, interval, spent: None };
    }

    /// Makes the next fetch due early; see [`Cached::refresh_early`](super::Cached::refresh_early).
    pub(super) fn refresh_early(&mut self, max_wait: Duration, now: SystemTime) -> bool {
        let Some(next) = self.next() else { return self.is_in_flight() };
        let earliest = self.early.earliest(now);
        if earliest <= after(max_wait, now) && earliest < next.fires() {
            self.state = State::Idle { due: Timer::new(earliest, now), early: true };
            return true;
        }
        next.remaining(now) <= max_wait
    }

    pub(super) fn next_fetch(&self, now: SystemTime) -> NextFetch {
        match self.next().map(|next| next.remaining(now)) {
            Some(wait) if wait > MAX_WAIT_FOR_RETRY => NextFetch::Later(wait),
            Some(_) | None => NextFetch::Soon,
        }
    }

    /// Returns when the last fetch of this thread began. A clock that was set back since gives
    /// `now`: an answer cannot be newer than its arrival.
    pub(super) fn requested(&self, now: SystemTime) -> SystemTime {
        self.requested.map_or(now, |requested| requested.min(now))
    }

    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    pub(super) fn is_failing(&self) -> bool {
        match self.last {
            Outcome::Good => false,
            Outcome::Failed(_) | Outcome::FailedElsewhere(..) => true,
        }
    }

    /// Returns how the last fetch of this thread failed, if no success came since.
    pub(super) fn failure(&self) -> Option<&FetchError> {
        self.own_failure().map(|failure| &failure.error)
    }

    /// Returns the code of the last fetch's failure, if it failed.
    pub(super) fn failure_code(&self) -> Option<&'static str> {
        match &self.last {
            Outcome::Good => None,
            Outcome::Failed(failure) => Some(failure.error.code()),
            Outcome::FailedElsewhere(code, _) => *code,
        }
    }

    /// Returns how many fetches of this thread failed since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.own_failure().map_or(0, |failure| failure.in_a_row)
    }

    pub(super) fn wake_at(&self) -> Option<SystemTime> {
        match self.state {
            State::Idle { due: timer, .. }
            | State::InFlight { lost: timer }
            | State::Elsewhere { look_again: timer, .. } => Some(timer.fires()),
            State::Never => None,
        }
    }

    /// The timer of the next fetch, if none is in flight and there will be one.
    fn next(&self) -> Option<Timer> {
        match self.state {
            State::Idle { due: timer, .. } | State::Elsewhere { look_again: timer, .. } => {
                Some(timer)
            }
            State::InFlight { .. } | State::Never => None,
        }
    }

    /// Returns true if somebody asked for the next fetch before its time.
    pub(super) fn is_early(&self) -> bool {
        match self.state {
            State::Idle { early, .. } | State::Elsewhere { early, .. } => early,
            State::InFlight { .. } | State::Never => false,
        }
    }

    fn own_failure(&self) -> Option<&Failure> {
        match &self.last {
            Outcome::Good => None,
            Outcome::Failed(failure) => Some(failure),
            Outcome::FailedElsewhere(_, own) => own.as_ref(),
        }
    }

    fn end(&mut self, due: SystemTime, early: bool, now: SystemTime) {
        self.ended = self.ended.wrapping_add(1);
        self.state = State::Idle { due: Timer::new(due, now), early };
    }
}
