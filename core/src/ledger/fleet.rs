//! What the fleet is told of the counters of this proxy, and what it says.
//!
//! A record of one bit for each page says where there is something to tell: a page is marked after it
//! was written, and unmarked before it is read.
//!
//! What is told counts at once as used by the fleet. So it is in the sum while the answer is awaited,
//! and also if none comes; it is told again only if it certainly did not arrive.

use std::time::SystemTime;

use super::page::Page;
use super::{Key, Ledger, MAX_ATTEMPTS, Window};

/// Says in which window a counter can be told of, and in what steps.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// The limit's window.
    pub window: Window,
    /// The fleet counts in multiples of this.
    pub grain: u64,
}

/// Holds what the fleet is told of one counter, or asked if that is nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Item {
    /// Which counter.
    pub key: Key,
    /// How many grains.
    pub hits: u64,
    grain: u64,
    ends: u32,
}

/// The most that is told of one counter at a time: Envoy's own filter tells no more.
const MAX_HITS: u64 = 1_000_000_000;

/// The record of the pages where there is something to tell.
const MARKS: &str = "keyless.ledger.marks";

/// How far the clock may step back without any effect.
const MAX_CLOCK_CORRECTION: u32 = 10;

impl Ledger {
    /// Returns all pages.
    pub fn all_pages(&self) -> Vec<usize> {
        (0..self.pages).collect()
    }

    /// Returns the pages where there is something to tell or to ask, and unmarks them.
    pub fn marked(&self) -> Vec<usize> {
        for _ in 0..MAX_ATTEMPTS {
            let Some((marks, version)) = self.shared.read(MARKS) else { break };
            let is_marked = |page: &usize| bit(&marks, *page);
            let marked: Vec<_> = (0..self.pages).filter(is_marked).collect();
            if marked.is_empty() || self.shared.replace(MARKS, Some(version), &[]) {
                return marked;
            }
        }
        Vec::new()
    }

    /// Returns true if any page is marked.
    pub fn is_marked(&self) -> bool {
        self.shared.read(MARKS).is_some_and(|(marks, _)| marks.iter().any(|byte| *byte != 0))
    }

    /// Marks pages where there is something to tell or to ask.
    pub fn mark(&self, pages: &[usize]) {
        for _ in 0..MAX_ATTEMPTS {
            let (mut marks, version) =
                self.shared.read(MARKS).map_or((Vec::new(), None), |(marks, at)| (marks, Some(at)));
            if pages.iter().all(|page| bit(&marks, *page)) {
                return;
            }
            marks.resize(self.pages.div_ceil(8), 0);
            for page in pages {
                if let Some(byte) = marks.get_mut(page / 8) {
                    *byte |= 1 << (page % 8);
                }
            }
            if self.shared.replace(MARKS, version, &marks) {
                return;
            }
        }
    }

    /// Takes up to `room` counters of a page that are to be told of, or only asked for; `due` knows
    /// each by its key. Returns true if there are more, or some that `due` does not know.
    pub fn collect(
        &self,
        page: usize,
        room: usize,
        only_asks: bool,
        due: impl Fn(&Key) -> Option<Due>,
        now: SystemTime,
    ) -> (Vec<Item>, bool) {
        let (mut items, mut is_left) = (Vec::new(), false);
        let is_written = self.change(page, |page| {
            (items, is_left) = taken(page, room, only_asks, &due, now);
            !items.is_empty()
        });
        if !is_written {
            is_left |= !items.is_empty();
            items.clear();
        }
        (items, is_left)
    }

    /// Takes what the fleet has used of a counter, with what it was told, in grains.
    pub fn settled(&self, item: &Item, fleet: u64, now: SystemTime) {
        let seconds = Window::Minute.period(now).seconds;
        self.change(self.page(&item.key), |page| {
            page.change(&item.key, item.ends, |slot| {
                slot.fleet = fleet.saturating_mul(item.grain);
                slot.asked = seconds;
            })
        });
    }

    /// Takes back what certainly did not arrive, to tell it again.
    pub fn unsent(&self, item: &Item) {
        let (amount, page) = (item.hits.saturating_mul(item.grain), self.page(&item.key));
        self.change(page, |page| {
            page.change(&item.key, item.ends, |slot| {
                slot.unsettled = slot.unsettled.saturating_add_unsigned(amount);
                slot.fleet = slot.fleet.saturating_sub(amount);
                slot.is_to_ask = true;
            })
        });
        self.mark(&[page]);
    }

    /// Returns true if what is known of the fleet is too old, or of another clock.
    pub(super) fn is_outdated(&self, asked: u32, now: u32) -> bool {
        self.interval.is_some_and(|interval| {
            asked.saturating_add(interval) <= now
                || asked > now.saturating_add(MAX_CLOCK_CORRECTION)
        })
    }
}

/// Takes what is to be told out of a page.
fn taken(
    page: &mut Page,
    room: usize,
    only_asks: bool,
    due: &impl Fn(&Key) -> Option<Due>,
    now: SystemTime,
) -> (Vec<Item>, bool) {
    let (mut items, mut is_left) = (Vec::new(), false);
    for slot in page.counters() {
        let Some(Due { window, grain }) = due(&slot.key) else {
            is_left |= slot.is_pending(1) && slot.ends > Window::Minute.period(now).now;
            continue;
        };
        if !slot.is_pending(grain) || slot.ends != window.period(now).ends {
            continue;
        }
        if items.len() >= room {
            is_left = true;
            break;
        }
        let hits = slot.untold().checked_div(grain).unwrap_or_default().min(MAX_HITS);
        let hits = if only_asks { 0 } else { hits };
        let amount = hits.saturating_mul(grain);
        page.change(&slot.key, slot.ends, |slot| {
            slot.is_to_ask = false;
            slot.unsettled = slot.unsettled.saturating_sub_unsigned(amount);
            slot.fleet = slot.fleet.saturating_add(amount);
            is_left |= slot.is_pending(grain);
        });
        items.push(Item { key: slot.key, hits, grain, ends: slot.ends });
    }
    (items, is_left)
}

fn bit(marks: &[u8], page: usize) -> bool {
    marks.get(page / 8).is_some_and(|byte| byte & (1 << (page % 8)) != 0)
}
