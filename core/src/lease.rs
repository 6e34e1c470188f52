//! Lets one thread of a proxy fetch for all of them.
//!
//! The threads share nothing but notes that lie under keys. For each thing that is fetched there is
//! one note: who may fetch it at the moment, when that thread will try again if it failed, and what
//! the last fetch brought. A thread whose value is due looks at the note first, takes over what is
//! newer than its own, and else claims the lease. A lease ends by itself, so that a thread that died
//! with it is replaced.

mod in_memory;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::http::Call;
use crate::refresh::{CLOCK_STEP, after};
pub use in_memory::InMemorySharedData;

/// Leaves notes for the other threads of the same proxy, and finds theirs: Envoy's shared data.
pub trait SharedData {
    /// Returns the note under a key, and the number of its version.
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Puts a note in the place of that version, or where there was none; false if it has changed
    /// meanwhile.
    fn replace(&self, key: &str, version: Option<u32>, note: &[u8]) -> bool;

    /// Returns true if nobody else can read the notes: the VM has an id of its own.
    fn is_private(&self) -> bool;

    /// Returns who it is that reads and writes here: a number that nobody else has, and not zero.
    fn holder(&self) -> u64;
}

/// Holds one thread's access to the note of one thing.
pub struct Lease {
    data: Rc<dyn SharedData>,
    key: String,
    holder: u64,
}

/// Holds what a fetch brought, for the threads that did not make it.
#[derive(Clone, Eq, PartialEq)]
pub struct Publication {
    /// When the fetch began.
    pub asked: SystemTime,
    /// When its answer arrived.
    pub arrived: SystemTime,
    /// True if the fetch was brought forward.
    pub is_hastened: bool,
    /// The body of the answer.
    pub body: Vec<u8>,
}

/// Says what came of the wish to fetch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// The fetch is this thread's to make.
    Granted,
    /// Another thread is fetching; there may be something to see at this time.
    Taken(SystemTime),
    /// Another thread's fetch failed, and it will not try again before this time.
    Failing(SystemTime),
}

/// What lies in shared data. It is read as what it is, anybody's bytes; times are in nanoseconds
/// since the epoch.
#[derive(Message)]
#[prost(skip_debug)]
struct Note {
    /// Who holds the lease, or zero.
    #[prost(uint64, tag = "1")]
    holder: u64,
    #[prost(uint64, tag = "2")]
    lease_ends: u64,
    /// When the holder tries again, if its fetch failed.
    #[prost(uint64, tag = "3")]
    next_try: u64,
    #[prost(message, tag = "4")]
    published: Option<Published>,
}

#[derive(Message)]
#[prost(skip_debug)]
struct Published {
    #[prost(uint64, tag = "1")]
    asked: u64,
    #[prost(uint64, tag = "2")]
    arrived: u64,
    #[prost(bool, tag = "3")]
    is_hastened: bool,
    #[prost(bytes = "vec", tag = "4")]
    body: Vec<u8>,
}

/// How often a thread looks whether another one's fetch has ended.
const GLANCE: Duration = Duration::from_millis(10);

/// How long after its next try a failing holder is given up.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// No lease is longer than the longest pause after a failure; one that is, nobody of us wrote.
const LONGEST: Duration = Duration::from_hours(2);

impl Lease {
    /// Makes the access to the note for what `call` fetches; `kind` tells apart what different
    /// readers make of the same answer. Its key shows nothing of the call, and is the same on every
    /// thread and after every change of the configuration that leaves the call as it is.
    pub fn new(data: Rc<dyn SharedData>, kind: &str, call: &Call) -> Self {
        let holder = data.holder();
        Self { key: format!("keyless.{kind}.{}", fingerprint(call)), data, holder }
    }

    /// Returns what another thread's fetch brought that began after `asked`. Nothing is published
    /// where others could read it.
    pub fn published(&self, asked: Option<SystemTime>, now: SystemTime) -> Option<Publication> {
        let (note, _) = self.read();
        let is_sound = |published: &Published| self.data.is_private() && published.is_past(now);
        let Published { asked: began, arrived, is_hastened, body } =
            note.published.filter(is_sound)?;
        let began = time(began);
        let is_newer = asked.is_none_or(|asked| asked < began);
        is_newer.then(|| Publication { asked: began, arrived: time(arrived), is_hastened, body })
    }

