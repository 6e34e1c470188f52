//! Server-sent events (HTML Living Standard §9.2) that come in pieces, split anywhere.

use memchr::memchr2;

use super::event::{Event, EventReader};

/// Reads the events of a stream.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    reader: EventReader,
    line: Line,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
    /// The last byte ended an event.
    has_ended: bool,
}

/// Where in a line the next byte is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Line {
    /// So many bytes of the field's name have come, and they are those of `data:`.
    Begins(usize),
    Data,
    /// A comment or another field.
    Ignored,
}

const DATA: &[u8] = b"data:";

impl Default for Line {
    fn default() -> Self {
        Self::Begins(0)
    }
}

impl EventStream {
    /// Reads up to the end of an event, or all; returns how much that was, and the event if it has
    /// ended. One without data says nothing.
    pub(super) fn next(&mut self, bytes: &[u8]) -> (usize, Option<Event>) {
        if self.has_ended && self.after_return && bytes.first() == Some(&b'\n') {
            (self.has_ended, self.after_return) = (false, false);
            return (1, Some(Event::default()));
        }
        self.has_ended = false;
        let mut at: usize = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.after_return && rest.first() == Some(&b'\n') {
                self.after_return = false;
                at = at.saturating_add(1);
                continue;
            }
            self.after_return = false;
            let Some(length) = memchr2(b'\n', b'\r', rest) else {
                self.text(rest);
                return (bytes.len(), None);
            };
            let (text, end) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            self.text(text);
            at = at.saturating_add(length).saturating_add(1);
            self.after_return = end.first() == Some(&b'\r');
            if self.after_return && bytes.get(at) == Some(&b'\n') {
                self.after_return = false;
                at = at.saturating_add(1);
            }
            if self.end_of_line() {
                self.has_ended = true;
                return (at, Some(self.reader.take()));
            }
        }
        (bytes.len(), None)
    }

    /// Returns the event at hand, although nothing says that it has ended: the stream has.
    pub(super) fn end(&mut self) -> Option<Event> {
        self.reader.is_done().then(|| self.reader.take())
    }

    /// Returns what is known of the event at hand.
    pub(super) fn so_far(&self) -> &Event {
        self.reader.so_far()
    }

    /// Reads a part of a line.
    fn text(&mut self, text: &[u8]) {
        let mut text = text;
        if let Line::Begins(known) = self.line {
            let name = DATA.get(known..).unwrap_or_default();
            let length = name.len().min(text.len());
            let (begin, rest) = text.split_at_checked(length).unwrap_or((text, &[]));
            self.line = if !name.starts_with(begin) {
                Line::Ignored
            } else if length == name.len() {
                Line::Data
            } else {
                Line::Begins(known.saturating_add(length))
            };
            text = rest;
        }
        if self.line == Line::Data {
            self.reader.read(text);
        }
    }

    /// Returns true if the line that ends is empty, which ends the event.
    fn end_of_line(&mut self) -> bool {
        // Several lines of data are one text, with line feeds in it.
        if self.line == Line::Data {
            self.reader.read(b"\n");
        }
        std::mem::take(&mut self.line) == Line::Begins(0)
    }
}
