//! The state machine that joins the rooms: events go in, decisions and calls to make come out.
//!
//! A host drives it with [`Gate::admit`], [`Gate::body`], [`Gate::calls`], [`Gate::answered`],
//! [`Gate::released`] and [`Gate::forget`], and calls again at [`Gate::wake_at`]. A request that
//! cannot be decided yet is kept as it arrived and decided anew, from the start, when what it waits
//! for has come; so there is one way to an admission, however often it is walked.

mod decision;
mod forward;
mod health;
mod identities;
mod issuers;
mod ruling;
mod supply;
mod waiting;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::denial::Denial;
use crate::http::{Answer, Call, FetchError, HeaderName, Reply};
use crate::identity;
use crate::lease::SharedData;
use crate::metadata::ProtectedResource;
use crate::policy::{Access, DeploymentPlace, Routes};
use crate::refresh::{Prospect, Refresh, after};
use crate::request::Head;
use crate::signature::Crypto;
use decision::Stop;
pub use forward::Forward;
use identities::Identities;
use issuers::Issuers;
pub use ruling::{Record, Ruling, Verdict};
use supply::{Settled, Supply};
use waiting::{Content, Pending, Waiting};

/// Decides every request of one thread, and keeps what that takes.
pub struct Gate {
    issuers: Issuers,
    identities: Identities,
    routes: Routes,
    stripped: Vec<HeaderName>,
    report_only: bool,
    resource: Option<ProtectedResource>,
    waiting: Vec<Waiting>,
    /// More requests may be ready to go than were released at the last time.
    is_crowded: bool,
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
    /// When the value that is held now was asked for and when it must no longer be used, if one is.
    pub held: Option<(SystemTime, SystemTime)>,
    /// True if the one before ended otherwise: worth a line in the log.
    pub is_news: bool,
}

/// Says what a caller gets whose backend refused the identity token: the caller must not take that
/// for a word about its own token.
#[derive(Debug)]
pub struct Rejection {
    /// What takes the place of the backend's answer.
    pub reply: Reply,
    /// The code that the reply carries.
    pub reason: &'static str,
}

/// Tells the operator that a backend refused an identity token.
#[derive(Debug)]
pub struct Refusal {
    /// The name of the identity.
    pub identity: String,
    /// What the backend said, if it said it in a way that can be logged.
    pub explanation: Option<String>,
    /// True if it was not told a short while ago.
    pub is_news: bool,
}

/// Says what to do with a part of a request's body.
#[derive(Debug)]
pub enum Progress {
    /// Let it pass: nobody waits for it.
    Free,
    /// Hold it, with all before it.
    Held,
    /// Carry out this ruling.
    Ruled(Ruling),
}

/// How long a request may wait for a fetch to begin that its unknown key causes; the rest of its
/// patience is for the answer.
const HASTE: Duration = Duration::from_secs(5);

/// How many requests are released at a time. Envoy carries out what is done to one stream inside of
/// what it does for the one before: several hundred overflow the stack, and the VM traps.
const CROWD: usize = 32;

/// How long after a call's own time-out it counts as lost.
const GRACE: Duration = Duration::from_secs(1);

