//! The state machine that joins the rooms: events go in, decisions and calls to make come out.
//!
//! A host drives it with [`Gate::admit`], [`Gate::body`], [`Gate::calls`], [`Gate::answered`],
//! [`Gate::released`] and [`Gate::forget`], and calls again at [`Gate::wake_at`]. A request that
//! cannot be decided yet is kept as it arrived and decided again, from the start, when what it waits
//! for has come; so there is one way to an admission, however often it is walked.

mod account;
mod admission;
mod counting;
mod decision;
mod forward;
mod health;
mod identities;
mod issuers;
mod limits;
mod report;
mod trace;
mod waiting;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::denial::Denial;
use crate::fetch::{Cached, FetchOutcome, NextFetch, SharedData, Want, after};
use crate::http::{Answer, Call, FetchError};
use crate::identity::{self, IdentityIndex};
use crate::jwks::Unusable;
use crate::jwt::IssuerIndex;
use crate::policy::{DeploymentPlace, Route, Routes};
use crate::price::Cost;
use crate::request::Head;
use crate::settle::{Settled, Settlement, SettlementReport};
use crate::signature::Crypto;
use crate::usage::Usage;
use account::Accounts;
pub use account::{Account, Labels};
use admission::{Admission, Rules};
pub use counting::count_evicted;
use decision::Stop;
pub use decision::{Awaited, Decided, Decision, Record, Wait};
pub use forward::Forward;
use identities::Identities;
use issuers::Issuers;
use limits::Limits;
pub use limits::{Charge, Check, CheckResult};
use trace::NoTrace;
pub use trace::{Step, Trace};
use waiting::{Body, Request, WaitingList};

/// Decides every request of one thread, and keeps what that takes.
///
/// The order of calls: [`Gate::admit`] for each request; whenever [`Gate::wake_at`] says so,
/// [`Gate::lost`], [`Gate::calls`] and [`Gate::released`]; [`Gate::answered`] for each call.
///
/// ```
/// # use std::rc::Rc;
/// # use std::time::{Duration, SystemTime};
/// # use keyless_core::{config::Config, gate::{Decision, Gate}, http::Answer, request::Head};
/// # use keyless_core::{fetch::InMemorySharedData, signature::Sandbox};
/// let config = Config::parse(br#"{
///     "issuers": [{
///         "issuer": "https://idp.example.com/", "audiences": ["api"],
///         "jwks": { "cluster": "idp", "uri": "https://idp.example.com/jwks.json" }
///     }],
///     "routes": [{ "name": "all", "match": { "methods": ["GET"], "path": "/{*rest}" }, "allow": [{}] }]
/// }"#).unwrap();
/// let shared: Rc<dyn keyless_core::fetch::SharedData> = Rc::new(InMemorySharedData::default());
/// let mut gate = Gate::new(config, Box::new(Sandbox), |_| None, &shared);
///
/// let pairs = [(":method", "GET"), (":path", "/models"), (":authority", "api.example.com")];
/// let pairs = pairs.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
/// let decided = gate.admit(1, Head::new(pairs.to_vec()), now);
/// let Decision::Deny(reply) = decided.decision else { panic!("there is no token") };
/// assert_eq!((reply.status, decided.record.reason), (401, "token_missing"));
/// ```
pub struct Gate {
    admission: Admission,
    reads_bodies: bool,
    waiting: WaitingList,
}

/// Identifies a stream; the host's own number.
pub type StreamId = u32;

/// Names one of the things that are fetched.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fetch {
    /// The token of this identity.
    Identity(IdentityIndex),
    /// The key set of this issuer.
    Keys(IssuerIndex),
}

/// Says that a gate which leaves its fetches to another one has found one due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestedFetch {
    fetch: Fetch,
    want: Want,
}

/// Says when the host has to call again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// At this time.
    At(SystemTime),
    /// Not before the next event.
    Never,
    /// As soon as it can.
    Now,
}

