//! The gateway's identities: their tokens on the way, and what to do when a backend refuses one.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::decision::Stop;
use super::{ALREADY_TRYING, FailedStep, Fetch, Report, lost_at, stop_for};
use crate::denial::Denial;
use crate::fetch::{Cached, FetchedValue, SharedData, Want, after};
use crate::http::{Answer, Call};
use crate::identity::{AccessToken, Endpoint, Environment, Identity, IdentityIndex};

/// Answers for the tokens that take the place of the callers'.
pub(super) struct Identities(Vec<Entry>);

/// One identity and its token.
struct Entry {
    endpoint: Endpoint,
    token: Cached<AccessToken>,
    step: FetchStep,
    /// When a backend's rejection was last reported.
    reported: Option<SystemTime>,
}

/// How far a fetch has come: where the credential is in a file, it takes two calls.
enum FetchStep {
    File,
    /// The file has arrived; this call, with what it holds, is to be sent.
    Ready(Call),
    Token,
}

/// Tells how the last fetch of an identity's token failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Failing {
    /// What failed, where a fetch takes two steps.
    pub(super) step: Option<FailedStep>,
    /// The code of the failure, if this thread knows it.
    pub(super) result: Option<&'static str>,
}

/// The least time between refreshes that rejections cause. The first one is immediate; a role that
/// is missing is not mended by another token, and Azure gives out the same one for hours.
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

    /// Returns the token of an identity, or what to do without it.
    pub(super) fn token(
        &self,
        index: IdentityIndex,
        now: SystemTime,
    ) -> Result<(IdentityIndex, &AccessToken), Stop> {
        let unavailable = |retry_after| Denial::IdentityUnavailable { retry_after };
        let Some(entry) = self.0.get(index.0) else {
            return Err(Stop::Deny(unavailable(ALREADY_TRYING)));
        };
        let token = &entry.token;
        let missing = || stop_for(Fetch::Identity(index), token, unavailable, now);
        token.value(now).map(|token| (index, token)).ok_or_else(missing)
    }

    /// Returns the name of each identity, and whether its token is held.
    pub(super) fn readiness(&self, now: SystemTime) -> impl Iterator<Item = (&str, bool)> {
        let is_ready = move |entry: &Entry| entry.token.value(now).is_some();
        self.0.iter().map(move |entry| (entry.endpoint.name(), is_ready(entry)))
    }

    /// Returns the name of each identity whose last fetch failed, and how.
    pub(super) fn failing(&self) -> impl Iterator<Item = (&str, Failing)> {
        let failing = |entry: &Entry| entry.token.is_failing().then(|| entry.failing());
        self.0.iter().filter_map(move |entry| Some((entry.endpoint.name(), failing(entry)?)))
    }

    /// Returns true if a file has arrived, so that the token can be asked for at once.
    pub(super) fn has_second_call(&self) -> bool {
        self.0.iter().any(|entry| matches!(entry.step, FetchStep::Ready(_)))
    }

    /// Returns the calls that are due, and counts them as in flight.
    pub(super) fn calls(&mut self, now: SystemTime) -> impl Iterator<Item = (Fetch, Call)> {
        let entries = self.0.iter_mut().enumerate();
        entries.filter_map(move |(at, entry)| {
            Some((Fetch::Identity(IdentityIndex(at)), entry.call(now)?))
        })
    }

    /// Returns what another gate is to fetch for this one.
    pub(super) fn requested(&mut self) -> impl Iterator<Item = (Fetch, Want)> {
        let entries = self.0.iter_mut().enumerate();
        entries.filter_map(|(at, entry)| {
            Some((Fetch::Identity(IdentityIndex(at)), entry.token.want()?))
        })
    }

    /// Fetches the token of an identity for another gate.
    pub(super) fn fetch_for_another(&mut self, index: IdentityIndex, want: Want, now: SystemTime) {
        if let Some(entry) = self.0.get_mut(index.0) {
            entry.token.fetch_for_another(want, Duration::ZERO, now);
        }
    }

    pub(super) fn lost(&self, now: SystemTime) -> impl Iterator<Item = Fetch> {
        let entries = self.0.iter().enumerate();
        let lost = entries.filter(move |(_, entry)| entry.token.is_lost(now));
        lost.map(|(at, _)| Fetch::Identity(IdentityIndex(at)))
    }

    /// Takes the answer to a call; a fetch that begins with a file ends with its second one only.
    pub(super) fn answered(
        &mut self,
        index: IdentityIndex,
        answer: &Answer,
        now: SystemTime,
    ) -> Option<Report> {
        self.0.get_mut(index.0)?.answered(answer, now)
    }

    /// Has the token refreshed that a backend rejected, and gives the name of its identity, and
    /// whether the operator is to be told: once in a while.
    pub(super) fn rejected(
        &mut self,
        index: IdentityIndex,
        now: SystemTime,
    ) -> Option<(&str, bool)> {
        let entry = self.0.get_mut(index.0)?;
        // While fetches fail, the back-off alone says when to try again.
        if !entry.token.is_failing() {
            entry.token.refresh_early(Duration::ZERO, now);
        }
        let is_recent = |at: SystemTime| at <= now && now < after(REJECTED_INTERVAL, at);
        let is_news = !entry.reported.is_some_and(is_recent);
        if is_news {
            entry.reported = Some(now);
        }
        Some((entry.endpoint.name(), is_news))
    }

    pub(super) fn wake_at(&self) -> impl Iterator<Item = SystemTime> {
        self.0.iter().filter_map(|entry| entry.token.wake_at())
    }

    /// Returns how many fetches of an identity's token have ended.
    pub(super) fn count(&self, index: IdentityIndex) -> u64 {
        self.0.get(index.0).map_or(0, |entry| entry.token.ended())
    }

    /// Lets other threads take over what is being fetched.
    pub(super) fn retire(&self) {
        self.0.iter().for_each(|entry| entry.token.retire());
    }
}

