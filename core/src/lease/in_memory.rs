//! Shared data of one process: for hosts that have none of their own, and for tests.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::SharedData;

/// Holds what gates of one thread share, with versions like Envoy's: a record is replaced only by
/// who names the version that is there.
#[derive(Clone, Debug, Default)]
pub struct InMemorySharedData {
    holder: u64,
    is_private: bool,
    records: Rc<RefCell<Records>>,
}

/// The records by their keys, each with its version.
type Records = HashMap<String, (Vec<u8>, u32)>;

impl InMemorySharedData {
    /// Makes data that nobody else can read if `is_private`; the first holder is 1.
    pub fn new(is_private: bool) -> Self {
        Self { holder: 1, is_private, records: Rc::default() }
    }

    /// Returns the same data as another holder sees it.
    #[must_use]
    pub fn of_holder(&self, holder: u64) -> Self {
        Self { holder, ..self.clone() }
    }

    /// Returns all bytes that are stored.
    pub fn bytes(&self) -> Vec<u8> {
        self.records.borrow().values().flat_map(|(record, _)| record.clone()).collect()
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
}
