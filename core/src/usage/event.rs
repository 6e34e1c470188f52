//! What one JSON text of an answer says: the whole of a plain one, or one event of a stream.
//!
//! The text is not kept. Of its names, only those that count are compared; of its values, only
//! `usage` and `type` are copied, up to a fixed length.

use super::report::Report;
use crate::json::{Mark, Marks, Word};

/// What one JSON text says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Event {
    /// The last `usage` in it, if that is an object.
    pub(super) usage: Option<Report>,
    pub(super) kind: Kind,
    pub(super) choices: Choices,
    /// Some text of the model is in it: at least one token.
    pub(super) has_content: bool,
    /// It is Azure's first event, which says what its filters found in the prompt.
    pub(super) is_about_prompt: bool,
}

/// What `type` says; it is absent from what the chat completions interface sends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Kind {
    /// The last event of a response, an image, a transcription or a speech, with its usage.
    Final,
    /// `message_start`, whose usage has no output yet.
    MessageBegins,
    /// `message_delta`, whose usage has the whole output.
    MessageEnds,
    #[default]
    Other,
    /// Another event of an interface that says its usage in the end without being asked.
    Typed,
}

/// What `choices` is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Choices {
    #[default]
    Absent,
    Empty,
    Filled,
}

/// A member whose value counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Member {
    Choices,
    /// Its text is the model's.
    Content,
    Delta,
    /// Holds another `usage`.
    Envelope,
    PromptResults,
    Type,
    Usage,
}

/// What the text at hand is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Text {
    Content,
    #[default]
    Ignored,
    Name,
    Type,
}

/// Reads one JSON text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    marks: Marks,
    event: Event,
    text: Text,
    /// The name or the type at hand.
    word: Word<LONGEST_WORD>,
    /// The member whose value comes next.
    member: Option<Member>,
    /// The member of the outermost object that is open.
    outer: Option<Member>,
    /// The depth of the `usage` that is being copied.
    usage_depth: Option<u32>,
    usage: Vec<u8>,
}

/// The longest name that counts, with each of its letters escaped as `\u0061`.
const LONGEST_WORD: usize = 160;

/// The longest `usage` that is read, in bytes.
const MAX_USAGE: usize = 4096;

impl EventReader {
    /// Reads a piece.
    pub(super) fn read(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            let found = match self.dull_beyond() {
                None => self.marks.next(rest),
                Some(depth) => self.marks.skip(rest, depth).map(|length| (length, Mark::End)),
            };
            let Some((length, mark)) = found else {
                self.keep(rest, rest.len());
                return;
            };
            let (passed, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            if let Mark::Text(length) = mark {
                let text = passed.get(passed.len().saturating_sub(length.saturating_add(1))..);
                let text = text.and_then(|text| text.get(..length)).unwrap_or_default();
                rest = self.whole_text(text, after);
                continue;
            }
            if self.text != Text::Ignored || self.usage_depth.is_some() {
                self.keep(passed, length.saturating_sub(1));
            }
            self.mark(mark);
        }
    }

    /// Returns what the text says, and begins another one.
    pub(super) fn take(&mut self) -> Event {
        let event = std::mem::take(&mut self.event);
        self.marks = Marks::default();
        self.text = Text::Ignored;
        self.word.clear();
        self.member = None;
        self.outer = None;
        self.usage_depth = None;
        event
    }

    /// Returns what the text says so far.
    pub(super) fn so_far(&self) -> &Event {
        &self.event
    }

    /// Returns true if no object or text is open.
    pub(super) fn is_done(&self) -> bool {
        self.marks.is_done()
    }

    /// Returns the depth beyond which nothing counts, where that is so.
    fn dull_beyond(&self) -> Option<u32> {
        match (self.marks.depth, self.outer) {
            (0 | 1, _) | (2, Some(Member::Envelope)) => None,
            (_, Some(Member::Choices | Member::Delta)) => self.event.has_content.then_some(1),
            (_, Some(Member::Envelope)) => Some(2),
            _ => Some(1),
        }
    }

    /// Keeps what must be kept of the bytes before a mark, and of the mark what belongs to `usage`.
    fn keep(&mut self, passed: &[u8], before: usize) {
        if self.usage_depth.is_some() {
            let room = MAX_USAGE.saturating_sub(self.usage.len());
            // One byte too many says that there was more.
            let most = passed.len().min(room.saturating_add(1));
            self.usage.extend(passed.iter().take(most));
        }
        let before = passed.get(..before).unwrap_or_default();
        match self.text {
            Text::Content => self.event.has_content |= !before.is_empty(),
            Text::Ignored => {}
            Text::Name | Text::Type => self.word.add(before),
        }
    }