/// The reason why a preflight may pass, which carries no token.
const PREFLIGHT: &str = "preflight";

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
        let Config { issuers, identities, claims, token_cache, .. } = config;
        let issuers = Issuers::new(issuers, claims, token_cache, crypto, shared);
        let identities = Identities::new(identities, &environment, shared);
        Self {
            issuers,
            identities,
            routes: Routes::new(config.routes),
            stripped: config.stripped,
            report_only: config.report_only,
            resource: config.protected_resource,
            waiting: Vec::new(),
            is_crowded: false,
            awake: false,
        }
    }

    /// Decides a new request, or keeps it and returns `None`: then [`Gate::released`] decides it,
    /// unless [`Gate::forget`] comes first.
    pub fn admit(&mut self, stream: StreamId, head: Head, now: SystemTime) -> Option<Ruling> {
        let content = Content::of(&head);
        match self.rule(&head, &content, now, now) {
            Ok(ruling) => Some(ruling),
            Err(pending) if self.waiting.len() >= pending.room => {
                let (denial, record) = pending.turn_away();
                Some(self.give_up(&head, &denial, record, now))
            }
            Err(pending) => {
                self.awake = true;
                self.waiting.push(Waiting::new(stream, head, content, pending, now));
                None
            }
        }
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
        let Some(at) = self.waiting.iter().position(|waiting| waiting.stream == stream) else {
            return Progress::Free;
        };
        let mut waiting = self.waiting.swap_remove(at);
        waiting.proceed(is_last, now);
        let is_news = is_last && waiting.content.is_awaited() && self.reads_body(&waiting.head);
        if is_news {
            waiting.content = Content::read(&waiting.head, &read());
        }
        if is_news || self.is_ripe(&waiting.pending) {
            match self.rule(&waiting.head, &waiting.content, waiting.arrived, now) {
                Ok(ruling) => return Progress::Ruled(ruling),
                Err(pending) => waiting.pending = pending,
            }
        }
        self.waiting.push(waiting);
        Progress::Held
    }

    /// Decides waiting requests that can be decided now, or have waited too long: as many as a host
    /// can let go at a time, those who came first before the others.
    pub fn released(&mut self, now: SystemTime) -> Vec<(StreamId, Ruling)> {
        let mut released = Vec::new();
        self.is_crowded = false;
        for mut waiting in std::mem::take(&mut self.waiting) {
            if released.len() >= CROWD {
                self.is_crowded = true;
                self.waiting.push(waiting);
                continue;
            }
            let is_overdue = waiting.is_overdue(now);
            let is_ripe = !waiting.is_midway && self.is_ripe(&waiting.pending);
            if !is_overdue && !is_ripe {
                self.waiting.push(waiting);
                continue;
            }
            if waiting.is_midway {
                released.push((waiting.stream, waiting.interrupt()));
                continue;
            }
            match self.rule(&waiting.head, &waiting.content, waiting.arrived, now) {
                Ok(ruling) => released.push((waiting.stream, ruling)),
                Err(pending) if is_overdue => {
                    let Pending { otherwise, record, .. } = *pending;
                    let ruling = self.give_up(&waiting.head, &otherwise, record, now);
                    released.push((waiting.stream, ruling));
                }
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
        self.issuers.calls(now).chain(self.identities.calls(now)).collect()
    }

    /// Returns the calls that were never answered; each is now to be answered with [`Answer::Lost`].
    pub fn lost(&self, now: SystemTime) -> Vec<Fetch> {
        self.issuers.lost(now).chain(self.identities.lost(now)).collect()
    }

    /// Takes the answer to a call and says what came of the fetch, if that is over.
    pub fn answered(&mut self, fetch: Fetch, answer: &Answer, now: SystemTime) -> Option<Report> {
        match fetch {
            Fetch::Keys(at) => self.issuers.answered(at, answer, now),
            Fetch::Identity(at) => self.identities.answered(at, answer, now),
        }
    }

    /// Returns when [`Gate::calls`], [`Gate::lost`] or [`Gate::released`] is worth asking again.
    pub fn wake_at(&self) -> Option<SystemTime> {
        if !self.awake {
            return None;
        }
        if self.is_crowded {
            return Some(SystemTime::UNIX_EPOCH);
        }
        let deadlines = self.waiting.iter().map(Waiting::until);
        self.issuers.wake_at().chain(self.identities.wake_at()).chain(deadlines).min()
    }

    /// Returns what the caller gets in place of a backend's 401 to a request of this route that was
    /// ruled on for this reason, if it carried an identity token: then the 401 is about that, and
    /// [`Gate::rejected`] is to be told.
    pub fn rejection(&self, route: &str, reason: &str) -> Option<Rejection> {
        let denial = Denial::IdentityRejected;
        self.identity_of(route).filter(|_| reason != PREFLIGHT)?;
        Some(Rejection { reply: denial.reply(), reason: denial.code() })
    }

    /// Takes what a backend says in a 401 to a request of this route, as far as it has come, and has
    /// the token asked for anew, once in a while.
    pub fn rejected(&mut self, route: &str, said: &[u8], now: SystemTime) -> Option<Refusal> {
        let at = self.identity_of(route)?;
        let (identity, is_news) = self.identities.rejected(at, now)?;
        let explanation = identity::explanation(said);
        Some(Refusal { identity: identity.to_owned(), explanation, is_news })
    }

    fn identity_of(&self, name: &str) -> Option<usize> {
        match &self.routes.named(name)?.access {
            Access::Granted { identity, .. } => *identity,
            Access::Health | Access::Public => None,
        }
    }

    /// Lets other threads take over what this gate is fetching, because its root is going away.
    pub fn retire(&self) {
        self.issuers.retire();
        self.identities.retire();
    }

    /// Returns the headers that no caller may set, so that trailers can be rid of them too.
    pub fn stripped(&self) -> &[HeaderName] {
        &self.stripped
    }

    /// Returns true if what a request waits for was fetched again, so that it is worth a look.
    fn is_ripe(&self, pending: &Pending) -> bool {
        pending.fetch.is_some_and(|(fetch, seen)| match fetch {
            Fetch::Identity(at) => self.identities.count(at) != seen,
            Fetch::Keys(at) => self.issuers.count(at) != seen,
        })
    }

    /// Returns true if the body of this request says which deployment it is for.
    fn reads_body(&self, head: &Head) -> bool {
        let find = |path| self.routes.find(head.method(), head.host(), path);
        let found = head.path().ok().and_then(find);
        found.is_some_and(|found| found.route.deployment == DeploymentPlace::Body)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Gate({} waiting)", self.waiting.len())
    }
}

impl Report {
    fn of<T>(kind: &'static str, name: &str, settled: Settled, supply: &Supply<T>) -> Self {
        let (result, is_news) = settled;
        Self { kind, name: name.to_owned(), result, held: supply.refresh.held(), is_news }
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
