//! What a caller sent, captured once: the path, the credential, and all that must be removed.

use std::fmt;

mod path;
mod query;

use crate::credentials::{Pass, Stripped, without_credentials};
use crate::denial::Denial;

/// Holds the head of a request as it arrived: names in lower case, values as bytes.
#[derive(Clone)]
pub struct Head {
    pairs: Vec<(String, Vec<u8>)>,
    has_body: bool,
}

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

    /// Returns false if no body follows: it was said, or it is the handshake of a WebSocket.
    pub fn has_body(&self) -> bool {
        self.has_body && !self.is_handshake()
    }

    /// Returns true for the opening handshake of a WebSocket (RFC 6455 §4.1), after which no body
    /// comes but frames. Envoy shows that of HTTP/2 (RFC 8441) in the same form.
    pub fn is_handshake(&self) -> bool {
        let is_sent = |name| self.values(name).next().is_some();
        let mut upgrades = self.values("upgrade");
        let is_websocket = upgrades.next().is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
        is_websocket
            && upgrades.next().is_none()
            && self.method() == "GET"
            && !is_sent("content-length")
            && !is_sent("transfer-encoding")
    }

    /// Returns every value of `Authorization`.
    pub fn authorization(&self) -> Vec<&[u8]> {
        self.values("authorization").collect()
    }

    /// Returns the deployment that the query names, as Azure's realtime API reads it: the one
    /// parameter `deployment` or `model`.
    ///
    /// # Errors
    ///
    /// Returns [`Denial::ModelMalformed`] for what two readers could take for two names: more than
    /// one such parameter, another spelling of its name, or a value with other characters than
    /// `A-Z a-z 0-9 . _ ~ -`, of which the names of deployments are made.
    pub fn deployment_in_query(&self) -> Result<Option<&str>, Denial> {
        let (_, query) = split_query(self.first(":path"));
        query.map_or(Ok(None), query::deployment)
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
        path::plain(path).map_err(|fault| Denial::PathRefused { fault })
    }

    /// Returns the value of a query parameter as it was sent, if there is exactly one of this name.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let (_, query) = split_query(self.first(":path"));
        let mut values = query?
            .split(|byte| *byte == b'&')
            .filter_map(|parameter| parameter.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        values.next().filter(|_| values.next().is_none())
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

#[cfg(test)]
mod tests;
