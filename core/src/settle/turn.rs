//! Whose turn it is to settle: a record in shared data, as all threads of a proxy see it.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::fetch::{SharedData, after};

/// Gives one thread access to the record.
pub(super) struct Turn {
    data: Rc<dyn SharedData>,
}

/// Says whether this thread may settle.
pub(super) enum Claim {
    /// It may; so many settlements in a row have failed before.
    Granted { failures: u32 },
    /// It is another's turn, or too early; look again at this time.
    Taken(SystemTime),
}

/// The record. Anybody may have written it, so it is checked like any input. Times are in nanoseconds
/// since the epoch.
#[derive(Message)]
#[prost(skip_debug)]
struct TurnRecord {
    /// Whose turn it is, or zero.
    #[prost(uint64, tag = "1")]
    holder: u64,
    /// When a thread that does not end its turn has lost it.
    #[prost(uint64, tag = "2")]
    ends: u64,
    /// When the next turn may begin.
    #[prost(uint64, tag = "3")]
    next: u64,
    /// How many settlements in a row have failed.
    #[prost(uint32, tag = "4")]
    failures: u32,
}

const RECORD: &str = "keyless.settlement";

/// How often a write is tried that other threads' writes make fail.
const MAX_WRITE_TRIES: usize = 3;

/// How soon to look again whether the turn of another thread is over.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

impl Turn {
    pub(super) fn new(data: Rc<dyn SharedData>) -> Self {
        Self { data }
    }

    pub(super) fn claim(&self, interval: Duration, ends: SystemTime, now: SystemTime) -> Claim {
        let (record, version) = self.read();
        // Times further ahead than these were not written by this clock.
        let (next, held) = (time(record.next), time(record.ends));
        if now < next && next <= after(interval, now) {
            return Claim::Taken(next);
        }
        let is_held = record.holder != 0 && record.holder != self.data.holder();
        if is_held && now < held && held <= after(interval, ends) {
            return Claim::Taken(held.min(after(POLL_INTERVAL, now)));
        }
        let failures = record.failures;
        let claimed = TurnRecord {
            holder: self.data.holder(),
            ends: nanos(ends),
            next: nanos(after(interval, now)),
            failures,
        };
        if self.write(&claimed, version) {
            Claim::Granted { failures }
        } else {
            Claim::Taken(after(POLL_INTERVAL, now))
        }
    }

    /// Lengthens the turn, because another call follows.
    pub(super) fn extend(&self, ends: SystemTime) {
        self.change(|record| record.ends = nanos(ends));
    }

    /// Notes that the service has answered.
    pub(super) fn succeed(&self) {
        self.change(|record| record.failures = 0);
    }

    /// Ends the turn, and notes how it went if a call was made.
    pub(super) fn end(&self, is_success: Option<bool>) {
        self.change(|record| {
            (record.holder, record.ends) = (0, 0);
            match is_success {
                Some(true) => record.failures = 0,
                Some(false) => record.failures = record.failures.saturating_add(1),
                None => {}
            }
        });
    }

    /// Returns how many settlements in a row have failed.
    pub(super) fn failures(&self) -> u32 {
        self.read().0.failures
    }

    /// Changes the record if it is still this thread's turn.
    fn change(&self, change: impl Fn(&mut TurnRecord)) {
        for _ in 0..MAX_WRITE_TRIES {
            let (mut record, version) = self.read();
            if record.holder != self.data.holder() {
                return;
            }
            change(&mut record);
            if self.write(&record, version) {
                return;
            }
        }
    }

    /// Reads the record; one that cannot be read counts as empty.
    fn read(&self) -> (TurnRecord, Option<u32>) {
        let Some((bytes, version)) = self.data.read(RECORD) else {
            return (TurnRecord::default(), None);
        };
        (TurnRecord::decode(bytes.as_slice()).unwrap_or_default(), Some(version))
    }

    fn write(&self, record: &TurnRecord, version: Option<u32>) -> bool {
        self.data.replace(RECORD, version, &record.encode_to_vec())
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

fn time(nanos: u64) -> SystemTime {
    after(Duration::from_nanos(nanos), UNIX_EPOCH)
}
