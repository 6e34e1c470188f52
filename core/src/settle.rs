//! Settles what this proxy has counted with the other proxies of a fleet, through a service of
//! Envoy's rate-limit protocol: tells it what was used since the last time, and learns what all of
//! them have used.
//!
//! One thread of a proxy settles at a time, once in an interval, and only while there is something to
//! tell or to ask. No request waits for it.
//!
//! Nothing is told twice. What a call carried that was not answered may have been counted or not, and
//! is not told again: then the fleet's sum may lack it, in favour of callers, while this proxy's own
//! sum does not. So that an outage costs one call's worth and not all of its length, the next calls
//! only ask, until one is answered.

mod grpc;
mod protocol;
mod service;
mod turn;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::fetch::{SharedData, after};
use crate::ledger::{Due, Item, Key, Ledger};
use crate::limit::Limit;
use crate::log::Line;
pub use grpc::GrpcAnswer;
use protocol::Status;
pub use service::service_file;
use turn::{Claim, Turn};

/// Says where a fleet counts, and how often it is told.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Envoy's name of the service's cluster.
    pub cluster: String,
    /// What these limits are there.
    pub domain: String,
    /// From one settlement to the next.
    pub interval: Duration,
    /// How long one call may take.
    pub timeout: Duration,
    /// What becomes of requests while the service is away.
    pub unavailable: Unavailable,
}

/// Says what becomes of requests while the service is away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unavailable {
    /// They are counted by what this proxy knows.
    Count,
    /// They are refused after three settlements that failed.
    Refuse,
}

/// Describes a gRPC call that the host is to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settlement {
    /// Envoy's name of the service's cluster.
    pub cluster: String,
    /// The same as an `envoy.config.core.v3.GrpcService`, which Envoy's gRPC client understands whatever the
    /// cluster's name is.
    pub target: String,
    /// The request.
    pub message: Vec<u8>,
    /// How long it may take; never zero.
    pub timeout: Duration,
}

/// Holds what came of a [`Settlement`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Settled {
    /// The service answered with this message.
    Answered(Vec<u8>),
    /// It failed with this gRPC status.
    Failed(u32),
    /// Nothing came back, not even a failure.
    Lost,
    /// The host did not send it.
    Unsent,
}

/// Tells what came of a settlement, for the log and the counters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SettlementReport {
    /// Why it failed, if it did.
    pub result: Result<(), SettlementError>,
    /// True if the one before it ended differently, or if there was none.
    pub is_news: bool,
    /// The limits of which it is news whether the service has the same.
    pub limits: Vec<(String, Agreement)>,
}

/// Says why a settlement failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SettlementError {
    /// The answer is not one to the question.
    Malformed,
    /// It failed with this gRPC status.
    Status(u32),
    /// Nothing came back, not even a failure.
    Unanswered,
    /// Envoy did not send it: no such cluster, or it is not allowed.
    Unsent,
}

/// Says whether the service has a limit as it is configured here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Agreement {
    /// It has.
    Same,
    /// It has another number or window.
    Different,
    /// It has none of this name, and counts nothing.
    Missing,
}

/// Settles for one thread.
pub struct Settler {
    fleet: Fleet,
    turn: Turn,
    /// When to look whether it is this thread's turn; none while there is nothing to settle.
    due: Cell<Option<SystemTime>>,
    /// The pages that are yet to be looked at in this turn.
    pages: VecDeque<usize>,
    flight: Option<Flight>,
    only_asks: bool,
    /// A thread that ended may have left pages that it did not mark.
    has_seen_all: bool,
    /// Another thread of the proxy settles, and this one only says when there is something to settle.
    is_left_to_another: bool,
    last: Option<Result<(), SettlementError>>,
    /// Whether the service has each limit as it is configured here.
    agreements: HashMap<Rc<str>, Agreement>,
}

/// A call that is under way.
struct Flight {
    items: Vec<Item>,
    pages: Vec<usize>,
    lost_at: SystemTime,
}

