//! The body of a request, of which one thing counts: the model that it names.
//!
//! It is read strictly: what another reader could take for another model is refused, because the
//! verdict is about the model that the backend will see.

mod form;

use crate::denial::Denial;
use crate::json::{self, Found};
use crate::request::Head;

/// Says how a body is to be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Format {
    /// `multipart/form-data` with this boundary (RFC 7578).
    Form(String),
    /// `application/json`
    Json,
}

/// Limits a body that is read, in bytes; Envoy may be told to hold less.
pub const MAX_BODY: usize = 32 << 20;

/// Limits the name of a model, in bytes.
const MAX_MODEL: usize = 256;

impl Format {
    /// Reads from a request's head how its body has to be read.
    ///
    /// # Errors
    ///
    /// - [`Denial::BodyUnsupported`]: not exactly one `Content-Type` of the two kinds, or a
    ///   `Content-Encoding`, or an upgrade to another protocol.
    /// - [`Denial::BodyTooLarge`]: `Content-Length` is beyond [`MAX_BODY`].
    pub fn of(head: &Head) -> Result<Self, Denial> {
        let is_sent = |name| head.values(name).next().is_some();
        if is_sent("content-encoding") || is_sent("upgrade") {
            return Err(Denial::BodyUnsupported);
        }
        let mut types = head.values("content-type");
        let format = match (types.next(), types.next()) {
            (Some(one), None) => Self::named(one).ok_or(Denial::BodyUnsupported)?,
            (Some(_), Some(_)) | (None, _) => return Err(Denial::BodyUnsupported),
        };
        let length = |value| str::from_utf8(value).ok()?.parse::<u64>().ok();
        let most = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
        if head.values("content-length").filter_map(length).any(|length| length > most) {
            return Err(Denial::BodyTooLarge);
        }
        Ok(format)
    }

    /// Reads a media type (RFC 9110 §8.3.1).
    fn named(value: &[u8]) -> Option<Self> {
        let value = str::from_utf8(value).ok()?;
        let (name, parameters) = value.split_once(';').unwrap_or((value, ""));
        match name.trim_ascii().to_ascii_lowercase().as_str() {
            "application/json" => form::is_utf8(parameters).then_some(Self::Json),
            "multipart/form-data" => form::boundary(parameters).map(Self::Form),
            _ => None,
        }
    }
}

/// Reads the model that a body names, if it names one.
///
/// # Errors
///
/// - [`Denial::BodyTooLarge`]: longer than [`MAX_BODY`].
/// - [`Denial::BodyMalformed`]: not one JSON object in UTF-8, or a form that readers could split in more than
///   one way.
/// - [`Denial::ModelMalformed`]: named twice, in another case, or not as a plain text.
pub fn model(format: &Format, body: &[u8]) -> Result<Option<String>, Denial> {
    if body.len() > MAX_BODY {
        return Err(Denial::BodyTooLarge);
    }
    let found = match format {
        Format::Form(boundary) => form::field(boundary, body, MODEL)?,
        Format::Json => {
            let text = str::from_utf8(body).map_err(|_| Denial::BodyMalformed)?;
            json::member(text, MODEL).map_err(|_| Denial::BodyMalformed)?
        }
    };
    match found {
        Found::Absent => Ok(None),
        Found::Text(name) if is_plain(&name) => Ok(Some(name)),
        Found::Text(_) | Found::Unclear => Err(Denial::ModelMalformed),
    }
}

/// The member of a JSON object, and the field of a form.
const MODEL: &str = "model";

/// Is this a name that every reader reads alike, and that logs can hold?
fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=MAX_MODEL).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
