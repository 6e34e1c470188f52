//! The request: `include_usage` is added to its body as that passes.

use serde_json::{Map, Value};

use crate::json::{Mark, Marks, Word, object};

/// Adds `"stream_options": {"include_usage": true}` to the body of a streamed chat as it passes.
///
/// All of the body passes at once but for its end: the last `}`, and what comes before it only if
/// `stream_options` comes before `stream`. A body that could be read in more than one way passes
/// byte for byte.
///
/// The length of the body changes, so a host must make the editor only after it has removed
/// `content-length`. Otherwise the backend takes the rest for the next request.
///
/// ```
/// # use keyless_core::ask::{Asked, BodyEditor};
/// let mut editor = BodyEditor::default();
/// assert_eq!(editor.pass(br#"{"stream":true}"#, false), Some(&br#"{"stream":true"#[..]));
/// let end = br#","stream_options":{"include_usage":true}}"#;
/// assert_eq!(editor.pass(b"", true), Some(&end[..]));
/// assert_eq!(editor.asked(), Asked::ByGateway);
/// ```
#[derive(Debug, Default)]
pub struct BodyEditor {
    marks: Marks,
    phase: Phase,
    place: Place,
    /// The name, or the value of `stream`.
    word: Word<LONGEST_WORD>,
    is_streamed: Option<bool>,
    options: Options,
    /// What is held back: from the value of `stream_options` on, or from the last `}` on.
    held: Vec<u8>,
    /// What passes in place of a piece.
    passed: Vec<u8>,
    is_changed: bool,
    asked: Asked,
}

/// Says who asked what an answer used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Asked {
    /// The caller did.
    ByCaller,
    /// The gateway did, and the caller did not.
    ByGateway,
    /// Nobody did, or it is not clear.
    #[default]
    No,
}

/// What becomes of the bytes at hand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Phase {
    /// They pass, and so do all that follow.
    Free,
    /// They are held back.
    Holding,
    #[default]
    Passing,
}

/// Where in the outermost object the bytes at hand are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    /// Behind its end.
    After,
    #[default]
    Before,
    Name,
    /// Before a name, or behind one.
    Names,
    /// In the value of `stream`.
    Stream,
    /// In a value of any other member.
    Value,
}

/// The member `stream_options`.
#[derive(Debug, Default)]
enum Options {
    #[default]
    Absent,
    /// Its value is being held.
    Begun,
    /// So many bytes of what is held are its value, and the others are the one to pass in its place.
    Held(usize, Vec<u8>),
    /// The other value has passed.
    Replaced,
}

/// Why the body passes as it is from here on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stop {
    /// The caller asks what the answer used.
    IsAsked,
    /// It is no streamed chat, or it could be read in more than one way.
    Odd,
}

/// The longest name that counts, with each of its letters escaped as `\u0061`.
const LONGEST_WORD: usize = 96;

/// The longest `stream_options` that is changed, in bytes.
const MAX_OPTIONS: usize = 1024;

/// The most that is held until `stream` comes, in bytes.
const MAX_HELD: usize = 64 << 10;

const QUESTION: &[u8] = br#","stream_options":{"include_usage":true}"#;

impl BodyEditor {
    /// Takes a piece of the body and returns what passes in its place; nothing if it passes as it is.
    pub fn pass(&mut self, piece: &[u8], is_last: bool) -> Option<&[u8]> {
        if self.phase == Phase::Free {
            return None;
        }
        self.passed.clear();
        self.is_changed = self.is_holding();
        let stopped = match self.read(piece) {
            Ok(()) if is_last => self.end().map_err(|stop| (stop, &[][..])),
            read => read,
        };
        if let Err((stop, rest)) = stopped {
            self.passed.append(&mut self.held);
            self.passed.extend_from_slice(rest);
            self.phase = Phase::Free;
            self.asked = if stop == Stop::IsAsked { Asked::ByCaller } else { Asked::No };
        }
        let is_changed = self.is_changed || self.is_holding();
        is_changed.then_some(&self.passed)
    }

