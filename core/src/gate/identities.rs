//! The gateway's identities: their tokens on the way, and what to do when a backend refuses one.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::supply::{Fetched, Supply};
use super::{ALREADY_TRYING, Fetch, Pending, Report, Stop, lost_at, wait_for};
use crate::denial::Denial;
use crate::http::{Answer, Call};
use crate::identity::{AccessToken, Endpoint, Environment, Identity};
use crate::lease::SharedData;
use crate::refresh::after;

/// Answers for the tokens that take the place of the callers'.
pub(super) struct Identities(Vec<Entry>);

/// One identity and its token.
struct Entry {
    endpoint: Endpoint,
    token: Supply<AccessToken>,
    /// When a backend's refusal was last told.
    told: Option<SystemTime>,
}

/// A token that a backend refuses is asked for anew at once, and then no more often than this: a
/// role that is missing is not mended by another token, and Azure gives out the same one for hours.
const REJECTED_INTERVAL: Duration = Duration::from_mins(1);

impl Identities {
    pub(super) fn new(
        identities: Vec<Identity>,
        environment: Environment<'_>,
        shared: &Rc<dyn SharedData>,
    ) -> Self {
        let entry = |identity| Entry::new(Endpoint::new(identity, environment), shared);
        Self(identities.into_iter().map(entry).collect())
    }

    /// Returns the token of the identity at this place in the configuration.
    pub(super) fn token(&self, at: usize, now: SystemTime) -> Result<&AccessToken, Stop> {
        let token = self.0.get(at).and_then(|entry| entry.token.refresh.value(now));
        token.ok_or(Stop::TokenMissing(at))
    }

    /// Returns the name of each identity, and whether its token is held.
    pub(super) fn readiness(&self, now: SystemTime) -> impl Iterator<Item = (&str, bool)> {
        let is_ready = move |entry: &Entry| entry.token.refresh.value(now).is_some();
        self.0.iter().map(move |entry| (entry.endpoint.name(), is_ready(entry)))
    }

    /// Says whether to wait for a token that is not there.
    pub(super) fn pending(&self, at: usize, now: SystemTime) -> Result<Pending, Denial> {
        let unavailable = |retry_after| Denial::IdentityUnavailable { retry_after };
        let entry = self.0.get(at).ok_or(unavailable(ALREADY_TRYING))?;
        wait_for(Fetch::Identity(at), &entry.token.refresh, unavailable, now)
    }

    /// Returns the calls that are due, and counts them as in flight.
    pub(super) fn calls(&mut self, now: SystemTime) -> impl Iterator<Item = (Fetch, Call)> {
        let entries = self.0.iter_mut().enumerate();
        entries.filter_map(move |(at, entry)| Some((Fetch::Identity(at), entry.call(now)?)))
    }

    pub(super) fn lost(&self, now: SystemTime) -> impl Iterator<Item = Fetch> {
        let entries = self.0.iter().enumerate();
        let lost = entries.filter(move |(_, entry)| entry.token.refresh.is_lost(now));
        lost.map(|(at, _)| Fetch::Identity(at))
    }

    /// Takes the answer to a call.
    pub(super) fn answered(
        &mut self,
        at: usize,
        answer: &Answer,
        now: SystemTime,
    ) -> Option<Report> {
        let Entry { endpoint, token, .. } = self.0.get_mut(at)?;
        let read = endpoint.read(answer, now).map(|token| fetched(token, now));
        let outcome = token.settle(read, answer, now);
        Some(Report::of("identity", endpoint.name(), outcome, token))
    }

    /// Has the token asked for anew that a backend refused, and gives the name of its identity, and
    /// whether the operator is to be told: once in a while.
    pub(super) fn rejected(&mut self, at: usize, now: SystemTime) -> Option<(&str, bool)> {
        let entry = self.0.get_mut(at)?;
        // A side that is in trouble is not asked sooner for that.
        if !entry.token.refresh.is_failing() {
            entry.token.refresh.hasten(REJECTED_INTERVAL, Duration::ZERO, now);
        }
        let is_recent = |told: SystemTime| told <= now && now < after(REJECTED_INTERVAL, told);
        let is_news = !entry.told.is_some_and(is_recent);
        if is_news {
            entry.told = Some(now);
        }
        Some((entry.endpoint.name(), is_news))
    }

    pub(super) fn wake_at(&self) -> impl Iterator<Item = SystemTime> {
        self.0.iter().map(|entry| entry.token.refresh.wake_at())
    }

    /// Returns how many fetches of an identity's token have ended.
    pub(super) fn count(&self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |entry| entry.token.refresh.count())
    }

    /// Lets other threads take over what is being fetched.
    pub(super) fn retire(&self) {
        self.0.iter().for_each(|entry| entry.token.retire());
    }
}

impl Entry {
    fn new(endpoint: Endpoint, shared: &Rc<dyn SharedData>) -> Self {
        let leased = |call| Supply::leased(shared, "identity", call);
        let token = endpoint.call().map_or_else(Supply::own, leased);
        Self { endpoint, token, told: None }
    }

    /// Returns the call that is due, if one is.
    fn call(&mut self, now: SystemTime) -> Option<Call> {
        let Self { endpoint, token, .. } = self;
        let call = endpoint.call();
        // A call that cannot be made is lost at once; its endpoint then says why.
        let deadline = call.map_or(now, |call| lost_at(call.timeout, now));
        let read = |body: &[u8], arrived| {
            endpoint.parse(body, arrived).map(|token| fetched(token, arrived))
        };
        if token.begin(deadline, now, read) { call.cloned() } else { None }
    }
}

/// Gives a token that arrived then the times that it is good for.
fn fetched(token: AccessToken, arrived: SystemTime) -> Fetched<AccessToken> {
    let (refresh_at, expires) = (token.refresh_at(arrived), token.unusable_at(arrived));
    Fetched { value: token, refresh_at, expires }
}
