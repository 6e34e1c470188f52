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
    /// The quote before a text.
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

impl Marks {
    /// Finds the next mark, and returns how many bytes it and those before it are; or nothing, if
    /// there is none in these bytes. If `is_dull`, only texts, objects and lists are marked.
    pub(crate) fn next(&mut self, bytes: &[u8], is_dull: bool) -> Option<(usize, Mark)> {
        let mut at: usize = 0;
        loop {
            let rest = bytes.get(at..)?;
            let (skipped, mark) = match self.place {
                Place::Between | Place::Scalar => self.outside(rest, is_dull)?,
                Place::Escape => {
                    rest.first()?;
                    self.place = Place::Text;
                    (1, None)
                }
                Place::Text => self.inside(rest)?,
            };
            at = at.saturating_add(skipped);
            if let Some(mark) = mark {
                return Some((at, mark));
            }
        }
    }

    /// Looks for the end of a text, or for a backslash in it.
    fn inside(&mut self, rest: &[u8]) -> Option<(usize, Option<Mark>)> {
        let at = memchr2(b'"', b'\\', rest)?;
        let is_end = rest.get(at) == Some(&b'"');
        self.place = if is_end { Place::Between } else { Place::Escape };
        Some((at.saturating_add(1), is_end.then_some(Mark::TextEnds)))
    }

    fn outside(&mut self, rest: &[u8], is_dull: bool) -> Option<(usize, Option<Mark>)> {
        let is_mark = |byte: &u8| match byte {
            b'"' | b'{' | b'}' | b'[' | b']' => true,
            b' ' | b'\t' | b'\r' | b'\n' => false,
            _ => !is_dull,
        };
        let at = rest.iter().position(is_mark)?;
        let passed = at.saturating_add(1);
        let byte = *rest.get(at)?;
        // A blank ends a number, which the next byte that is none would begin again.
        let was_scalar = self.place == Place::Scalar && at == 0;
        self.place = Place::Between;
        let mark = match byte {
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
                return Some((passed, (!was_scalar).then_some(Mark::Scalar)));
            }
        };
        Some((passed, Some(mark)))
    }

    /// Returns true between two texts that are no JSON together: nothing is open.
    pub(crate) fn is_done(&self) -> bool {
        self.depth == 0 && matches!(self.place, Place::Between | Place::Scalar)
    }
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