/// How many counters one call tells of: the service takes 5 ms for these, and 46 ms for a thousand.
const MAX_ITEMS: usize = 200;

/// How long after its own timeout a call counts as lost.
const LOST_CALL_GRACE: Duration = Duration::from_secs(1);

/// After how many settlements in a row that failed the service counts as away.
const MISSED: u32 = 3;

impl Settler {
    /// Makes one for a thread.
    pub fn new(fleet: Fleet, shared: &Rc<dyn SharedData>) -> Self {
        Self {
            turn: Turn::new(Rc::clone(shared)),
            fleet,
            due: Cell::default(),
            pages: VecDeque::new(),
            flight: None,
            only_asks: false,
            has_seen_all: false,
            is_left_to_another: !shared.fetches(),
            last: None,
            agreements: HashMap::new(),
        }
    }

    /// Takes note that there is something to settle. Returns true if there was nothing before, or if
    /// the thread is to be told that settles for this one.
    pub fn note(&self, now: SystemTime) -> bool {
        if self.is_left_to_another {
            return true;
        }
        let is_news = self.due.get().is_none();
        if is_news {
            self.due.set(Some(now));
        }
        is_news
    }

    /// Returns when [`Settler::call`] or [`Settler::is_lost`] is worth asking; `None` is never.
    pub fn wake_at(&self) -> Option<SystemTime> {
        match &self.flight {
            Some(flight) => Some(flight.lost_at),
            None => self.due.get(),
        }
    }

    /// Returns true if requests are to be refused because the service is away.
    pub fn refuses(&self) -> bool {
        self.fleet.unavailable == Unavailable::Refuse && self.turn.failures() >= MISSED
    }

    /// Returns how long a caller should wait until the service may be there again.
    pub fn retry_after(&self) -> Duration {
        self.fleet.interval
    }

    /// Returns the call that is due, and counts it as under way; it is to be answered by
    /// [`Settler::settled`].
    pub fn call(
        &mut self,
        limits: &[Limit],
        ledger: &Ledger,
        now: SystemTime,
    ) -> Option<Settlement> {
        if self.flight.is_some() || !self.is_due(now) {
            return None;
        }
        let lost_at = after(self.fleet.timeout.saturating_add(LOST_CALL_GRACE), now);
        if self.pages.is_empty() && !self.begin(ledger, lost_at, now) {
            return None;
        }
        let (items, pages) = self.collect(limits, ledger, now);
        if items.is_empty() {
            self.due.set(None);
            self.turn.end(None);
            return None;
        }
        self.turn.extend(lost_at);
        let entries = items.iter().map(|item| (name(limits, &item.key), *item));
        let message = protocol::request(&self.fleet.domain, entries);
        self.flight = Some(Flight { items, pages, lost_at });
        let timeout = self.fleet.timeout;
        let cluster = self.fleet.cluster.clone();
        Some(Settlement { target: target(&cluster), cluster, message, timeout })
    }

    /// Returns true if the call under way was never answered; it is then [`Settled::Lost`].
    pub fn is_lost(&self, now: SystemTime) -> bool {
        self.flight.as_ref().is_some_and(|flight| {
            flight.lost_at <= now || self.is_of_another_clock(flight.lost_at, now)
        })
    }

