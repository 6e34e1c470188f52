//! The answer: the event that only says what was used is taken out.

use crate::usage::Reader;

/// Takes the event that was asked for out of the answer to a caller who did not ask.
///
/// Only the beginning of an event that has not come to its end is held back, with which a client
/// could not do anything yet; and only until it says more than what was used.
#[derive(Debug, Default)]
pub struct EventFilter {
    /// The beginning of an event.
    held: Vec<u8>,
    /// What passes in place of a piece.
    passed: Vec<u8>,
    /// The beginning of the event at hand has passed.
    is_begun: bool,
}

/// The most that is held of an event; the one that is taken out is shorter.
const MAX_HELD: usize = 8 << 10;

impl EventFilter {
    /// Has a piece read, and returns what passes in its place; nothing if it passes as it is.
    pub fn pass(&mut self, reader: &mut Reader, piece: &[u8], is_last: bool) -> Option<&[u8]> {
        self.passed.clear();
        let mut is_changed = !self.held.is_empty();
        let mut rest = piece;
        while !rest.is_empty() {
            let (length, ended) = reader.read_event(rest);
            let (event, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            let only_says_usage = ended == Some(true) && !self.is_begun;
            let is_open = ended.is_none() && !self.is_begun && !is_last;
            let length = self.held.len().saturating_add(event.len());
            if only_says_usage {
                self.held.clear();
                is_changed = true;
            } else if is_open && !reader.is_more_than_usage() && length <= MAX_HELD {
                self.held.extend_from_slice(event);
                is_changed = true;
            } else {
                self.passed.append(&mut self.held);
                self.passed.extend_from_slice(event);
            }
            self.is_begun = ended.is_none() && self.held.is_empty();
            rest = after;
        }
        if is_last {
            self.passed.append(&mut self.held);
        }
        is_changed.then_some(&self.passed)
    }
}
