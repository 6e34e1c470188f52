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
            let Some((length, mark)) = self.marks.next(rest, self.is_dull()) else {
                self.keep(rest, rest.len());
                return;
            };
            let (passed, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            self.keep(passed, length.saturating_sub(1));
            self.mark(mark);
            rest = after;
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

    /// Returns true where names do not count.
    fn is_dull(&self) -> bool {
        !matches!(
            (self.marks.depth, self.outer),
            (0 | 1, _) | (2, Some(Member::Envelope)) | (_, Some(Member::Choices | Member::Delta))
        )
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

    fn mark(&mut self, mark: Mark) {
        if self.outer == Some(Member::Choices)
            && self.marks.depth >= 2
            && matches!(mark, Mark::Begin(_) | Mark::Scalar | Mark::TextBegins)
        {
            let is_list = mark == Mark::Begin(b'[') && self.member == Some(Member::Choices);
            self.event.choices = if is_list { Choices::Empty } else { Choices::Filled };
        }
        match mark {
            Mark::Begin(bracket) => self.begin(bracket),
            Mark::Colon => self.name(),
            Mark::Comma => self.end_of_member(),
            Mark::End => self.end(),
            Mark::Scalar => self.member = None,
            Mark::TextBegins => self.text_begins(),
            Mark::TextEnds => self.text_ends(),
        }
    }

    fn begin(&mut self, bracket: u8) {
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

    /// A colon has come, so the text before it was a name.
    fn name(&mut self) {
        let depth = self.marks.depth;
        let member = Member::named(&self.word, depth, self.outer);
        self.word.clear();
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
        let is_name = self.member.is_none() && !self.is_dull();
        self.text = match self.member.take() {
            Some(Member::Content | Member::Delta) => Text::Content,
            Some(Member::Type) => Text::Type,
            Some(Member::Choices | Member::Envelope | Member::PromptResults | Member::Usage) => {
                Text::Ignored
            }
            None if is_name => Text::Name,
            None => Text::Ignored,
        };
        self.word.clear();
    }

    fn text_ends(&mut self) {
        if std::mem::take(&mut self.text) == Text::Type {
            self.event.kind = Kind::named(&self.word);
            self.word.clear();
        }
    }
}

impl Member {
    /// Returns the member of this name, if it counts at this depth.
    fn named(word: &Word<LONGEST_WORD>, depth: u32, outer: Option<Self>) -> Option<Self> {
        let mut decoded = None;
        let name = word.unescaped(&mut decoded)?;
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
    fn named(word: &Word<LONGEST_WORD>) -> Self {
        let mut decoded = None;
        match word.unescaped(&mut decoded) {
            Some(
                b"response.completed"
                | b"response.incomplete"
                | b"response.failed"
                | b"image_edit.completed"
                | b"image_generation.completed"
                | b"speech.audio.done"
                | b"transcript.text.done",
            ) => Self::Final,
            Some(b"message_start") => Self::MessageBegins,
            Some(b"message_delta") => Self::MessageEnds,
            Some(name) if TYPED.iter().any(|start| name.starts_with(start)) => Self::Typed,
            _ => Self::Other,
        }
    }
}

/// How the types of events begin whose streams end with their usage.
const TYPED: [&[u8]; 3] = [b"content_block_", b"message_", b"response."];