    /// Takes the answer to the call under way.
    pub fn settled(
        &mut self,
        answer: Settled,
        limits: &[Limit],
        ledger: &Ledger,
        now: SystemTime,
    ) -> Option<SettlementReport> {
        let Flight { items, pages, .. } = self.flight.take()?;
        let statuses = match answer {
            Settled::Answered(message) => {
                protocol::statuses(&message, items.len()).ok_or(SettlementError::Malformed)
            }
            Settled::Failed(status) => Err(SettlementError::Status(status)),
            Settled::Lost => Err(SettlementError::Unanswered),
            Settled::Unsent => Err(SettlementError::Unsent),
        };
        let result = statuses.as_ref().map(|_| ()).map_err(|error| *error);
        let mut limits_in_answer = Vec::new();
        match statuses {
            Ok(statuses) => {
                for (item, status) in items.iter().zip(statuses) {
                    limits_in_answer.extend(apply(item, &status, limits, ledger, now));
                }
                self.go_on(pages, ledger, now);
            }
            Err(error) => {
                if error == SettlementError::Unsent {
                    for item in &items {
                        ledger.unsent(item);
                    }
                }
                self.give_up(pages, ledger, now);
            }
        }
        limits_in_answer.retain(|(limit, agreement)| {
            self.agreements.insert(limit.clone(), *agreement) != Some(*agreement)
        });
        let is_news = self.last.replace(result) != Some(result);
        let limits =
            limits_in_answer.into_iter().map(|(name, agreement)| (name.to_string(), agreement));
        Some(SettlementReport { result, is_news, limits: limits.collect() })
    }

    /// Lets another thread settle, because this one is going away.
    pub fn retire(&self, ledger: &Ledger) {
        if self.flight.is_some() || !self.pages.is_empty() {
            ledger.mark(&self.pages.iter().copied().collect::<Vec<_>>());
            self.turn.end(None);
        }
    }

    fn is_due(&self, now: SystemTime) -> bool {
        self.due.get().is_some_and(|due| due <= now || self.is_of_another_clock(due, now))
    }

    /// A time that lies so far ahead was set before the clock was set back.
    fn is_of_another_clock(&self, time: SystemTime, now: SystemTime) -> bool {
        let longest = self.fleet.interval.saturating_add(self.fleet.timeout);
        after(longest.saturating_add(LOST_CALL_GRACE.saturating_mul(10)), now) < time
    }

    /// Begins a turn, if it is this thread's.
    fn begin(&mut self, ledger: &Ledger, lost_at: SystemTime, now: SystemTime) -> bool {
        match self.turn.claim(self.fleet.interval, lost_at, now) {
            Claim::Granted { failures } => {
                self.only_asks = failures > 0;
                self.pages = ledger.marked().into();
                if !self.has_seen_all {
                    self.pages = ledger.all_pages().into();
                    self.has_seen_all = true;
                }
                true
            }
            Claim::Taken(look_again) => {
                self.due.set(Some(look_again));
                false
            }
        }
    }

    /// Takes what the next call tells, and from which pages.
    fn collect(
        &mut self,
        limits: &[Limit],
        ledger: &Ledger,
        now: SystemTime,
    ) -> (Vec<Item>, Vec<usize>) {
        let (mut items, mut pages) = (Vec::new(), Vec::new());
        let known = |key: &Key| {
            let limit = of_key(limits, key)?;
            Some(Due { window: limit.window, grain: limit.amount.grain() })
        };
        while let Some(page) = self.pages.pop_front() {
            let room = MAX_ITEMS.saturating_sub(items.len());
            let (more, is_left) = ledger.collect(page, room, self.only_asks, known, now);
            if !more.is_empty() {
                pages.push(page);
            }
            items.extend(more);
            if items.len() >= MAX_ITEMS {
                if is_left {
                    self.pages.push_front(page);
                }
                break;
            }
            if is_left {
                ledger.mark(&[page]);
            }
        }
        (items, pages)
    }

    /// Has the next call follow, or ends the turn. After one that only asked, it is told.
    fn go_on(&mut self, pages: Vec<usize>, ledger: &Ledger, now: SystemTime) {
        if self.only_asks {
            self.only_asks = false;
            self.pages.extend(pages);
        }
        if self.pages.is_empty() {
            self.turn.end(Some(true));
            // A page that a call left something on was marked, and so was what came meanwhile.
            self.due.set(ledger.is_marked().then_some(now));
        } else {
            self.turn.succeed();
            self.due.set(Some(now));
        }
    }

