//! One page of the ledger: a mark, and then slots of one length.

use super::{Key, Period};

/// A page that was read, or is to be written.
pub(super) struct Page(Vec<u8>);

/// One counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Slot {
    key: Key,
    /// The end of its window, in minutes since the epoch.
    ends: u32,
    pub(super) used: u64,
}

/// How many counters a page holds.
pub(super) const SLOTS: usize = 64;

/// What every page begins with; another form of pages has another one.
const MARK: &[u8; 8] = b"keyless1";

/// The length of a slot: its key, the end of its window, what was used.
const SLOT: usize = 16 + 4 + 8;

/// No window ends later than this many minutes from now.
const MAX_AHEAD: u32 = 366 * 24 * 60;

impl Page {
    pub(super) fn empty() -> Self {
        Self(MARK.to_vec())
    }

    /// Takes bytes that are a page; all else is an empty one.
    pub(super) fn parse(bytes: Vec<u8>) -> Self {
        let slots = bytes.strip_prefix(MARK);
        let is_page = slots.is_some_and(|slots| {
            slots.len().is_multiple_of(SLOT) && slots.len() <= SLOT.saturating_mul(SLOTS)
        });
        if is_page { Self(bytes) } else { Self::empty() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the counter of a window. One of the window after it counts as well: then the clock
    /// was set back a little, which must not give back what was used.
    pub(super) fn find(&self, key: &Key, period: Period) -> Option<Slot> {
        let slot = Slot::read(self.slots().find(|bytes| bytes.starts_with(&key.0))?)?;
        let is_same =
            slot.ends == period.ends || slot.ends == period.ends.saturating_add(period.minutes);
        is_same.then_some(slot)
    }

    /// Returns the counter of a window, or a new one.
    pub(super) fn find_or_empty(&self, key: &Key, period: Period) -> Slot {
        self.find(key, period).unwrap_or(Slot { key: *key, ends: period.ends, used: 0 })
    }

    /// Puts a counter in its place, or in that of the one that is needed least if the page is full.
    /// Returns true if the window of that one is not over.
    pub(super) fn put(&mut self, slot: Slot, period: Period) -> bool {
        let bytes = slot.bytes();
        let own = self.slots().position(|other| other.starts_with(&slot.key.0));
        if own.is_none() && self.slots().len() < SLOTS {
            self.0.extend_from_slice(&bytes);
            return false;
        }
        let need = |(at, bytes)| {
            let slot = Slot::read(bytes)?;
            let is_live = slot.is_live(period.now);
            Some((is_live, if is_live { slot.used } else { u64::from(slot.ends) }, at))
        };
        let least = || self.slots().enumerate().filter_map(need).min();
        let (is_evicting, at) = match own {
            Some(at) => (false, at),
            None => least().map_or((false, 0), |(is_live, _, at)| (is_live, at)),
        };
        let place =
            self.0.get_mut(MARK.len()..).and_then(|slots| slots.chunks_exact_mut(SLOT).nth(at));
        if let Some(place) = place {
            place.copy_from_slice(&bytes);
        }
        is_evicting
    }

    fn slots(&self) -> std::slice::ChunksExact<'_, u8> {
        self.0.get(MARK.len()..).unwrap_or_default().chunks_exact(SLOT)
    }
}

impl Slot {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (ends, rest) = rest.split_first_chunk()?;
        let used = rest.first_chunk()?;
        let (ends, used) = (u32::from_le_bytes(*ends), u64::from_le_bytes(*used));
        Some(Self { key: Key(*key), ends, used })
    }

    fn bytes(self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        let parts = self.key.0.into_iter().chain(self.ends.to_le_bytes());
        for (place, byte) in bytes.iter_mut().zip(parts.chain(self.used.to_le_bytes())) {
            *place = byte;
        }
        bytes
    }

    /// A window that ends later than any can was written by a clock that was far ahead.
    fn is_live(self, now: u32) -> bool {
        self.ends > now && self.ends <= now.saturating_add(MAX_AHEAD)
    }
}
