//! Forms (RFC 7578), as strictly as their one field of interest demands.
//!
//! Crates that read forms are lenient where readers differ: preambles, bare line feeds, boundaries
//! inside of a part. Here all of that is refused, so what is found is what every reader finds.

use memchr::memmem;

use crate::denial::Denial;
use crate::json::Found;

/// Reads the `boundary` among the parameters of a media type, if it is there once.
pub(super) fn boundary(parameters: &str) -> Option<String> {
    let mut found = None;
    for (name, value) in self::parameters(parameters)? {
        let is_second = name.eq_ignore_ascii_case("boundary") && found.replace(value).is_some();
        if is_second || name.contains('*') {
            return None;
        }
    }
    // RFC 2046 §5.1.1.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    let is_boundary = |value: &&str| (1..=70).contains(&value.len()) && value.bytes().all(allowed);
    found.filter(is_boundary).map(str::to_owned)
}

/// Returns true if the parameters of a media type name no other charset than UTF-8.
pub(super) fn is_utf8(parameters: &str) -> bool {
    let is_other = |(name, value): &(&str, &str)| {
        name.to_ascii_lowercase().starts_with("charset") && !value.eq_ignore_ascii_case("utf-8")
    };
    self::parameters(parameters).is_some_and(|found| !found.iter().any(is_other))
}

/// Finds the field of this name in a form.
pub(super) fn field(boundary: &str, body: &[u8], field_name: &str) -> Result<Found, Denial> {
    let delimiter = format!("--{boundary}");
    let mut rest = body.strip_prefix(delimiter.as_bytes()).ok_or(Denial::BodyMalformed)?;
    let mut found = Found::Absent;
    while let Some(at) = memmem::find(rest, delimiter.as_bytes()) {
        let (part, next) = rest.split_at(at);
        let part = part.strip_prefix(b"\r\n").and_then(|part| part.strip_suffix(b"\r\n"));
        let field =
            part.and_then(|part| Part::read(part, field_name)).ok_or(Denial::BodyMalformed)?;
        found = match (found, field) {
            (found, Part::Other) => found,
            (Found::Absent, Part::Named(value)) => Found::Text(value),
            (Found::Absent | Found::Text(_) | Found::Unclear, _) => Found::Unclear,
        };
        rest = next.get(delimiter.len()..).unwrap_or_default();
    }
    if matches!(rest, b"--" | b"--\r\n") { Ok(found) } else { Err(Denial::BodyMalformed) }
}

/// A part of a form.
enum Part {
    Other,
    /// It has the name, or nearly, and is not a plain field.
    Unclear,
    Named(String),
}

impl Part {
    /// Reads a part; `None` if its head is ambiguous.
    fn read(part: &[u8], field_name: &str) -> Option<Self> {
        // A part without any header has no name either.
        let end = memmem::find(part, b"\r\n\r\n")?;
        let (head, content) = part.split_at(end);
        let head = str::from_utf8(head).ok()?;
        let content = content.strip_prefix(b"\r\n\r\n")?;
        let mut disposition = None;
        let mut is_plain = true;
        for line in head.split("\r\n") {
            let (name, value) = line.split_once(':')?;
            token(name)?;
            if value.contains(['\r', '\n', '\0']) {
                return None;
            }
            if name.eq_ignore_ascii_case("content-disposition")
                && disposition.replace(value.trim_ascii()).is_some()
            {
                return None;
            }
            is_plain &= !name.eq_ignore_ascii_case("content-transfer-encoding");
        }
        let (name, is_file) = name(disposition?)?;
        if !name.trim_ascii().eq_ignore_ascii_case(field_name) {
            return Some(Self::Other);
        }
        let value =
            str::from_utf8(content).ok().filter(|_| is_plain && !is_file && name == field_name);
        Some(value.map_or(Self::Unclear, |value| Self::Named(value.to_owned())))
    }
}

/// Reads `Content-Disposition` (RFC 7578 §4.2): the name, and whether there is a file's name too.
fn name(disposition: &str) -> Option<(&str, bool)> {
    let (kind, rest) = disposition.split_once(';')?;
    if !kind.trim_ascii().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut found, mut is_file) = (None, false);
    for (name, value) in parameters(rest)? {
        match name.to_ascii_lowercase().as_str() {
            "name" if found.replace(value).is_some() => return None,
            "filename" | "filename*" => is_file = true,
            // Pieces and encoded forms of a name (RFC 2231), which not every reader knows.
            other if other.contains('*') => return None,
            _ => {}
        }
    }
    // Some readers undo an encoded word (RFC 2047), which this may be.
    let name = found.filter(|name| !name.contains("=?"))?;
    Some((name, is_file))
}

/// Splits `a=b; c="d"` (RFC 9110 §5.6.6); a backslash, which readers take differently, is refused.
fn parameters(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            quoted.split_once('"').filter(|(value, _)| !value.contains('\\'))?
        } else {
            let (value, after) = value.split_at(value.find(';').unwrap_or(value.len()));
            (token(value.trim_ascii_end())?, after)
        };
        found.push((token(name)?, value));
        let after = after.trim_ascii();
        rest = if after.is_empty() { after } else { after.strip_prefix(';')?.trim_ascii_start() };
    }
    Some(found)
}

/// RFC 9110 §5.6.2.
fn token(text: &str) -> Option<&str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!text.is_empty() && text.bytes().all(allowed)).then_some(text)
}
