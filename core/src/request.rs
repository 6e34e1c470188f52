//! What a caller sent, captured once: the path, the credential, and all that must be removed.

use std::fmt;

use percent_encoding::percent_decode;

use crate::credentials::{Pass, Stripped, without_credentials};
use crate::denial::Denial;

/// Holds the head of a request as it arrived: names in lower case, values as bytes.
#[derive(Clone)]
pub struct Head {
    pairs: Vec<(String, Vec<u8>)>,
    has_body: bool,
}

/// Limits the path without its query, in bytes.
const MAX_PATH: usize = 2048;

/// The header in which a WebSocket client offers subprotocols, in lower case (RFC 6455 §11.3.4).
pub const PROTOCOLS: &str = "sec-websocket-protocol";

impl Head {
    /// Wraps the pairs of Envoy's header map, pseudo-headers included.
    pub fn new(pairs: Vec<(String, Vec<u8>)>) -> Self {
        Self { pairs, has_body: true }
    }

    /// Says that no body follows.
    #[must_use]
    pub fn without_body(self) -> Self {
        Self { has_body: false, ..self }
    }

    /// Returns false if it was said that no body follows.
    pub fn has_body(&self) -> bool {
        self.has_body
    }

    /// Returns every value of `Authorization`.
    pub fn authorization(&self) -> Vec<&[u8]> {
        self.values("authorization").collect()
    }

    /// Returns the host of `:authority`, without the port, or an empty text.
    pub fn host(&self) -> &str {
        let authority = str::from_utf8(self.first(":authority")).unwrap_or_default();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            Some(_) | None => authority,
        }
    }

    /// Returns the method, or an empty text.
    pub fn method(&self) -> &str {
        str::from_utf8(self.first(":method")).unwrap_or_default()
    }

    /// Returns the method that a browser wants to use, if it asks whether it may: a CORS preflight
    /// (Fetch Standard §3.2.2), which has neither a credential nor a body.
    pub fn preflight(&self) -> Option<&str> {
        let only = |name| {
            let mut values = self.values(name);
            let value = values.next().filter(|value| !value.is_empty())?;
            values.next().is_none().then_some(value)
        };
        let is_asked = self.method() == "OPTIONS" && only("origin").is_some() && !self.has_body;
        let method = only("access-control-request-method").filter(|_| is_asked)?;
        str::from_utf8(method).ok()
    }

    /// Returns the path without the query, if it can be read in one way only.
    ///
    /// # Errors
    ///
    /// Returns [`Denial::PathRefused`] for what two readers could take for two paths: a relative or
    /// overlong path, `//`, `.` and `..` segments, `;`, `\`, `#`, bytes that RFC 3986 §3.3 does not
    /// allow, and escapes of `/`, `\`, `;`, `%`, control bytes or of what needs no escape.
    pub fn path(&self) -> Result<&str, Denial> {
        let (path, _) = split_query(self.first(":path"));
        if path.len() > MAX_PATH || !is_plain(path) {
            return Err(Denial::PathRefused);
        }
        str::from_utf8(path).map_err(|_| Denial::PathRefused)
    }

    /// Returns `:path` without the credentials in its query, if there are any.
    pub fn cleaned_target(&self, stripped: &Stripped) -> Option<Vec<u8>> {
        let (path, query) = split_query(self.first(":path"));
        let query = query?;
        let parameters = || query.split(|byte| *byte == b'&');
        if !parameters().any(|pair| stripped.has_parameter(pair)) {
            return None;
        }
        let kept: Vec<&[u8]> = parameters().filter(|pair| !stripped.has_parameter(pair)).collect();
        let mark: &[u8] = if kept.is_empty() { b"" } else { b"?" };
        Some([path, mark, &kept.join(&b'&')].concat())
    }

    /// Returns the names of the headers that may not go on.
    pub fn stripped<'a>(
        &'a self,
        stripped: &'a Stripped,
        pass: Option<&'a Pass>,
    ) -> impl Iterator<Item = &'a str> {
        let names = self.pairs.iter().map(|(name, _)| name.as_str());
        let passes = move |name: &str| {
            pass.is_some_and(|pass| pass.headers.iter().any(|other| other.as_str() == name))
        };
        names.filter(move |name| stripped.has_header(name) && !passes(name))
    }

    /// Returns `Sec-WebSocket-Protocol` without the items that carry a credential, if there are any;
    /// it is empty if nothing else is left.
    pub fn cleaned_protocols(&self) -> Option<String> {
        let items = || self.values(PROTOCOLS).flat_map(|value| value.split(|byte| *byte == b','));
        let kept: Vec<_> = self
            .values(PROTOCOLS)
            .flat_map(without_credentials)
            .filter_map(|item| str::from_utf8(item).ok())
            .collect();
        let sent = items().filter(|item| !item.trim_ascii().is_empty()).count();
        (sent > kept.len()).then(|| kept.join(", "))
    }

    fn first(&self, name: &str) -> &[u8] {
        self.values(name).next().unwrap_or_default()
    }

    /// Returns every value of a header, whose name is in lower case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_slice())
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Head({} headers)", self.pairs.len())
    }
}

fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    (parts.next().unwrap_or_default(), parts.next())
}

/// Is this `path-absolute` (RFC 3986 §3.3) in the one form that every reader reads alike?
fn is_plain(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/") else { return false };
    let mut segments = rest.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let is_dots = matches!(segment, b"." | b"..");
        if is_dots || (segment.is_empty() && !is_last) || !is_plain_segment(segment) {
            return false;
        }
    }
    true
}

fn is_plain_segment(segment: &[u8]) -> bool {
    let mut rest = segment;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, tail @ ..] if is_plain_escape(*high, *low) => tail,
            [byte, tail @ ..] if is_plain_byte(*byte) => tail,
            [..] => return false,
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
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests;