    /// Ends the turn; what this thread has not told yet is told another time.
    fn give_up(&mut self, pages: Vec<usize>, ledger: &Ledger, now: SystemTime) {
        let pages: Vec<_> = self.pages.drain(..).chain(pages).collect();
        ledger.mark(&pages);
        self.turn.end(Some(false));
        self.due.set(Some(after(self.fleet.interval, now)));
    }
}

impl std::fmt::Debug for Settler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Settler({})", self.fleet.cluster)
    }
}

impl SettlementReport {
    /// Returns what the log says of it: changes, and nothing where all is as before.
    pub fn lines(&self) -> Vec<Line> {
        let stray = |(limit, agreement): &(String, Agreement)| {
            let found = match agreement {
                Agreement::Same => return None,
                Agreement::Different => "another number or window",
                Agreement::Missing => "none of this name",
            };
            Some(Line::warn(format!(
                "settlement limit={limit}: the service has {found}; `keyless limits` writes its file"
            )))
        };
        let result = self.is_news.then(|| match self.result {
            Ok(()) => Line::info("settlement result=ok".to_owned()),
            Err(error) => {
                let (code, message) = (error.code(), error.to_string());
                Line::warn(format!("settlement result={code} message={message:?}"))
            }
        });
        self.limits.iter().filter_map(stray).chain(result).collect()
    }
}

impl SettlementError {
    /// Returns the word for it in metrics. What was not sent is told later, all else is not.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed | Self::Status(_) | Self::Unanswered => "unconfirmed",
            Self::Unsent => "unsent",
        }
    }
}

impl std::fmt::Display for SettlementError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed => formatter.write_str("the answer is not one to the question"),
            Self::Status(status) => write!(formatter, "gRPC status {status}"),
            Self::Unanswered => formatter.write_str("no answer"),
            Self::Unsent => formatter.write_str("Envoy did not send it: is there such a cluster?"),
        }
    }
}

/// Takes what the service says of one counter. What it says of another window is of no use: then the
/// clocks of two machines differ, and a border lies between them.
fn apply(
    item: &Item,
    status: &Status,
    limits: &[Limit],
    ledger: &Ledger,
    now: SystemTime,
) -> Option<(Rc<str>, Agreement)> {
    let limit = of_key(limits, &item.key)?;
    let most = limit.amount.most_in_grains();
    let agreement = match status.limit {
        None => Agreement::Missing,
        Some(theirs) if theirs == (most, limit.window) => Agreement::Same,
        Some(_) => Agreement::Different,
    };
    let period = limit.period(now);
    let is_same_window = status.resets_in.is_none_or(|resets_in| {
        resets_in.abs_diff(period.remaining).saturating_mul(2) < limit.window.length()
    });
    if let Some(used) = status.used().filter(|_| is_same_window) {
        ledger.settled(item, used, now);
    }
    Some((limit.name.clone(), agreement))
}

fn of_key<'a>(limits: &'a [Limit], key: &Key) -> Option<&'a Limit> {
    limits.iter().find(|limit| limit.tag.is_of(key))
}

fn name<'a>(limits: &'a [Limit], key: &Key) -> &'a str {
    of_key(limits, key).map_or("", |limit| &limit.name)
}

/// Names a cluster as Envoy's `GrpcService`: it would take some names for the bytes of one.
fn target(cluster: &str) -> String {
    let bytes = [protocol::target(cluster, authority(cluster)), protocol::target(cluster, "")];
    // Only lengths of 128 and more are no text, as the host's interface wants it.
    let text = bytes.into_iter().find_map(|bytes| String::from_utf8(bytes).ok());
    text.unwrap_or_else(|| cluster.to_owned())
}

/// The host in Istio's names of clusters, `outbound|8081||HOST`.
fn authority(cluster: &str) -> &str {
    cluster.rsplit('|').next().unwrap_or(cluster)
}