/// Tells what came of a fetch, for the log and the counters.
#[derive(Debug, Eq, PartialEq)]
pub struct Report {
    /// `jwks` or `identity`.
    pub kind: &'static str,
    /// The name of the issuer or of the identity.
    pub name: String,
    /// Which step failed, where a fetch takes two: first a file and then a token.
    pub step: Option<FailedStep>,
    /// What came of it.
    pub result: Result<(), FetchError>,
    /// When the cached value was requested and when it must no longer be used, if there is one.
    pub held: Option<(SystemTime, SystemTime)>,
    /// True if the fetch before it ended otherwise: worth a line in the log.
    pub is_news: bool,
    /// What is unusable of the key set that was fetched.
    pub keys: Option<KeysReport>,
}

/// Tells how many keys of a fetched key set can be used, and why others cannot.
#[derive(Debug, Eq, PartialEq)]
pub struct KeysReport {
    /// How many keys there are, without those that are for something else than signatures.
    pub count: usize,
    /// Those of them that cannot be used.
    pub unusable: Unusable,
    /// True if these are others than at the fetch before it.
    pub is_news: bool,
}

/// Names the step of a fetch that failed: the file is asked for first, and then the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailedStep {
    /// The file with the projected token or the secret.
    File,
    /// The access token, in exchange for what the file holds.
    Token,
}

/// Tells the operator that a backend rejected an identity token.
#[derive(Debug)]
pub struct UpstreamRejection {
    /// The name of the identity.
    pub identity: String,
    /// What the backend said, if it said it in a way that can be logged.
    pub explanation: Option<String>,
    /// True if it was not reported a short while ago.
    pub is_news: bool,
}

/// Says what to do with a part of a request's body.
#[derive(Debug)]
pub enum Progress {
    /// The request is decided now.
    Decided(Box<Decided>),
    /// The part passes: its request does not wait.
    Free,
    /// The part is held, with all before it.
    Held,
}

/// How long a request may wait for a fetch to begin that its unknown key causes; the rest of
/// the time that it may wait is for the answer.
const MAX_WAIT_FOR_FETCH_START: Duration = Duration::from_secs(5);

/// How long after a call's own time-out it counts as lost.
const LOST_CALL_GRACE: Duration = Duration::from_secs(1);

/// What to say of the next try while one is under way.
const ALREADY_TRYING: Duration = Duration::from_secs(1);

impl Gate {
    /// Makes a gate that holds no keys and no identity token yet; `environment` gives the values of
    /// environment variables, and is asked here only; `shared` is what the threads of the proxy have
    /// in common.
    pub fn new(
        config: Config,
        crypto: Box<dyn Crypto>,
        environment: impl Fn(&str) -> Option<String>,
        shared: &Rc<dyn SharedData>,
    ) -> Self {
        let Config { issuers, identities, claims, token_cache, .. } = config;
        let issuers = Issuers::new(issuers, claims, token_cache, crypto, shared);
        let identities = Identities::new(identities, &environment, shared);
        let reads_body = |route: &Route| route.deployment == DeploymentPlace::Body;
        let reads_bodies = config.routes.iter().any(reads_body);
        let rules = Rules {
            accounts: Accounts::new(&config.routes, &config.prices),
            report_only: config.report_only,
            resource: config.protected_resource,
            routes: Routes::new(config.routes),
            stripped: config.stripped,
        };
        let limits = Limits::new(config.limits, config.ledger_entries, config.fleet, shared);
        let admission = Admission { identities, issuers, limits, rules, is_awake: false };
        Self { admission, reads_bodies, waiting: WaitingList::default() }
    }

    /// Returns true if there are routes that look for the model in the body: a host must show the
    /// gate the body of a request that waits.
    pub fn reads_bodies(&self) -> bool {
        self.reads_bodies
    }

    /// Decides a new request. One that has to wait is kept as it came, and [`Gate::released`] or
    /// [`Gate::body`] decides it, unless [`Gate::forget`] comes first.
    pub fn admit(&mut self, stream: StreamId, head: Head, now: SystemTime) -> Decided {
        let mut request = Request::new(head, now);
        let decided = self.admission.decide(&mut request, &mut NoTrace, now);
        self.waiting.keep(stream, request, decided, &mut self.admission, now)
    }

