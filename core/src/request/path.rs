//! The path of a request in the one form that every reader reads alike.

use percent_encoding::percent_decode;

/// Limits the path without its query, in bytes.
const MAX_PATH: usize = 2048;

/// Returns a `path-absolute` (RFC 3986 §3.3) that every reader reads alike, or says what is wrong
/// with it.
pub(super) fn plain(path: &[u8]) -> Result<&str, &'static str> {
    if path.len() > MAX_PATH {
        return Err("it is longer than 2048 bytes");
    }
    let rest = path.strip_prefix(b"/").ok_or("it does not begin with '/'")?;
    let mut segments = rest.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.is_empty() && !is_last {
            return Err("it has '//'; perhaps the base URL ends in '/'");
        }
        plain_segment(segment)?;
    }
    str::from_utf8(path).map_err(|_| NOT_ALLOWED)
}

/// What is wrong with a byte that no path may have.
const NOT_ALLOWED: &str = "it has a character that must be escaped";

fn plain_segment(segment: &[u8]) -> Result<(), &'static str> {
    if matches!(segment, b"." | b"..") {
        return Err("it has a segment '.' or '..'");
    }
    let mut rest = segment;
    loop {
        rest = match rest {
            [] => return Ok(()),
            [b'%', high, low, tail @ ..] if is_plain_escape(*high, *low) => tail,
            [byte, tail @ ..] if is_plain_byte(*byte) => tail,
            [b'%', ..] => return Err("it has an escape that is not read alike everywhere"),
            [b';', ..] => return Err("it has ';'"),
            [b'\\', ..] => return Err("it has a backslash"),
            [..] => return Err(NOT_ALLOWED),
        };
    }
}

/// `pchar` without the escapes and without `;`, which some servers take for the end of a segment.
fn is_plain_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte)
}

/// An escape is plain if undoing it changes nothing but the one character.
fn is_plain_escape(high: u8, low: u8) -> bool {
    let escape = [b'%', high, low];
    let mut decoded = percent_decode(&escape);
    match (decoded.next(), decoded.next()) {
        (Some(byte), None) => {
            !is_unreserved(byte) && !byte.is_ascii_control() && !b"/\\;%".contains(&byte)
        }
        _ => false,
    }
}

/// RFC 3986 §2.3.
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}
