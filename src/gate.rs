//! The state machine that joins the rooms: events go in, decisions and calls to make come out.
//!
//! A host drives it with [`Gate::admit`], [`Gate::calls`], [`Gate::answered`], [`Gate::released`]
//! and [`Gate::forget`], and calls again at [`Gate::wake_at`]. A request that cannot be decided yet
//! is kept as it arrived and decided anew, from the start, when what it waits for has come; so
//! there is one way to an admission, however often it is walked.

mod forward;
mod issuers;
mod ruling;
mod supply;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::bearer;
use crate::config::{Access, Config, HeaderName, Route};
use crate::denial::Denial;
use crate::http::{Answer, Call, FetchError};
use crate::identity::{AccessToken, Endpoint};
use crate::lease::SharedData;
use crate::policy;
use crate::refresh::{Prospect, Refresh, after};
use crate::request::Head;
use crate::signature::Crypto;
pub use forward::Forward;
use issuers::Issuers;
pub use ruling::{Record, Ruling, Verdict};
use supply::{Fetched, Supply};

/// Decides every request of one thread, and keeps what that takes.
pub struct Gate {
    issuers: Issuers,
    identities: Vec<(Endpoint, Supply<AccessToken>)>,
    routes: Vec<Route>,
    stripped: Vec<HeaderName>,
    waiting: Vec<Waiting>,
    /// A thread that serves nobody asks nobody: nothing is fetched before a request waits for it.
    awake: bool,
}

/// Identifies a stream; the host's own number.
pub type StreamId = u32;

/// Names one of the things that are fetched.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fetch {
    /// The token of the identity at this place in the configuration.
    Identity(usize),
    /// The key set of the issuer at this place in the configuration.
    Keys(usize),
}

/// Tells what came of a fetch, for the log and the counters.
#[derive(Debug, Eq, PartialEq)]
pub struct Report {
    /// `jwks` or `identity`.
    pub kind: &'static str,
    /// The name of the issuer or of the identity.
    pub name: String,
    /// What came of it.
    pub result: Result<(), FetchError>,
    /// True if the one before ended otherwise: worth a line in the log.
    pub is_news: bool,
}

/// A request that cannot be decided yet, as it arrived.
struct Waiting {
    stream: StreamId,
    head: Head,
    arrived: SystemTime,
    pending: Box<Pending>,
}

/// What a request waits for, and what it is told if that does not come in time.
struct Pending {
    fetch: Fetch,
    /// The fetches of this thing that had ended when the wait began; one more is worth a look.
    seen: u64,
    otherwise: Denial,
    record: Record,
    /// It may wait only if fewer than this are waiting.
    room: usize,
}

/// Why a request cannot go on now; the places are those of the configuration.
enum Stop {
    Deny(Denial),
    KeyUnknown(usize),
    KeysMissing(usize),
    TokenMissing(usize),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

/// How long a request may wait for keys and an identity token, all in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a request may wait for a fetch to begin that its unknown key causes; the rest of its
/// patience is for the answer.
const HASTE: Duration = Duration::from_secs(5);

/// How many requests of one thread may wait; each is held with its headers.
const MAX_WAITING: usize = 1024;

/// How long after a call's own time-out it counts as lost.
const GRACE: Duration = Duration::from_secs(1);

/// What to say of the next try while one is under way.
const ALREADY_TRYING: Duration = Duration::from_secs(1);

impl Gate {
    /// Makes a gate that holds no keys and no identity token yet; `environment` gives the values of
    /// environment variables, and is asked here only; `shared` is where the threads of the proxy
    /// leave notes for each other.
    pub fn new(
        config: Config,
        crypto: Box<dyn Crypto>,
        environment: impl Fn(&str) -> Option<String>,
        shared: &Rc<dyn SharedData>,
    ) -> Self {
        let Config { issuers, identities, routes, stripped, claims, verdicts } = config;
        let issuers = Issuers::new(issuers, claims, verdicts, crypto, shared);
        let endpoints = identities.into_iter().map(|one| Endpoint::new(one, &environment));
        let identities = endpoints.map(|endpoint| (token_supply(&endpoint, shared), endpoint));
        let identities = identities.map(|(supply, endpoint)| (endpoint, supply)).collect();
        Self { issuers, identities, routes, stripped, waiting: Vec::new(), awake: false }
    }

    /// Decides a new request, or keeps it and returns `None`: then [`Gate::released`] decides it,
    /// unless [`Gate::forget`] comes first.
    pub fn admit(&mut self, stream: StreamId, head: Head, now: SystemTime) -> Option<Ruling> {
        match self.rule(&head, now, now) {
            Ok(ruling) => Some(ruling),
            Err(pending) if self.waiting.len() >= pending.room => Some(pending.give_up()),
            Err(pending) => {
                self.awake = true;
                self.waiting.push(Waiting { stream, head, arrived: now, pending });
                None
            }
        }
    }