    /// Decides a request as [`Gate::admit`] does, and gives every step of it, also those after the
    /// first one that fails. `model` is what the request's body names, if that is known; the request
    /// is not kept.
    pub fn explain(
        &mut self,
        head: Head,
        model: Option<Result<Option<String>, Denial>>,
        now: SystemTime,
    ) -> (Decided, Vec<Step>) {
        let mut request = Request::new(head, now);
        if let Some(model) = model.filter(|_| request.head.has_body()) {
            request.body = Body::Read(model);
        }
        self.admission.explain(&mut request, now)
    }

    /// Takes note of a part of a request's body; `read` gives all of it that has come. A host that
    /// shows bodies of requests that are not decided yet has to ask for each part.
    pub fn body(
        &mut self,
        stream: StreamId,
        is_last: bool,
        read: impl FnOnce() -> Vec<u8>,
        now: SystemTime,
    ) -> Progress {
        self.waiting.body(stream, is_last, read, &mut self.admission, now)
    }

    /// Decides waiting requests that can be decided now, or have waited too long: as many as a host
    /// can let go at a time, and those that came first before the others.
    pub fn released(&mut self, now: SystemTime) -> Vec<(StreamId, Decided)> {
        self.waiting.release(&mut self.admission, now)
    }

    /// Drops a request that waits, because its stream is gone.
    pub fn forget(&mut self, stream: StreamId) {
        self.waiting.forget(stream);
    }

    /// Returns the calls that are due, and counts them as in flight; each is to be answered by
    /// [`Gate::answered`].
    pub fn calls(&mut self, now: SystemTime) -> Vec<(Fetch, Call)> {
        let Admission { identities, issuers, is_awake, .. } = &mut self.admission;
        if !*is_awake {
            return Vec::new();
        }
        issuers.calls(now).chain(identities.calls(now)).collect()
    }

    /// Returns the fetches that [`Gate::calls`] found due and that this gate leaves to another one of
    /// the proxy ([`SharedData::fetches`]), which is to hear of them by [`Gate::fetch_for_another`].
    pub fn requested(&mut self) -> Vec<RequestedFetch> {
        let Admission { identities, issuers, .. } = &mut self.admission;
        let requested = issuers.requested().chain(identities.requested());
        requested.map(|(fetch, want)| RequestedFetch { fetch, want }).collect()
    }

    /// Begins to fetch for a gate of the same configuration that leaves its fetches to this one.
    pub fn fetch_for_another(&mut self, requested: RequestedFetch, now: SystemTime) {
        let Admission { identities, issuers, is_awake, .. } = &mut self.admission;
        *is_awake = true;
        match requested.fetch {
            Fetch::Keys(index) => issuers.fetch_for_another(index, requested.want, now),
            Fetch::Identity(index) => identities.fetch_for_another(index, requested.want, now),
        }
    }

    /// Returns the calls that were never answered; each is now to be answered with [`Answer::Lost`].
    pub fn lost(&self, now: SystemTime) -> Vec<Fetch> {
        self.admission.issuers.lost(now).chain(self.admission.identities.lost(now)).collect()
    }

    /// Takes the answer to a call and says what came of the fetch, if that is over.
    pub fn answered(&mut self, fetch: Fetch, answer: &Answer, now: SystemTime) -> Option<Report> {
        match fetch {
            Fetch::Keys(index) => self.admission.issuers.answered(index, answer, now),
            Fetch::Identity(index) => self.admission.identities.answered(index, answer, now),
        }
    }

    /// Returns when [`Gate::calls`], [`Gate::lost`] or [`Gate::released`] is worth asking again.
    pub fn wake_at(&self) -> Wake {
        let Admission { identities, issuers, limits, is_awake, .. } = &self.admission;
        let has_second_call = issuers.has_second_call() || identities.has_second_call();
        if *is_awake && (self.waiting.is_crowded() || has_second_call) {
            return Wake::Now;
        }
        let fetches = issuers.wake_at().chain(identities.wake_at()).chain(self.waiting.deadlines());
        let fetches = if *is_awake { fetches.min() } else { None };
        fetches.into_iter().chain(limits.wake_at()).min().map_or(Wake::Never, Wake::At)
    }

    /// Returns true once for each time that the host has to ask [`Gate::wake_at`] again because of
    /// what a request used. A gate that leaves its calls to another one of the proxy
    /// ([`SharedData::fetches`]) says so for each request; that one is to hear of it by
    /// [`Gate::settle_for_another`], unless it has yet to begin with what it heard of before.
    pub fn is_to_settle(&self) -> bool {
        self.admission.limits.is_news()
    }