    /// Returns who asked; that is final once the body has passed.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Returns true if all that follows passes as it is.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Free
    }

    /// Returns true if the body is cut short without what is held back.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Reads a piece; if the body is to pass as it is, what is left of the piece comes back.
    fn read<'a>(&mut self, piece: &'a [u8]) -> Result<(), (Stop, &'a [u8])> {
        let mut rest = piece;
        while !rest.is_empty() {
            let found = match self.marks.depth {
                0 | 1 => self.marks.next(rest),
                _ => self.marks.skip(rest, 1).map(|length| (length, Mark::End)),
            };
            let before = found.map_or(rest.len(), |(length, _)| length.saturating_sub(1));
            let (before, after) = rest.split_at_checked(before).unwrap_or((rest, &[]));
            self.put(before);
            if matches!(self.place, Place::Name | Place::Stream) {
                self.word.add(before);
            }
            let (mark, after_mark) = after.split_at_checked(1).unwrap_or((after, &[]));
            if let Some((_, kind)) = found {
                self.mark(kind, before, mark).map_err(|stop| (stop, after))?;
                self.put(mark);
                if matches!(self.options, Options::Begun) {
                    self.phase = Phase::Holding;
                }
            }
            let is_begun = matches!(self.options, Options::Begun);
            let most = if is_begun { MAX_OPTIONS } else { MAX_HELD };
            if self.held.len() > most {
                return Err((Stop::Odd, after_mark));
            }
            rest = after_mark;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        let holds = self.phase == Phase::Holding;
        let place = if holds { &mut self.held } else { &mut self.passed };
        place.extend_from_slice(bytes);
    }

    fn mark(&mut self, mark: Mark, before: &[u8], byte: &[u8]) -> Result<(), Stop> {
        self.place = match (self.place, mark, self.marks.depth) {
            (Place::Before, Mark::Begin(b'{'), 1) | (Place::Name, Mark::TextEnds, 1) => {
                Place::Names
            }
            (Place::Before | Place::After, _, _) => return Err(Stop::Odd),
            (_, Mark::End, 0) => {
                self.end_of_value()?;
                self.phase = Phase::Holding;
                Place::After
            }
            (_, Mark::Comma, 1) => {
                self.end_of_value()?;
                Place::Names
            }
            (Place::Names, Mark::TextBegins, 1) => {
                self.word.clear();
                Place::Name
            }
            (Place::Names, Mark::Text(length), 1) => {
                let begin = before.len().saturating_sub(length);
                self.word.clear();
                self.word.add(before.get(begin..).unwrap_or_default());
                Place::Names
            }
            (Place::Names, Mark::Colon, 1) => self.name()?,
            (Place::Stream, Mark::Scalar, 1) => {
                self.word.add(byte);
                Place::Stream
            }
            (Place::Value, _, _) => Place::Value,
            (Place::Name | Place::Names | Place::Stream, _, _) => return Err(Stop::Odd),
        };
        Ok(())
    }

    /// A colon has come, so the text before it was a name.
    fn name(&mut self) -> Result<Place, Stop> {
        let mut decoded = None;
        let place = match self.word.unescaped(&mut decoded) {
            Some(b"stream") if self.is_streamed.is_none() => Place::Stream,
            Some(b"stream_options") if matches!(self.options, Options::Absent) => {
                self.options = Options::Begun;
                Place::Value
            }
            Some(b"stream" | b"stream_options") => return Err(Stop::Odd),
            Some(_) | None => Place::Value,
        };
        self.word.clear();
        Ok(place)
    }

    fn end_of_value(&mut self) -> Result<(), Stop> {
        if self.place == Place::Stream {
            let is_streamed = self.word.get().map(<[u8]>::trim_ascii) == Some(b"true");
            self.is_streamed = Some(is_streamed);
            if !is_streamed {
                return Err(Stop::Odd);
            }
        }
        if matches!(self.options, Options::Begun) {
            self.options = Options::Held(self.held.len(), with_question(&self.held)?);
        }
        if self.is_streamed == Some(true)
            && let Options::Held(length, other) = &self.options
        {
            self.passed.extend_from_slice(other);
            self.passed.extend_from_slice(self.held.get(*length..).unwrap_or_default());
            self.held.clear();
            self.is_changed = true;
            self.options = Options::Replaced;
            self.phase = Phase::Passing;
        }
        Ok(())
    }

    /// The body has ended: what is held of it passes, and before it the question.
    fn end(&mut self) -> Result<(), Stop> {
        let is_whole = self.place == Place::After && self.is_streamed == Some(true);
        match self.options {
            Options::Absent if is_whole => self.passed.extend_from_slice(QUESTION),
            Options::Replaced if is_whole => {}
            Options::Absent | Options::Begun | Options::Held(..) | Options::Replaced => {
                return Err(Stop::Odd);
            }
        }
        self.passed.append(&mut self.held);
        self.is_changed = true;
        self.phase = Phase::Free;
        self.asked = Asked::ByGateway;
        Ok(())
    }
}

/// Returns the value of `stream_options` with the question in it.
fn with_question(options: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut members = match options.trim_ascii() {
        b"null" => Map::new(),
        options => object(options).map_err(|_| Stop::Odd)?,
    };
    match members.insert("include_usage".to_owned(), Value::Bool(true)) {
        None | Some(Value::Null | Value::Bool(false)) => {
            Ok(Value::Object(members).to_string().into_bytes())
        }
        Some(Value::Bool(true)) => Err(Stop::IsAsked),
        Some(Value::Array(_) | Value::Number(_) | Value::Object(_) | Value::String(_)) => {
            Err(Stop::Odd)
        }
    }
}
