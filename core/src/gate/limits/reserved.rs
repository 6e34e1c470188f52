//! What is set aside for requests under way in this thread, until it is known what they have used.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use crate::ledger::Key;

/// Holds what is set aside, by counter: there are no more of them than requests under way.
#[derive(Clone, Default)]
pub(super) struct Reserved(Rc<RefCell<HashMap<Key, u64>>>);

/// Keeps an amount set aside until this is dropped, as it is with its request, however that ends.
pub(super) struct Reservation {
    reserved: Reserved,
    key: Key,
    amount: u64,
}

impl Reserved {
    /// Returns what is set aside.
    pub(super) fn sum(&self, key: &Key) -> u64 {
        self.0.borrow().get(key).copied().unwrap_or_default()
    }

    /// Sets an amount aside.
    pub(super) fn set_aside(&self, key: Key, amount: u64) -> Reservation {
        let mut sums = self.0.borrow_mut();
        let sum = sums.entry(key).or_default();
        *sum = sum.saturating_add(amount);
        Reservation { reserved: self.clone(), key, amount }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut sums = self.reserved.0.borrow_mut();
        let left = sums.get(&self.key).map(|sum| sum.saturating_sub(self.amount));
        match left {
            Some(left) if left > 0 => _ = sums.insert(self.key, left),
            _ => _ = sums.remove(&self.key),
        }
    }
}

impl PartialEq for Reservation {
    fn eq(&self, other: &Self) -> bool {
        (self.key, self.amount) == (other.key, other.amount)
    }
}

impl Eq for Reservation {}

impl fmt::Debug for Reservation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Reservation({})", self.amount)
    }
}