    /// Begins to settle for a gate of the same configuration that leaves its calls to this one.
    pub fn settle_for_another(&self, now: SystemTime) {
        self.admission.limits.settle_for_another(now);
    }

    /// Returns when [`Gate::settlement`] or [`Gate::is_settlement_lost`] is worth asking; `None` while
    /// there is nothing to settle.
    pub fn settlement_at(&self) -> Option<SystemTime> {
        self.admission.limits.wake_at()
    }

    /// Returns the call that settles with the other proxies of a fleet, if it is due; it is to be
    /// answered by [`Gate::settled`].
    pub fn settlement(&mut self, now: SystemTime) -> Option<Settlement> {
        self.admission.limits.call(now)
    }

    /// Returns true if a settlement was never answered; it is now to be answered with
    /// [`Settled::Lost`].
    pub fn is_settlement_lost(&self, now: SystemTime) -> bool {
        self.admission.limits.is_lost(now)
    }

    /// Takes the answer to a settlement.
    pub fn settled(&mut self, settled: Settled, now: SystemTime) -> Option<SettlementReport> {
        self.admission.limits.settled(settled, now)
    }

    /// Takes what a backend says in a 401 to a request that carried this identity's token, as far as
    /// it has come, and has the token refreshed, once in a while. The caller must not take that 401
    /// for a word about its own token: it gets [`Denial::IdentityRejected`].
    pub fn rejected_upstream(
        &mut self,
        identity: IdentityIndex,
        said: &[u8],
        now: SystemTime,
    ) -> Option<UpstreamRejection> {
        let (identity, is_news) = self.admission.identities.rejected(identity, now)?;
        let explanation = identity::explanation(said);
        Some(UpstreamRejection { identity: identity.to_owned(), explanation, is_news })
    }

    /// Counts what an answer used, and cost, for the limits that its request fell under. Returns how
    /// many other counters had to make room.
    pub fn charge(
        &self,
        charges: &[Charge],
        usage: &Usage,
        cost: Option<Cost>,
        now: SystemTime,
    ) -> u64 {
        self.admission.limits.charge(charges, usage, cost, now)
    }

    /// Lets other threads take over what this gate is fetching, because its root is going away.
    pub fn retire(&self) {
        self.admission.issuers.retire();
        self.admission.identities.retire();
        self.admission.limits.retire();
    }

    /// Returns true if no caller may send a trailer of this name, in lower case.
    pub fn strips_trailer(&self, name: &str) -> bool {
        self.admission.rules.stripped.has_header(name)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Gate({} waiting)", self.waiting.len())
    }
}

impl Report {
    fn of<T>(kind: &'static str, name: &str, outcome: FetchOutcome, cached: &Cached<T>) -> Self {
        let FetchOutcome { result, is_news } = outcome;
        let (name, held) = (name.to_owned(), cached.held());
        Self { kind, name, step: None, result, held, is_news, keys: None }
    }
}

impl FailedStep {
    /// Returns the step that fails with this code: those of a file begin with its name.
    fn of(code: &str) -> Self {
        if code.starts_with("file_") { Self::File } else { Self::Token }
    }

    /// Returns the word for logs and probes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Token => "token",
        }
    }
}

/// Stops a request for a value that is not there: it waits for a fetch that ends soon, or else is
/// refused.
fn stop_for<T>(
    fetch: Fetch,
    cached: &Cached<T>,
    unavailable: impl Fn(Duration) -> Denial,
    now: SystemTime,
) -> Stop {
    match cached.next_fetch(now) {
        NextFetch::Later(wait) => Stop::Deny(unavailable(wait)),
        NextFetch::Soon => {
            Stop::Wait(Wait::for_fetch(fetch, cached.ended(), unavailable(ALREADY_TRYING)))
        }
    }
}

fn keys_unavailable(retry_after: Duration) -> Denial {
    Denial::KeysUnavailable { retry_after }
}

fn lost_at(timeout: Duration, now: SystemTime) -> SystemTime {
    after(timeout.saturating_add(LOST_CALL_GRACE), now)
}