    /// Takes a text that is there as a whole, and returns what is left behind it: a name takes the
    /// colon with it.
    fn whole_text<'a>(&mut self, text: &[u8], after: &'a [u8]) -> &'a [u8] {
        self.fill_choices();
        match self.member.take() {
            Some(Member::Content | Member::Delta) => self.event.has_content |= !text.is_empty(),
            Some(Member::Type) => self.event.kind = Kind::named(text),
            Some(Member::Choices | Member::Envelope | Member::PromptResults | Member::Usage) => {}
            None => {
                if let Some((b':', after)) = after.split_first() {
                    self.name(text);
                    return after;
                }
                self.word.clear();
                self.word.add(text);
            }
        }
        after
    }

    fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Begin(bracket) => self.begin(bracket),
            Mark::Colon => {
                let word = std::mem::take(&mut self.word);
                let mut decoded = None;
                self.name(word.unescaped(&mut decoded).unwrap_or_default());
            }
            Mark::Comma => self.end_of_member(),
            Mark::End => self.end(),
            Mark::Scalar => {
                self.fill_choices();
                self.member = None;
            }
            Mark::Text(_) => {}
            Mark::TextBegins => self.text_begins(),
            Mark::TextEnds => self.text_ends(),
        }
    }

    /// Something stands in `choices`, if that is open.
    fn fill_choices(&mut self) {
        if self.outer == Some(Member::Choices) && self.marks.depth >= 2 {
            self.event.choices = Choices::Filled;
        }
    }

    fn begin(&mut self, bracket: u8) {
        self.fill_choices();
        if self.member == Some(Member::Choices) && bracket == b'[' {
            self.event.choices = Choices::Empty;
        }
        if self.member.take() == Some(Member::Usage) && bracket == b'{' {
            self.usage_depth = Some(self.marks.depth);
            self.usage.clear();
            self.usage.push(bracket);
        }
    }

    fn end(&mut self) {
        let inside = self.marks.depth.saturating_add(1);
        if self.usage_depth == Some(inside) {
            self.usage_depth = None;
            let is_whole = self.usage.len() <= MAX_USAGE;
            self.event.usage = if is_whole { Report::parse(&self.usage) } else { None };
        }
        self.end_of_member();
    }

    fn end_of_member(&mut self) {
        self.member = None;
        self.word.clear();
        if self.marks.depth <= 1 {
            self.outer = None;
        }
    }

    /// Takes the name of a member, whose value comes next.
    fn name(&mut self, name: &[u8]) {
        let depth = self.marks.depth;
        let member = Member::named(name, depth, self.outer);
        self.member = member;
        if depth == 1 {
            self.outer = member;
        }
        match member {
            // The last one counts, whatever it is.
            Some(Member::Usage) => self.event.usage = None,
            Some(Member::Choices) => self.event.choices = Choices::Absent,
            Some(Member::PromptResults) => self.event.is_about_prompt = true,
            Some(Member::Type) => self.event.kind = Kind::Other,
            Some(Member::Content | Member::Delta | Member::Envelope) | None => {}
        }
    }

    fn text_begins(&mut self) {
        self.fill_choices();
        self.text = match self.member.take() {
            Some(Member::Content | Member::Delta) => Text::Content,
            Some(Member::Type) => Text::Type,
            Some(Member::Choices | Member::Envelope | Member::PromptResults | Member::Usage) => {
                Text::Ignored
            }
            None => Text::Name,
        };
        self.word.clear();
    }

    fn text_ends(&mut self) {
        if std::mem::take(&mut self.text) == Text::Type {
            let mut decoded = None;
            let name = self.word.unescaped(&mut decoded).unwrap_or_default();
            self.event.kind = Kind::named(name);
            self.word.clear();
        }
    }
}

impl Member {
    /// Returns the member of this name, if it counts at this depth.
    fn named(name: &[u8], depth: u32, outer: Option<Self>) -> Option<Self> {
        match (depth, outer) {
            (1, _) => match name {
                b"choices" => Some(Self::Choices),
                b"delta" => Some(Self::Delta),
                b"message" | b"response" => Some(Self::Envelope),
                b"prompt_filter_results" => Some(Self::PromptResults),
                b"type" => Some(Self::Type),
                b"usage" => Some(Self::Usage),
                _ => None,
            },
            (2, Some(Self::Envelope)) => (name == b"usage").then_some(Self::Usage),
            (_, Some(Self::Choices | Self::Delta)) => {
                CONTENT.contains(&name).then_some(Self::Content)
            }
            _ => None,
        }
    }
}

/// The members that hold what the model says, in choices and in deltas.
const CONTENT: [&[u8]; 8] = [
    b"arguments",
    b"content",
    b"partial_json",
    b"reasoning",
    b"reasoning_content",
    b"refusal",
    b"text",
    b"thinking",
];

impl Kind {
    fn named(name: &[u8]) -> Self {
        match name {
            b"response.completed"
            | b"response.incomplete"
            | b"response.failed"
            | b"image_edit.completed"
            | b"image_generation.completed"
            | b"speech.audio.done"
            | b"transcript.text.done" => Self::Final,
            b"message_start" => Self::MessageBegins,
            b"message_delta" => Self::MessageEnds,
            name if TYPED.iter().any(|start| name.starts_with(start)) => Self::Typed,
            _ => Self::Other,
        }
    }
}

/// How the types of events begin whose streams end with their usage.
const TYPED: [&[u8]; 3] = [b"content_block_", b"message_", b"response."];
