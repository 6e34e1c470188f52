//! What the threads of one proxy have in common.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Stores records for all threads of a proxy, with compare-and-swap: Envoy's shared data.
pub trait SharedData {
    /// Returns the record under a key, and the number of its version.
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Replaces the record of that version, or creates the first one. Returns false, and changes
    /// nothing, if the record has another version by now.
    fn replace(&self, key: &str, version: Option<u32>, record: &[u8]) -> bool;

    /// Returns true if no other module can read or write the records: the VM has an id of its own.
    fn is_private(&self) -> bool;

    /// Returns the number of this thread: random, not zero, and of no other thread.
    fn holder(&self) -> u64;

    /// Returns false for a thread that leaves every fetch and settlement to another one, which publishes
    /// the answers here: where calls can be made on one thread only.
    fn fetches(&self) -> bool {
        true
    }
}

/// Stores shared data in the memory of one thread: for native hosts, `keyless explain` and tests.
///
/// A record is created whatever the version is that the writer names, and replaced only if it is the
/// current one, as Envoy's `set_shared_data` does. Records stay when a holder goes away.
///
/// ```
/// # use keyless_core::fetch::{InMemorySharedData, SharedData as _};
/// let one = InMemorySharedData::new(true);
/// let other = one.of_holder(2);
/// assert!(one.replace("key", None, b"a"), "created");
/// let (record, version) = other.read("key").unwrap();
/// assert_eq!(record, b"a");
/// assert!(other.replace("key", Some(version), b"b"), "replaced");
/// assert!(!one.replace("key", Some(version), b"c"), "that version is gone");
/// assert!(!one.replace("key", None, b"c"), "and there is a record");
/// ```
#[derive(Clone, Debug)]
pub struct InMemorySharedData {
    holder: u64,
    fetches: bool,
    is_private: bool,
    records: Rc<RefCell<Records>>,
}

/// The records by their keys, each with its version.
type Records = HashMap<String, (Vec<u8>, u32)>;

impl InMemorySharedData {
    /// Makes data that no other module can read if `is_private`; the first holder is 1.
    pub fn new(is_private: bool) -> Self {
        Self { holder: 1, fetches: true, is_private, records: Rc::default() }
    }

    /// Returns the same data as another holder sees it.
    #[must_use]
    pub fn of_holder(&self, holder: u64) -> Self {
        Self { holder, ..self.clone() }
    }

    /// Returns the same data as another holder sees it that leaves its fetches to others.
    #[must_use]
    pub fn of_follower(&self, holder: u64) -> Self {
        Self { holder, fetches: false, ..self.clone() }
    }

    /// Returns all bytes that are stored.
    pub fn bytes(&self) -> Vec<u8> {
        self.records.borrow().values().flat_map(|(record, _)| record.clone()).collect()
    }
}

impl Default for InMemorySharedData {
    fn default() -> Self {
        Self::new(false)
    }
}

impl SharedData for InMemorySharedData {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.records.borrow().get(key).cloned()
    }

    fn replace(&self, key: &str, version: Option<u32>, record: &[u8]) -> bool {
        let mut records = self.records.borrow_mut();
        let present = records.get(key).map(|(_, version)| *version);
        let is_current = present.is_none() || present == version;
        if is_current {
            let next = present.unwrap_or(0).wrapping_add(1);
            records.insert(key.to_owned(), (record.to_vec(), next));
        }
        is_current
    }

    fn is_private(&self) -> bool {
        self.is_private
    }

    fn holder(&self) -> u64 {
        self.holder
    }

    fn fetches(&self) -> bool {
        self.fetches
    }
}