    /// Claims the lease for a fetch that counts as lost at `deadline`.
    pub fn claim(&self, deadline: SystemTime, now: SystemTime) -> Claim {
        let (note, version) = self.read();
        if note.holder != self.holder && note.is_leased(now) {
            let next_try = time(note.next_try.min(note.lease_ends));
            return if next_try > now { Claim::Failing(next_try) } else { Claim::Taken(soon(now)) };
        }
        let lease = Note { holder: self.holder, lease_ends: nanos(deadline), next_try: 0, ..note };
        if self.write(&lease, version) { Claim::Granted } else { Claim::Taken(soon(now)) }
    }

    /// Gives the lease back and hands what the fetch brought to the other threads.
    pub fn publish(&self, publication: &Publication) {
        let Publication { asked, arrived, is_hastened, body } = publication;
        let offer = |note: &mut Note| {
            let is_older =
                |other: &Published| time(other.asked) < *asked || !other.is_past(*arrived);
            if self.data.is_private() && note.published.as_ref().is_none_or(is_older) {
                let (asked, arrived) = (nanos(*asked), nanos(*arrived));
                let (is_hastened, body) = (*is_hastened, body.clone());
                note.published = Some(Published { asked, arrived, is_hastened, body });
            }
        };
        // Somebody else may have written in between, but not again and again.
        _ = (0..3).any(|_| self.end(offer));
    }

    /// Keeps the lease until the next try, because the fetch failed: nobody else need try before.
    pub fn keep(&self, next_try: SystemTime) {
        let (note, version) = self.read();
        if note.holder == self.holder {
            let lease_ends = nanos(after(TAKE_OVER, next_try));
            self.write(&Note { lease_ends, next_try: nanos(next_try), ..note }, version);
        }
    }

    /// Gives the lease back, if this thread has it.
    pub fn release(&self) {
        if self.read().0.holder == self.holder {
            self.end(|_| ());
        }
    }

    /// A lease that was lost meanwhile stays with whom it went to. Returns false if somebody else
    /// was faster.
    fn end(&self, change: impl Fn(&mut Note)) -> bool {
        let (mut note, version) = self.read();
        if note.holder == self.holder {
            (note.holder, note.lease_ends, note.next_try) = (0, 0, 0);
        }
        change(&mut note);
        self.write(&note, version)
    }

    fn read(&self) -> (Note, Option<u32>) {
        let Some((bytes, version)) = self.data.read(&self.key) else {
            return (Note::default(), None);
        };
        (Note::decode(bytes.as_slice()).unwrap_or_default(), Some(version))
    }

    fn write(&self, note: &Note, version: Option<u32>) -> bool {
        self.data.replace(&self.key, version, &note.encode_to_vec())
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Lease({})", self.key)
    }
}

impl fmt::Debug for Publication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Publication({} bytes)", self.body.len())
    }
}

impl fmt::Debug for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Note(held by {})", self.holder)
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Published({} bytes)", self.body.len())
    }
}

impl Published {
    /// What lies in the future was written before the clock was set back, and says nothing.
    fn is_past(&self, now: SystemTime) -> bool {
        time(self.asked.max(self.arrived)) <= after(CLOCK_STEP, now)
    }
}

impl Note {
    fn is_leased(&self, now: SystemTime) -> bool {
        let ends = time(self.lease_ends);
        now < ends && ends <= after(LONGEST, now)
    }
}

fn soon(now: SystemTime) -> SystemTime {
    after(GLANCE, now)
}

fn nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

fn time(nanos: u64) -> SystemTime {
    after(Duration::from_nanos(nanos), UNIX_EPOCH)
}

/// Two calls have the same one only if they are the same in every byte.
fn fingerprint(call: &Call) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        // As wide natively as in the module.
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text);
    };
    for text in [&call.cluster, call.method, &call.authority, &call.path] {
        add(text);
    }
    for (name, value) in &call.headers {
        add(name);
        add(value.expose());
    }
    add(call.body.as_ref().map_or("", |body| body.expose()));
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

#[cfg(test)]
mod tests;
