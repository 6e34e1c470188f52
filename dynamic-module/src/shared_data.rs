//! What the threads of this proxy have in common, in its memory. It outlives every configuration.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{LazyLock, Mutex};

use keyless_core::fetch::SharedData;

use crate::lock;

/// The records by their keys, each with its version.
type Records = HashMap<String, (Vec<u8>, u32)>;

/// The lock is held for a copy only.
static RECORDS: LazyLock<Mutex<Records>> = LazyLock::new(Mutex::default);

/// Reads and writes for one gate.
#[derive(Debug)]
pub(crate) struct ProcessData {
    holder: u64,
    fetches: bool,
}

impl ProcessData {
    /// Makes that of the one thread that fetches.
    pub(crate) fn of_fetcher() -> Self {
        Self { holder: number(), fetches: true }
    }

    /// Makes that of a worker, which leaves its fetches to the other thread.
    pub(crate) fn of_worker() -> Self {
        Self { holder: number(), fetches: false }
    }
}

impl SharedData for ProcessData {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        lock(&RECORDS).get(key).cloned()
    }

    fn replace(&self, key: &str, version: Option<u32>, record: &[u8]) -> bool {
        let record = record.to_vec();
        let mut records = lock(&RECORDS);
        let present = records.get(key).map(|(_, version)| *version);
        let is_current = present.is_none() || present == version;
        if is_current {
            let next = present.unwrap_or(0).wrapping_add(1);
            records.insert(key.to_owned(), (record, next));
        }
        is_current
    }

    /// Who can read the memory of this process can read all that it knows.
    fn is_private(&self) -> bool {
        true
    }

    fn holder(&self) -> u64 {
        self.holder
    }

    fn fetches(&self) -> bool {
        self.fetches
    }
}

/// A random number that is not zero.
fn number() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}