    /// Decides the waiting requests that can be decided now, or have waited too long.
    pub fn released(&mut self, now: SystemTime) -> Vec<(StreamId, Ruling)> {
        let mut released = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let is_overdue = is_overdue(waiting.arrived, now);
            if !is_overdue && self.count(waiting.pending.fetch) == waiting.pending.seen {
                self.waiting.push(waiting);
                continue;
            }
            match self.rule(&waiting.head, waiting.arrived, now) {
                Ok(ruling) => released.push((waiting.stream, ruling)),
                Err(pending) if is_overdue => released.push((waiting.stream, pending.give_up())),
                Err(pending) => {
                    waiting.pending = pending;
                    self.waiting.push(waiting);
                }
            }
        }
        released
    }

    /// Drops a request that waits, because its stream is gone.
    pub fn forget(&mut self, stream: StreamId) {
        self.waiting.retain(|waiting| waiting.stream != stream);
    }

    /// Returns the calls that are due, and counts them as in flight; each is to be answered by
    /// [`Gate::answered`].
    pub fn calls(&mut self, now: SystemTime) -> Vec<(Fetch, Call)> {
        if !self.awake {
            return Vec::new();
        }
        let mut calls: Vec<_> = self.issuers.calls(now).collect();
        for (at, (endpoint, token)) in self.identities.iter_mut().enumerate() {
            let call = endpoint.call();
            // A call that cannot be made is lost at once; its endpoint then says why.
            let deadline = call.map_or(now, |call| lost_at(call.timeout, now));
            if token.begin(deadline, now, |body, arrived| {
                endpoint.parse(body, arrived).map(fetched(arrived))
            }) {
                calls.extend(call.map(|call| (Fetch::Identity(at), call.clone())));
            }
        }
        calls
    }

    /// Returns the calls that were never answered; each is now to be answered with [`Answer::Lost`].
    pub fn lost(&self, now: SystemTime) -> Vec<Fetch> {
        let tokens = self.identities.iter().enumerate();
        let lost = tokens.filter(|(_, (_, token))| token.refresh.is_lost(now));
        self.issuers.lost(now).chain(lost.map(|(at, _)| Fetch::Identity(at))).collect()
    }

    /// Takes the answer to a call and says what came of the fetch, if that is over.
    pub fn answered(&mut self, fetch: Fetch, answer: &Answer, now: SystemTime) -> Option<Report> {
        match fetch {
            Fetch::Keys(at) => self.issuers.answered(at, answer, now),
            Fetch::Identity(at) => {
                let (endpoint, token) = self.identities.get_mut(at)?;
                let fetched = endpoint.read(answer, now).map(fetched(now));
                let outcome = token.settle(fetched, answer, now);
                Some(Report::of("identity", endpoint.name(), outcome))
            }
        }
    }

    /// Returns when [`Gate::calls`], [`Gate::lost`] or [`Gate::released`] is worth asking again.
    pub fn wake_at(&self) -> Option<SystemTime> {
        if !self.awake {
            return None;
        }
        let identities = self.identities.iter().map(|(_, token)| token.refresh.wake_at());
        let deadlines = self.waiting.iter().map(|waiting| after(PATIENCE, waiting.arrived));
        self.issuers.wake_at().chain(identities).chain(deadlines).min()
    }

    /// Lets other threads take over what this gate is fetching, because its root is going away.
    pub fn retire(&self) {
        self.issuers.retire();
        self.identities.iter().for_each(|(_, token)| token.retire());
    }

    /// Returns the headers that no caller may set, so that trailers can be rid of them too.
    pub fn stripped(&self) -> &[HeaderName] {
        &self.stripped
    }

    /// Decides a request, or says what it has to wait for.
    fn rule(
        &mut self,
        head: &Head,
        arrived: SystemTime,
        now: SystemTime,
    ) -> Result<Ruling, Box<Pending>> {
        let mut record = Record::default();
        let stop = match self.decide(head, &mut record, now) {
            Ok(forward) => return Ok(Ruling::forward(forward, record)),
            Err(stop) => stop,
        };
        match self.pending(stop, arrived, now) {
            Ok(pending) => Err(Box::new(Pending { record, ..pending })),
            Err(denial) => Ok(Ruling::deny(&denial, record)),
        }
    }