impl Entry {
    fn new(endpoint: Endpoint, shared: &Rc<dyn SharedData>) -> Self {
        let token = match endpoint.calls().as_slice() {
            [] => Cached::unshared(shared),
            calls => Cached::leased(shared, "identity", calls),
        };
        let token = token.with_early_budget(1, REJECTED_INTERVAL);
        Self { endpoint, token, step: FetchStep::Token, reported: None }
    }

    /// Returns the call that is due, if one is.
    fn call(&mut self, now: SystemTime) -> Option<Call> {
        let Self { endpoint, token, step, .. } = self;
        if let FetchStep::Ready(call) = step {
            let call = call.clone();
            *step = FetchStep::Token;
            token.extend(lost_at(call.timeout, now), now);
            return Some(call);
        }
        let call = endpoint.first_call();
        // A call that cannot be made is lost at once; its endpoint then says why.
        let deadline = call.map_or(now, |call| lost_at(call.timeout, now));
        let read = |body: &[u8], arrived| {
            endpoint.parse(body, arrived).map(|token| fetched(token, arrived))
        };
        if !token.begin(deadline, now, read) {
            return None;
        }
        *step = if endpoint.begins_with_file() { FetchStep::File } else { FetchStep::Token };
        call.cloned()
    }

    fn answered(&mut self, answer: &Answer, now: SystemTime) -> Option<Report> {
        let Self { endpoint, token, step, .. } = self;
        let read = match step {
            FetchStep::File => match endpoint.token_call(answer) {
                Ok(call) => {
                    *step = FetchStep::Ready(call);
                    return None;
                }
                Err(error) => Err(error),
            },
            FetchStep::Ready(_) | FetchStep::Token => endpoint.read(answer, now),
        };
        *step = FetchStep::Token;
        let outcome = token.settle(read.map(|token| fetched(token, now)), answer, now);
        let report = Report::of("identity", self.endpoint.name(), outcome, &self.token);
        Some(Report { step: self.failing().step, ..report })
    }

    /// How the last fetch failed, if it did.
    fn failing(&self) -> Failing {
        let result = self.token.failure_code();
        let step = result.filter(|_| self.endpoint.begins_with_file()).map(FailedStep::of);
        Failing { step, result }
    }
}

/// Gives a token that arrived then the times that it is good for.
fn fetched(token: AccessToken, arrived: SystemTime) -> FetchedValue<AccessToken> {
    let (refresh_at, expires) = (token.refresh_at(arrived), token.unusable_at(arrived));
    FetchedValue { value: token, refresh_at, expires }
}
