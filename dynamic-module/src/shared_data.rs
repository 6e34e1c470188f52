//! What the threads of this proxy have in common, in its memory. It outlives every configuration.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, LazyLock, Mutex};

use keyless_core::fetch::SharedData;

use crate::lock;

/// The records by their keys, each with its version.
type Records = HashMap<String, (Arc<[u8]>, u32)>;

/// The lock is held to look up a record, or to put one in its place: copies are made, and memory is
/// given back, outside of it.
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
        let found = lock(&RECORDS).get(key).cloned();
        found.map(|(record, version)| (record.to_vec(), version))
    }

    fn replace(&self, key: &str, version: Option<u32>, record: &[u8]) -> bool {
        let mut record = Arc::from(record);
        let mut records = lock(&RECORDS);
        let Some((present, current)) = records.get_mut(key) else {
            records.insert(key.to_owned(), (record, 1));
            return true;
        };
        let is_current = version == Some(*current);
        if is_current {
            *current = current.wrapping_add(1);
            std::mem::swap(present, &mut record);
        }
        drop(records);
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