    /// The way of a request, from the first byte to the last check.
    fn decide(&self, head: &Head, record: &mut Record, now: SystemTime) -> Result<Forward, Stop> {
        let path = head.path()?;
        let found = policy::find(&self.routes, head.method(), head.host(), path);
        let found = found.ok_or(Denial::RouteUnknown)?;
        record.route = Some(found.route.name.clone());
        let stripped = &self.stripped;
        let (grants, identity, forward_claims) = match &found.route.access {
            Access::Public => {
                record.reason = "public";
                return Ok(Forward::new(head, stripped, None, Vec::new()));
            }
            Access::Granted { grants, identity, forward_claims } => {
                (grants, *identity, forward_claims)
            }
        };
        let credential = bearer::credential(&head.authorization())?;
        let (issuer, verified) = self.issuers.authenticate(credential, record, now)?;
        let claims = verified.claims();
        policy::admit(grants, issuer, found.deployment, claims)?;
        record.deployment = found.deployment.map(str::to_owned);
        record.reason = "ok";
        let token = identity.map(|at| self.access_token(at, now)).transpose()?;
        Ok(Forward::new(head, stripped, token, forward::values(forward_claims, claims)))
    }

    fn access_token(&self, at: usize, now: SystemTime) -> Result<&AccessToken, Stop> {
        let (_, token) = self.identities.get(at).ok_or(Stop::TokenMissing(at))?;
        token.refresh.value(now).ok_or(Stop::TokenMissing(at))
    }

    /// Says what to wait for, or that waiting does not help.
    fn pending(
        &mut self,
        stop: Stop,
        arrived: SystemTime,
        now: SystemTime,
    ) -> Result<Pending, Denial> {
        match stop {
            Stop::Deny(denial) => Err(denial),
            Stop::KeyUnknown(at) => self.issuers.pending_key(at, arrived, now),
            Stop::KeysMissing(at) => self.issuers.pending_keys(at, now),
            Stop::TokenMissing(at) => {
                let unavailable = |retry_after| Denial::IdentityUnavailable { retry_after };
                let Some((_, token)) = self.identities.get(at) else {
                    return Err(unavailable(ALREADY_TRYING));
                };
                wait_for(Fetch::Identity(at), &token.refresh, unavailable, now)
            }
        }
    }

    fn count(&self, fetch: Fetch) -> u64 {
        match fetch {
            Fetch::Identity(at) => {
                self.identities.get(at).map_or(0, |(_, token)| token.refresh.count())
            }
            Fetch::Keys(at) => self.issuers.count(at),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Gate({} waiting)", self.waiting.len())
    }
}

impl Pending {
    fn of<T>(fetch: Fetch, refresh: &Refresh<T>, otherwise: Denial) -> Self {
        let (seen, record) = (refresh.count(), Record::default());
        Self { fetch, seen, otherwise, record, room: MAX_WAITING }
    }

    /// Leaves half of the room to others: a forged token can make this wait, too.
    fn doubtful(self) -> Self {
        Self { room: MAX_WAITING.div_euclid(2), ..self }
    }

    fn give_up(self) -> Ruling {
        Ruling::deny(&self.otherwise, self.record)
    }
}

impl Report {
    fn of(
        kind: &'static str,
        name: &str,
        (result, is_news): (Result<(), FetchError>, bool),
    ) -> Self {
        Self { kind, name: name.to_owned(), result, is_news }
    }
}

fn token_supply(endpoint: &Endpoint, shared: &Rc<dyn SharedData>) -> Supply<AccessToken> {
    endpoint.call().map_or_else(Supply::own, |call| Supply::leased(shared, "identity", call))
}

/// Gives a token that arrived then the times that it is good for.
fn fetched(arrived: SystemTime) -> impl Fn(AccessToken) -> Fetched<AccessToken> {
    move |token| Fetched {
        refresh_at: token.refresh_at(arrived),
        expires: token.unusable_at(arrived),
        value: token,
    }
}

fn wait_for<T>(
    fetch: Fetch,
    refresh: &Refresh<T>,
    otherwise: impl Fn(Duration) -> Denial,
    now: SystemTime,
) -> Result<Pending, Denial> {
    match refresh.prospect(now) {
        Prospect::Later(wait) => Err(otherwise(wait)),
        Prospect::Soon => Ok(Pending::of(fetch, refresh, otherwise(ALREADY_TRYING))),
    }
}

fn keys_unavailable(retry_after: Duration) -> Denial {
    Denial::KeysUnavailable { retry_after }
}

fn lost_at(timeout: Duration, now: SystemTime) -> SystemTime {
    after(timeout.saturating_add(GRACE), now)
}

/// A clock that was set back far must not make a request wait as long as it was set back.
fn is_overdue(arrived: SystemTime, now: SystemTime) -> bool {
    after(PATIENCE, arrived) <= now || after(PATIENCE, now) < arrived
}
