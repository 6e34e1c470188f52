//! Lets one thread of a proxy fetch for all of them.
//!
//! The threads share nothing but the records in shared data. There is one record for each thing that
//! is fetched: which thread may fetch it, when that thread retries if its fetch failed, and the last
//! good answer. A thread whose value is due reads the record, takes over an answer that is newer than
//! its own, and otherwise claims the lease. A lease expires, so a thread that died is replaced.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::shared_data::SharedData;
use super::timer::{after, is_of_another_clock};
use crate::http::{Call, FetchError};

/// Gives one thread access to the record of one thing.
pub(super) struct Lease {
    data: Rc<dyn SharedData>,
    key: String,
    holder: u64,
}

/// Holds a good answer, for the threads that did not make the call.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Publication {
    pub(super) requested: SystemTime,
    /// When the early fetches of the threads are all earned again, as far as the fetching one knows.
    pub(super) early_spent: Option<SystemTime>,
    pub(super) arrived: SystemTime,
    pub(super) body: Vec<u8>,
}

/// Says whether this thread may fetch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Claim {
    /// This thread has the lease.
    Granted,
    /// Another thread is fetching; look again at this time.
    Taken(SystemTime),
    /// Another thread's fetch failed with this code; it retries at this time.
    Failing(SystemTime, Option<&'static str>),
    /// Nobody is fetching, and this thread leaves it to another one; look again at this time.
    Left(SystemTime),
}

/// The record in shared data. Anybody may have written it, so it is checked like any input. Times are
/// in nanoseconds since the epoch.
#[derive(Message)]
#[prost(skip_debug)]
struct LeaseRecord {
    /// Who has the lease, or zero.
    #[prost(uint64, tag = "1")]
    holder: u64,
    #[prost(uint64, tag = "2")]
    lease_ends: u64,
    /// When the holder retries, if its fetch failed.
    #[prost(uint64, tag = "3")]
    next_try: u64,
    #[prost(message, tag = "4")]
    published: Option<Published>,
    /// When the lease was taken or extended.
    #[prost(uint64, tag = "5")]
    leased_at: u64,
    /// How the holder's fetch failed, if it did: the code of a [`FetchError`].
    #[prost(string, tag = "6")]
    failure: String,
}

#[derive(Message)]
#[prost(skip_debug)]
struct Published {
    #[prost(uint64, tag = "1")]
    requested: u64,
    #[prost(uint64, tag = "2")]
    arrived: u64,
    /// See [`Publication::early_spent`]; zero is none.
    #[prost(uint64, tag = "3")]
    early_spent: u64,
    #[prost(bytes = "vec", tag = "4")]
    body: Vec<u8>,
}

/// How often a thread looks whether another one's fetch has ended.
const LEASE_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long after its retry was due a holder may still start it; then another thread takes over.
const RETRY_GRACE: Duration = Duration::from_secs(2);

/// No lease lasts longer: the longest back-off, an hour and a tenth, and [`RETRY_GRACE`] are less. A
/// record that says otherwise was not written by this program, and its lease is not respected.
const MAX_LEASE: Duration = Duration::from_hours(2);

/// How often a write is tried that other threads' writes make fail.
const MAX_WRITE_TRIES: usize = 3;

/// Returns the key of the record for what these calls fetch; `kind` tells formats apart that are read
/// from the same answer. The key shows nothing of the calls, and is the same on all threads and
/// after every change of the configuration that does not change the calls.
pub fn record_key(kind: &str, calls: &[&Call]) -> String {
    format!("keyless.{kind}.{}", fingerprint(calls))
}

