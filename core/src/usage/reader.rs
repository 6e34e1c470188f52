//! Reads an answer as it passes, and says in the end what it used.

use super::event::{Choices, Event, EventReader, Kind};
use super::report::Report;
use super::stream::EventStream;
use super::{Basis, Counted, Usage};

/// Reads one answer as it passes; it keeps a few counts of it, however long it is.
///
/// ```
/// # use keyless_core::usage::{Basis, End, Reader};
/// let mut reader = Reader::for_stream();
/// for piece in ["data: {\"choices\":[],\"usa", "ge\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n"] {
///     reader.read(piece.as_bytes());
/// }
/// let counted = reader.finish(End::Whole { is_asked: true }, || 100);
/// assert_eq!((counted.basis, counted.usage.input, counted.usage.output), (Basis::Exact, 7, 2));
/// ```
#[derive(Debug)]
pub struct Reader {
    text: Text,
    seen: Seen,
}

/// Says how an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The caller left, or the backend did.
    Broken,
    /// All of it came.
    Whole {
        /// The backend was asked to say what it used.
        is_asked: bool,
    },
}

#[derive(Debug)]
enum Text {
    Plain(EventReader),
    Stream(EventStream),
}

/// What the events so far have said.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The last usage.
    usage: Option<Report>,
    /// It is more than the beginning of a message.
    has_output: bool,
    /// It is the one that ends the answer.
    is_final: bool,
    /// How many events had text of the model.
    with_content: u64,
    /// Answers of this interface always say what they used.
    is_typed: bool,
}

/// How many bytes of a request are a token, about.
const BYTES_A_TOKEN: u64 = 4;

/// The most tokens that a request is taken for by its size; pictures are long and have few.
const MAX_GUESS: u64 = 32_768;

impl Reader {
    /// Makes a reader of `application/json`.
    pub fn for_plain() -> Self {
        Self { text: Text::Plain(EventReader::default()), seen: Seen::default() }
    }

    /// Makes a reader of `text/event-stream`.
    pub fn for_stream() -> Self {
        Self { text: Text::Stream(EventStream::default()), seen: Seen::default() }
    }

    /// Makes the reader of a content type, if answers of that type say what they used.
    pub fn of(content_type: &[u8]) -> Option<Self> {
        let name = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"application/json") {
            Some(Self::for_plain())
        } else if name.eq_ignore_ascii_case(b"text/event-stream") {
            Some(Self::for_stream())
        } else {
            None
        }
    }

    /// Returns true for an answer that comes as events.
    pub fn is_stream(&self) -> bool {
        matches!(self.text, Text::Stream(_))
    }

    /// Reads a piece of the answer.
    pub fn read(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (length, _) = self.read_event(rest);
            rest = rest.get(length..).unwrap_or_default();
        }
    }

    /// Reads up to the end of the next event, or all. Returns how much that was, and if an event has
    /// ended, whether it only says what was used.
    pub(crate) fn read_event(&mut self, piece: &[u8]) -> (usize, Option<bool>) {
        match &mut self.text {
            Text::Plain(reader) => {
                reader.read(piece);
                (piece.len(), None)
            }
            Text::Stream(stream) => {
                let (length, event) = stream.next(piece);
                if let Some(event) = &event {
                    self.seen.take(event);
                }
                (length, event.map(|event| event.only_says_usage()))
            }
        }
    }

    /// Returns true if the event at hand says more than what was used.
    pub(crate) fn is_more_than_usage(&self) -> bool {
        match &self.text {
            Text::Plain(_) => true,
            Text::Stream(stream) => {
                let event = stream.so_far();
                event.choices == Choices::Filled || event.is_about_prompt
            }
        }
    }

    /// Returns true once the model has said something.
    pub fn has_content(&self) -> bool {
        self.seen.with_content > 0
    }

    /// Says what the answer used. The length of the request's body in bytes, `request_size`, is asked
    /// only if the backend did not say it.
    pub fn finish(mut self, end: End, request_size: impl FnOnce() -> u64) -> Counted {
        match &mut self.text {
            Text::Plain(reader) => {
                let is_whole = reader.so_far().usage.is_some();
                let event = reader.take();
                self.seen.take(&event);
                // It is the backend's word even if what comes after it is lost.
                self.seen.is_final |= is_whole;
            }
            Text::Stream(stream) => {
                if let Some(event) = stream.end() {
                    self.seen.take(&event);
                }
            }
        }
        self.seen.counted(end, request_size)
    }
}

impl Event {
    /// Returns true for the event that a stream of chat completions has only if it was asked for.
    fn only_says_usage(&self) -> bool {
        self.choices == Choices::Empty && self.usage.is_some() && !self.is_about_prompt
    }
}

impl Seen {
    fn take(&mut self, event: &Event) {
        self.with_content = self.with_content.saturating_add(event.has_content.into());
        self.is_typed |= event.kind != Kind::Other;
        let Some(usage) = event.usage else { return };
        let earlier = self.usage.filter(|_| event.kind == Kind::MessageEnds);
        self.usage = Some(earlier.map_or(usage, |earlier| usage.after(earlier)));
        self.has_output = event.kind != Kind::MessageBegins;
        self.is_final = match event.kind {
            Kind::Final | Kind::MessageEnds => true,
            Kind::Other => event.choices == Choices::Empty,
            Kind::MessageBegins | Kind::Typed => false,
        };
    }

    fn counted(&self, end: End, request_size: impl FnOnce() -> u64) -> Counted {
        let is_whole = matches!(end, End::Whole { .. });
        match self.usage {
            Some(usage) if self.is_final || (is_whole && self.has_output) => {
                Counted { basis: Basis::Exact, usage: usage.usage() }
            }
            _ if end == (End::Whole { is_asked: false }) && !self.is_typed => {
                Counted { basis: Basis::Absent, usage: Usage::default() }
            }
            _ => Counted { basis: Basis::Estimated, usage: self.estimate(request_size) },
        }
    }

    /// Returns what was used at least, as far as that was seen.
    fn estimate(&self, request_size: impl FnOnce() -> u64) -> Usage {
        let named = self.usage.map(|report| report.usage()).unwrap_or_default();
        let has_input = self.usage.is_some_and(|report| report.has_input());
        let input = if has_input { named.input } else { guess(request_size()) };
        Usage { input, output: named.output.max(self.with_content), ..named }
    }
}

/// Returns what a request used at least of which no answer came: its input, by its size.
pub fn unanswered(request_size: u64) -> Counted {
    let usage = Usage { input: guess(request_size), ..Usage::default() };
    Counted { basis: Basis::Estimated, usage }
}

fn guess(request_size: u64) -> u64 {
    request_size.div_ceil(BYTES_A_TOKEN).min(MAX_GUESS)
}
