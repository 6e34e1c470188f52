//! One page of the ledger: a mark, and then slots of one length.

use super::{Key, Period};

/// A page that was read, or is to be written.
pub(super) struct Page(Vec<u8>);

/// One counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Slot {
    pub(super) key: Key,
    /// The end of its window, in minutes since the epoch.
    pub(super) ends: u32,
    /// What was used at this proxy.
    pub(super) used: u64,
    /// What of it the fleet was not told; negative if it was told of more, which was given back.
    pub(super) unsettled: i64,
    /// What was used at all proxies, with what was told and without what was not.
    pub(super) fleet: u64,
    /// When the fleet was asked last, in seconds since the epoch.
    pub(super) asked: u32,
    /// The fleet is to be asked, though there may be nothing to tell.
    pub(super) is_to_ask: bool,
}

/// How many counters a page holds: many times those of one caller, which stand together.
pub(super) const SLOTS: usize = 128;

/// What every page begins with; another form of pages has another one.
const MARK: &[u8; 8] = b"keyless2";

/// The length of a slot: its key, the end of its window, three sums, a time and a mark.
const SLOT: usize = 16 + 4 + 3 * 8 + 4 + 1;

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
        self.find(key, period).unwrap_or(Slot {
            key: *key,
            ends: period.ends,
            used: 0,
            unsettled: 0,
            fleet: 0,
            asked: 0,
            is_to_ask: false,
        })
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

    /// Changes a counter, if it is there.
    pub(super) fn change(&mut self, key: &Key, ends: u32, change: impl FnOnce(&mut Slot)) -> bool {
        let slots = self.0.get_mut(MARK.len()..).unwrap_or_default().chunks_exact_mut(SLOT);
        let found = slots.filter_map(|place| Some((Slot::read(place)?, place)));
        let is_it = |(slot, _): &(Slot, _)| slot.key == *key && slot.ends == ends;
        let Some((mut slot, place)) = found.into_iter().find(is_it) else { return false };
        change(&mut slot);
        place.copy_from_slice(&slot.bytes());
        true
    }

    /// Returns all counters.
    pub(super) fn counters(&self) -> Vec<Slot> {
        self.slots().filter_map(Slot::read).collect()
    }

    fn slots(&self) -> std::slice::ChunksExact<'_, u8> {
        self.0.get(MARK.len()..).unwrap_or_default().chunks_exact(SLOT)
    }
}

impl Slot {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (ends, rest) = rest.split_first_chunk()?;
        let (used, rest) = rest.split_first_chunk()?;
        let (unsettled, rest) = rest.split_first_chunk()?;
        let (fleet, rest) = rest.split_first_chunk()?;
        let (asked, rest) = rest.split_first_chunk()?;
        Some(Self {
            key: Key(*key),
            ends: u32::from_le_bytes(*ends),
            used: u64::from_le_bytes(*used),
            unsettled: i64::from_le_bytes(*unsettled),
            fleet: u64::from_le_bytes(*fleet),
            asked: u32::from_le_bytes(*asked),
            is_to_ask: rest.first() != Some(&0),
        })
    }

    fn bytes(self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        let sums =
            [self.used.to_le_bytes(), self.unsettled.to_le_bytes(), self.fleet.to_le_bytes()];
        let parts = self.key.0.into_iter().chain(self.ends.to_le_bytes());
        let parts = parts.chain(sums.into_iter().flatten()).chain(self.asked.to_le_bytes());
        for (place, byte) in bytes.iter_mut().zip(parts.chain([self.is_to_ask.into()])) {
            *place = byte;
        }
        bytes
    }

    /// What counts for a limit of the whole fleet: what it used as far as that is known, and never
    /// less than this proxy itself.
    pub(super) fn total(self) -> u64 {
        self.used.max(self.fleet.saturating_add_signed(self.unsettled))
    }

    /// Returns true if there is something to tell the fleet, in whole grains, or to ask it.
    pub(super) fn is_pending(self, grain: u64) -> bool {
        self.is_to_ask || self.untold() >= grain
    }

    /// What the fleet is to be told.
    pub(super) fn untold(self) -> u64 {
        self.unsettled.try_into().unwrap_or_default()
    }

    /// A window that ends later than any can was written by a clock that was far ahead.
    fn is_live(self, now: u32) -> bool {
        self.ends > now && self.ends <= now.saturating_add(MAX_AHEAD)
    }
}