impl Lease {
    pub(super) fn new(data: Rc<dyn SharedData>, kind: &str, calls: &[&Call]) -> Self {
        let holder = data.holder();
        Self { key: record_key(kind, calls), data, holder }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Returns true if threads take over each other's answers.
    pub(super) fn is_shared(&self) -> bool {
        self.data.is_private()
    }

    /// Returns the last answer, if its fetch began after `held_since`. There is none where other
    /// modules could write it.
    pub(super) fn published(
        &self,
        held_since: Option<SystemTime>,
        now: SystemTime,
    ) -> Option<Publication> {
        let (record, _) = self.read();
        let is_valid = |published: &Published| self.data.is_private() && published.is_past(now);
        let published = record.published.filter(is_valid)?;
        let Published { requested, arrived, early_spent, body } = published;
        let (requested, arrived) = (time(requested), time(arrived));
        let early_spent = (early_spent > 0).then(|| time(early_spent));
        let is_newer = held_since.is_none_or(|held_since| held_since < requested);
        is_newer.then_some(Publication { requested, early_spent, arrived, body })
    }

    /// Claims the lease for a fetch that counts as lost at `deadline`, or extends it.
    pub(super) fn claim(&self, deadline: SystemTime, now: SystemTime) -> Claim {
        let (record, version) = self.read();
        if record.holder != self.holder && record.is_leased(now) {
            let next_try = time(record.next_try.min(record.lease_ends));
            let code = FetchError::known_code(&record.failure);
            return if next_try > now {
                Claim::Failing(next_try, code)
            } else {
                Claim::Taken(poll(now))
            };
        }
        if !self.data.fetches() {
            return Claim::Left(poll(now));
        }
        let (holder, lease_ends, leased_at) = (self.holder, nanos(deadline), nanos(now));
        let lease = LeaseRecord { holder, lease_ends, leased_at, next_try: 0, ..record };
        if self.write(&lease, version) { Claim::Granted } else { Claim::Taken(poll(now)) }
    }

    /// Gives the lease back, and leaves the answer for the other threads.
    pub(super) fn publish(&self, publication: &Publication) {
        let Publication { requested, early_spent, arrived, body } = publication;
        let offer = |record: &mut LeaseRecord| {
            let is_older =
                |other: &Published| time(other.requested) < *requested || !other.is_past(*arrived);
            if self.data.is_private() && record.published.as_ref().is_none_or(is_older) {
                record.published = Some(Published {
                    requested: nanos(*requested),
                    arrived: nanos(*arrived),
                    early_spent: early_spent.map_or(0, nanos),
                    body: body.clone(),
                });
            }
        };
        _ = (0..MAX_WRITE_TRIES).any(|_| self.end(offer));
    }

    /// Keeps the lease until the retry of a failed fetch, so that no other thread tries before.
    /// `code` says how it failed.
    pub(super) fn keep_until_retry(&self, code: &str, next_try: SystemTime, now: SystemTime) {
        let (record, version) = self.read();
        if record.holder == self.holder {
            let lease_ends = nanos(after(RETRY_GRACE, next_try));
            let (next_try, leased_at) = (nanos(next_try), nanos(now));
            let failure = code.to_owned();
            self.write(
                &LeaseRecord { lease_ends, next_try, leased_at, failure, ..record },
                version,
            );
        }
    }

    /// Gives the lease back, if this thread has it.
    pub(super) fn release(&self) {
        if self.read().0.holder == self.holder {
            self.end(|_| ());
        }
    }

    /// Changes the record, and gives the lease back if this thread still has it. Returns false if
    /// another thread wrote in between.
    fn end(&self, change: impl Fn(&mut LeaseRecord)) -> bool {
        let (mut record, version) = self.read();
        if record.holder == self.holder {
            (record.holder, record.lease_ends, record.next_try) = (0, 0, 0);
        }
        change(&mut record);
        self.write(&record, version)
    }

    /// Reads the record; one that cannot be read counts as empty.
    fn read(&self) -> (LeaseRecord, Option<u32>) {
        let Some((bytes, version)) = self.data.read(&self.key) else {
            return (LeaseRecord::default(), None);
        };
        (LeaseRecord::decode(bytes.as_slice()).unwrap_or_default(), Some(version))
    }

    fn write(&self, record: &LeaseRecord, version: Option<u32>) -> bool {
        self.data.replace(&self.key, version, &record.encode_to_vec())
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

impl fmt::Debug for LeaseRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LeaseRecord(held by {})", self.holder)
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Published({} bytes)", self.body.len())
    }
}

impl Published {
    /// Returns false for what was written before the clock was set back: nobody knows its age.
    fn is_past(&self, now: SystemTime) -> bool {
        !is_of_another_clock(time(self.requested.max(self.arrived)), now)
    }
}

impl LeaseRecord {
    /// Returns false also for a lease from before the clock was set back: it would last longer by
    /// that, and if its holder has died, nobody could fetch meanwhile.
    fn is_leased(&self, now: SystemTime) -> bool {
        let ends = time(self.lease_ends);
        let is_valid = !is_of_another_clock(time(self.leased_at), now);
        now < ends && ends <= after(MAX_LEASE, now) && is_valid
    }
}

fn poll(now: SystemTime) -> SystemTime {
    after(LEASE_POLL_INTERVAL, now)
}

fn nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

fn time(nanos: u64) -> SystemTime {
    after(Duration::from_nanos(nanos), UNIX_EPOCH)
}

/// Calls have the same one only if they are the same in every byte.
fn fingerprint(calls: &[&Call]) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        // As wide natively as in the module.
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text);
    };
    for call in calls {
        for text in [&call.cluster, call.method, &call.authority, &call.path] {
            add(text);
        }
        for (name, value) in &call.headers {
            add(name);
            add(value.expose());
        }
        add(call.body.as_ref().map_or("", |body| body.expose()));
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

#[cfg(test)]
mod tests;
