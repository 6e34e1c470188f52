//! Finds the structure of JSON text that comes in pieces, and keeps none of the text.
//!
//! It checks nothing: of text that is not JSON, it finds some structure or other. What its callers
//! make of the marks is right for JSON, and harmless for the rest.

use memchr::memchr2;

/// Names what stands at a place of the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mark {
    /// `{` or `[`
    Begin(u8),
    /// `:`
    Colon,
    /// `,`
    Comma,
    /// `}` or `]`
    End,
    /// The first byte of a number or literal.
    Scalar,
    /// A whole text of so many bytes, without escapes: both quotes, and what is between them.
    Text(usize),
    /// The quote before a text that is not whole, or has escapes.
    TextBegins,
    /// The quote after a text.
    TextEnds,
}

/// Goes through JSON text from mark to mark.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    place: Place,
    /// How many objects and lists are open.
    pub(crate) depth: u32,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Between,
    /// After a backslash in a text.
    Escape,
    Scalar,
    Text,
}

/// Keeps a short piece of the text, such as a name; of a longer one it knows only that.
#[derive(Debug)]
pub(crate) struct Word<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

/// Most texts are short, and end before a vectorised search has begun.
const SHORT: usize = 16;

impl Marks {
    /// Finds the next mark, and returns how many bytes it and those before it are; or nothing, if
    /// there is none in these bytes.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Option<(usize, Mark)> {
        let mut at: usize = 0;
        loop {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let (passed, mark) = match self.place {
                Place::Between => self.between(rest)?,
                Place::Escape => {
                    self.place = Place::Text;
                    (1, None)
                }
                Place::Scalar => {
                    let passed = rest.iter().position(|byte| !is_of_scalar(*byte))?;
                    self.place = Place::Between;
                    (passed, None)
                }
                Place::Text => self.in_text(rest)?,
            };
            at = at.saturating_add(passed);
            if let Some(mark) = mark {
                return Some((at, mark));
            }
        }
    }

    /// Passes over all objects and lists that are open beyond a depth, and returns how many bytes that
    /// takes, up to and including the last bracket; or nothing, if they do not end in these bytes.
    pub(crate) fn skip(&mut self, bytes: &[u8], depth: u32) -> Option<usize> {
        let mut at: usize = 0;
        loop {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let passed = match self.place {
                Place::Escape => {
                    self.place = Place::Text;
                    1
                }
                Place::Text => self.in_text(rest)?.0,
                Place::Between | Place::Scalar => {
                    self.place = Place::Between;
                    let found = bracket_or_quote(rest)?;
                    if self.pass(*rest.get(found)?) == Mark::End && self.depth <= depth {
                        return Some(at.saturating_add(found).saturating_add(1));
                    }
                    found.saturating_add(1)
                }
            };
            at = at.saturating_add(passed);
        }
    }

    /// Looks for the end of a text, or for a backslash in it.
    fn in_text(&mut self, rest: &[u8]) -> Option<(usize, Option<Mark>)> {
        let is_found = |byte: &u8| *byte == b'"' || *byte == b'\\';
        let at = match rest.iter().take(SHORT).position(is_found) {
            Some(at) => at,
            None => memchr2(b'"', b'\\', rest.get(SHORT..)?)?.saturating_add(SHORT),
        };
        let is_end = rest.get(at) == Some(&b'"');
        self.place = if is_end { Place::Between } else { Place::Escape };
        Some((at.saturating_add(1), is_end.then_some(Mark::TextEnds)))
    }

    fn between(&mut self, rest: &[u8]) -> Option<(usize, Option<Mark>)> {
        let at = rest.iter().position(|byte| !is_blank(*byte))?;
        let mark = self.pass(*rest.get(at)?);
        let passed = at.saturating_add(1);
        if mark == Mark::TextBegins
            && let Some((length, Some(_))) = rest.get(passed..).and_then(|text| self.in_text(text))
        {
            let mark = Mark::Text(length.saturating_sub(1));
            return Some((passed.saturating_add(length), Some(mark)));
        }
        self.place = if mark == Mark::TextBegins { Place::Text } else { self.place };
        Some((passed, Some(mark)))
    }

    /// Passes a byte that is no blank, outside of texts.
    fn pass(&mut self, byte: u8) -> Mark {
        match byte {
            b'"' => {
                self.place = Place::Text;
                Mark::TextBegins
            }
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                Mark::Begin(byte)
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                Mark::End
            }
            b':' => Mark::Colon,
            b',' => Mark::Comma,
            _ => {
                self.place = Place::Scalar;
                Mark::Scalar
            }
        }
    }

    /// Returns true between two texts that are no JSON together: nothing is open.
    pub(crate) fn is_done(&self) -> bool {
        self.depth == 0 && matches!(self.place, Place::Between | Place::Scalar)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_bracket_or_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')
}

/// Finds the first one. Most are near; beyond, blocks are looked at as a whole, which costs a fraction
/// of looking at each byte, since a list of numbers has none for thousands of bytes.
fn bracket_or_quote(bytes: &[u8]) -> Option<usize> {
    let is_found = |byte: &u8| is_bracket_or_quote(*byte);
    if let Some(found) = bytes.iter().take(SHORT).position(is_found) {
        return Some(found);
    }
    let (blocks, _) = bytes.get(SHORT..)?.as_chunks::<SHORT>();
    let is_without = |block: &&[u8; SHORT]| {
        !block.iter().fold(false, |is_in, byte| is_in | is_bracket_or_quote(*byte))
    };
    let blocks = blocks.iter().take_while(is_without).count();
    let passed = blocks.saturating_add(1).saturating_mul(SHORT);
    let found = bytes.get(passed..)?.iter().position(is_found)?;
    Some(passed.saturating_add(found))
}

fn is_of_scalar(byte: u8) -> bool {
    !is_blank(byte) && !is_bracket_or_quote(byte) && byte != b':' && byte != b','
}

impl<const N: usize> Word<N> {
    /// Adds a piece.
    pub(crate) fn add(&mut self, piece: &[u8]) {
        let end = self.length.saturating_add(piece.len());
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(piece);
        }
        self.length = end;
    }

    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// Returns what was added, unless it was too long.
    pub(crate) fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }

    /// Returns the word as JSON means it; `decoded` holds it if it has escapes.
    pub(crate) fn unescaped<'a>(&'a self, decoded: &'a mut Option<String>) -> Option<&'a [u8]> {
        let raw = self.get()?;
        if !raw.contains(&b'\\') {
            return Some(raw);
        }
        let quoted = [b"\"", raw, b"\""].concat();
        *decoded = serde_json::from_slice(&quoted).ok();
        decoded.as_ref().map(String::as_bytes)
    }
}

impl<const N: usize> Default for Word<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}
