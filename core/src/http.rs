//! Plain HTTP data: what the gate asks the host to send, and what came back.

mod uri;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde_json::error::Category;

use crate::secret::Secret;
pub use uri::Uri;

/// Describes one HTTP request that the host is to send to a cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// The value of `:method`.
    pub method: &'static str,
    /// The value of `:authority`.
    pub authority: String,
    /// The value of `:path`, with the query.
    pub path: String,
    /// Further headers; any value may be a credential, so none is shown.
    pub headers: Vec<(&'static str, Secret)>,
    /// The body, if there is one; it may hold a credential.
    pub body: Option<Secret>,
    /// How long the response may take; never zero, which Envoy takes for no limit.
    pub timeout: Duration,
}

/// Names a header, in lower case.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct HeaderName(Rc<str>);

/// Holds what came back for a [`Call`]; it may hold a credential, so it is not shown.
#[derive(Clone, Eq, PartialEq)]
pub enum Answer {
    /// The other side answered, or Envoy did in its place (503 and 504).
    Arrived {
        /// The value of `:status`.
        status: u16,
        /// The response's `Retry-After`: see [`retry_after`].
        retry_after: Option<Duration>,
        /// The body, at most [`MAX_BODY`] bytes of it.
        body: Vec<u8>,
    },
    /// The stream was reset before it was complete.
    Broken,
    /// Nothing came back, not even a failure.
    Lost,
    /// The host refused to send the call: no such cluster, no healthy host, or a full circuit.
    Unsent,
}

/// Holds a reply that the gateway itself gives: a local reply, in Envoy's words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The value of `:status`.
    pub status: u16,
    /// Further headers; no name stands twice.
    pub headers: Vec<(&'static str, String)>,
    /// The body, which is always JSON.
    pub body: String,
}

impl HeaderName {
    /// Names the header that carries the credential.
    pub fn authorization() -> Self {
        Self::known("authorization")
    }

    /// Parses a field name (RFC 9110 §5.1), in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_token = !text.is_empty() && text.bytes().all(allowed);
        is_token.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// Names a header that is known when the program is built; the text must be in lower case.
    pub(crate) fn known(name: &'static str) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Reply {
    /// Makes a reply of JSON.
    pub fn json(status: u16, body: String) -> Self {
        Self { status, headers: vec![("content-type", "application/json".to_owned())], body }
    }

    /// Tells clients in the challenge, if there is one, where to learn who issues tokens (RFC 9728
    /// §5.1); the address must be fit for a quoted string.
    #[must_use]
    pub fn pointing_to(mut self, metadata: &str) -> Self {
        let challenges = self.headers.iter_mut().filter(|(name, _)| *name == "www-authenticate");
        for (_, challenge) in challenges {
            challenge.push_str(", resource_metadata=\"");
            challenge.push_str(metadata);
            challenge.push('"');
        }
        self
    }
}

/// Limits what is read of a response body, in bytes; a longer one arrives as one byte more.
pub const MAX_BODY: usize = 1 << 20;

/// Describes one kind of failure in the table that the program `keyless docs` prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FetchResult {
    /// The stable word that metrics and logs use.
    pub code: &'static str,
    /// What came, in one line of Markdown.
    pub meaning: &'static str,
}

/// Makes [`FetchError`] and its table from one row for each kind of failure: the meaning as doc
/// comment, the variant, its code.
macro_rules! fetch_errors {
    ($(
        $(#[doc = $meaning:literal])+
        $variant:ident $({ $($named:tt)+ })? $(( $($unnamed:tt)+ ))? = $code:literal;
    )+) => {
        /// Tells why a fetch failed; it drives the backoff and is logged and counted.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum FetchError {
            $($(#[doc = $meaning])+ $variant $({ $($named)+ })? $(( $($unnamed)+ ))?,)+
        }

        impl FetchError {
            /// Holds all kinds of failure.
            pub const ALL: &[FetchResult] =
                &[$(FetchResult { code: $code, meaning: concat!($($meaning),+).trim_ascii_start() }),+];

            /// Returns the code that this text is, if it is one.
            pub fn known_code(text: &str) -> Option<&'static str> {
                Self::ALL.iter().map(|known| known.code).find(|code| *code == text)
            }

            /// Returns the stable word for this error that metrics and logs use.
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)+
                }
            }
        }
    };
}

fetch_errors! {
    /// Envoy could not connect, for the reason in the log: no connection to the host, or a certificate that fails verification
    Unreachable(Box<str>) = "unreachable";
    /// another status than 200 and 504
    Status {
        /// The status.
        status: u16,
        /// The `error` that the body names, if it is one plain word (RFC 6749 §5.2), and the number
        /// of Entra's error.
        error: Option<Box<str>>
    } = "status";
    /// status 504: mostly Envoy's own, after `timeout`
    Timeout = "timeout";
    /// the connection was reset, or the response is too large for Envoy
    Reset = "reset";
    /// no response and no failure was reported for `timeout` + 1 s
    Unanswered = "unanswered";
    /// the request was not sent: no such cluster, no healthy host, or an open circuit breaker
    Unsent = "unsent";
    /// the request was not sent: an environment variable is not set, or its value is not usable
    Unset(Box<str>) = "unset";
    /// the file with the token or secret was not served; the log says what came instead
    FileUnavailable(Box<FetchError>) = "file_unavailable";
    /// the file with the token or secret is empty
    FileEmpty = "file_empty";
    /// the file with the token or secret is longer than 16 KiB
    FileTooLarge = "file_too_large";
    /// there is no JWT in the file, or the secret in it is not printable ASCII
    FileMalformed(&'static str) = "file_malformed";
    /// Entra has no federated credential with this issuer and subject (AADSTS70021, 70025, 700211, 700213, 7002137, 7002138)
    NoFederatedCredential(u32) = "no_federated_credential";
    /// the projected token has another audience than the federated credential (AADSTS700212)
    AssertionAudience(u32) = "assertion_audience";
    /// the projected token has expired or is not valid yet (AADSTS700024)
    AssertionExpired(u32) = "assertion_expired";
    /// Entra cannot verify the projected token's signature (AADSTS50013, 50027, 700027, 700222)
    AssertionInvalid(u32) = "assertion_invalid";
    /// Entra knows no such client in the tenant (AADSTS700016)
    ClientUnknown(u32) = "client_unknown";
    /// Entra knows no such tenant (AADSTS90002)
    TenantUnknown(u32) = "tenant_unknown";
    /// the client secret is wrong (AADSTS7000215)
    ClientSecretInvalid(u32) = "client_secret_invalid";
    /// the client secret has expired (AADSTS7000222)
    ClientSecretExpired(u32) = "client_secret_expired";
    /// the body is longer than 1 MiB
    TooLarge = "too_large";
    /// the body is not JSON
    NotJson = "not_json";
    /// the body is JSON that ends too early
    Truncated = "truncated";
    /// the body is JSON with a duplicate member
    Repeated = "repeated";
    /// the body is compressed, though nobody asked for that
    Compressed = "compressed";
    /// the body is not an object, has no list of keys, or is the discovery document of another issuer
    Malformed(&'static str) = "malformed";
    /// no key of the key set can be used, for the reason in the log
    NoUsableKey(Box<str>) = "no_usable_key";
    /// the identity token's `token_type` is not `Bearer`
    TokenType = "token_type";
    /// the identity token is missing, longer than 16 KiB or not printable ASCII
    Token(&'static str) = "token";
    /// the identity token has expired, will within 2 s, or has no expiry
    Expiry(&'static str) = "expiry";
    /// the identity token is not valid for another 5 min or more
    NotBefore = "not_before";
    /// the identity token is for another resource than the configured one
    Resource = "resource";
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrived { status, body, .. } => {
                write!(formatter, "Arrived({status}, {} bytes)", body.len())
            }
            Self::Broken => formatter.write_str("Broken"),
            Self::Lost => formatter.write_str("Lost"),
            Self::Unsent => formatter.write_str("Unsent"),
        }
    }
}

impl Answer {
    /// Returns the body of a complete answer with status 200.
    ///
    /// # Errors
    ///
    /// Returns the [`FetchError`] that says what it was instead.
    pub fn content(&self) -> Result<&[u8], FetchError> {
        match self {
            Self::Arrived { status: 200, body, .. } if body.len() > MAX_BODY => {
                Err(FetchError::TooLarge)
            }
            Self::Arrived { status: 200, body, .. } if body.starts_with(GZIP) => {
                Err(FetchError::Compressed)
            }
            Self::Arrived { status: 200, body, .. } => Ok(body),
            Self::Arrived { status: 504, .. } => Err(FetchError::Timeout),
            Self::Arrived { status, body, .. } => Err(match envoys_reason(*status, body) {
                Some(reason) => FetchError::Unreachable(reason),
                None => FetchError::Status { status: *status, error: None },
            }),
            Self::Broken => Err(FetchError::Reset),
            Self::Lost => Err(FetchError::Unanswered),
            Self::Unsent => Err(FetchError::Unsent),
        }
    }

    /// Returns the response's `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Arrived { retry_after, .. } => *retry_after,
            Self::Broken | Self::Lost | Self::Unsent => None,
        }
    }
}

/// What gzip's files begin with (RFC 1952 §2.3.1), and no JSON.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// What Envoy's own 503 begins with, whose rest is the reason (Envoy, `Filter::onUpstreamReset` and
/// `sendNoHealthyUpstreamResponse` of the router).
const ENVOYS_503: [&[u8]; 2] =
    [b"upstream connect error or disconnect/reset before headers. ", b"no healthy upstream"];

/// Limits the reason of a failed connection in the log, in bytes.
const MAX_REASON: usize = 200;

/// Returns why Envoy could not connect, if it is Envoy that answers: its reason holds nothing of a
/// caller, an issuer's own words might.
fn envoys_reason(status: u16, body: &[u8]) -> Option<Box<str>> {
    let begins = |start: &&[u8]| body.starts_with(start);
    let start = ENVOYS_503.iter().copied().find(begins).filter(|_| status == 503)?;
    let rest = body.strip_prefix(start).filter(|rest| !rest.is_empty()).unwrap_or(body);
    let printable = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' };
    Some(rest.iter().take(MAX_REASON).map(printable).collect::<String>().into())
}

/// Reads the value of `Retry-After`, seconds or a date (RFC 9110 §10.2.3); a number too large to
/// hold is the largest, a date that has passed is no wait, and anything else says nothing.
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = str::from_utf8(value.trim_ascii()).ok()?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Says what was wrong with a body that should have been a JSON object.
impl From<serde_json::Error> for FetchError {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            Category::Eof => Self::Truncated,
            Category::Io | Category::Syntax => Self::NotJson,
            // What is found while reading has a place; that it is no object is found afterwards.
            Category::Data if error.line() == 0 => Self::Malformed("not a JSON object"),
            Category::Data => Self::Repeated,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expiry(what) | Self::Token(what) => formatter.write_str(what),
            Self::FileUnavailable(error) => write!(formatter, "file: {error}"),
            Self::FileEmpty => formatter.write_str("file: empty"),
            Self::FileTooLarge => formatter.write_str("file: longer than 16 KiB"),
            Self::FileMalformed(what) => write!(formatter, "file: {what}"),
            Self::NoFederatedCredential(number) => write!(
                formatter,
                "AADSTS{number}, no federated credential with this issuer and subject"
            ),
            Self::AssertionAudience(number) => {
                write!(formatter, "AADSTS{number}, no federated credential with this audience")
            }
            Self::AssertionExpired(number) => {
                write!(formatter, "AADSTS{number}, the projected token has expired")
            }
            Self::AssertionInvalid(number) => {
                write!(formatter, "AADSTS{number}, the projected token's signature is not valid")
            }
            Self::ClientUnknown(number) => {
                write!(formatter, "AADSTS{number}, no such client in the tenant")
            }
            Self::TenantUnknown(number) => write!(formatter, "AADSTS{number}, no such tenant"),
            Self::ClientSecretInvalid(number) => {
                write!(formatter, "AADSTS{number}, the client secret is wrong")
            }
            Self::ClientSecretExpired(number) => {
                write!(formatter, "AADSTS{number}, the client secret has expired")
            }
            Self::Malformed(what) => write!(formatter, "malformed response: {what}"),
            Self::Compressed => formatter.write_str("gzip, which nobody asked for"),
            Self::NoUsableKey(why) => write!(formatter, "no usable key: {why}"),
            Self::NotBefore => formatter.write_str("token not valid yet"),
            Self::NotJson => formatter.write_str("not JSON"),
            Self::Repeated => formatter.write_str("duplicate member"),
            Self::Reset => formatter.write_str("connection reset"),
            Self::Resource => formatter.write_str("token for another resource"),
            Self::Status { status: status @ 300..400, error: None } => {
                write!(formatter, "status {status}, a redirect, which is not followed")
            }
            Self::Status { status, error: None } => write!(formatter, "status {status}"),
            Self::Status { status, error: Some(error) } => {
                write!(formatter, "status {status}, {error}")
            }
            Self::Timeout => formatter.write_str("status 504, timeout"),
            Self::TokenType => formatter.write_str("token_type is not Bearer"),
            Self::TooLarge => write!(formatter, "longer than {MAX_BODY} bytes"),
            Self::Truncated => formatter.write_str("truncated JSON"),
            Self::Unreachable(reason) => write!(formatter, "unreachable: {reason}"),
            Self::Unanswered => formatter.write_str("no response in time"),
            Self::Unsent => formatter.write_str("no such cluster, or no healthy host"),
            Self::Unset(name) => {
                write!(formatter, "environment variable {name} not set or not usable")
            }
        }
    }
}

impl std::error::Error for FetchError {}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::json;

    #[test]
    fn a_call_does_not_show_its_credentials() {
        let call = Call {
            cluster: "c".to_owned(),
            method: "POST",
            authority: "a".to_owned(),
            path: "/p".to_owned(),
            headers: vec![("x-identity-header", Secret::new("hunter2"))],
            body: Some(Secret::new("client_secret=hunter2")),
            timeout: Duration::from_secs(5),
        };
        let shown = format!("{call:?}");
        assert!(shown.contains("x-identity-header") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        // RFC 9110 §5.6.7 has this date in its three forms.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        let rows: [(&[u8], Option<u64>); 13] = [
            (b"120", Some(120)),
            (b" 0 ", Some(0)),
            (b"99999999999999999999999", Some(u64::MAX)),
            (b"Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            (b"Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            (b"Sun Nov  6 08:49:37 1994", Some(30)),
            (b"Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            (b"", None),
            (b"soon", None),
            (b"-5", None),
            (b"1.5", None),
            (b"5\xff", None),
            (b"5, 6", None),
        ];
        for (value, expected) in rows {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn envoys_own_503_says_why_and_an_issuers_does_not() {
        let error = |status, body: &str| {
            let body = body.as_bytes().to_vec();
            Answer::Arrived { status, retry_after: None, body }.content().unwrap_err()
        };
        let prefix = "upstream connect error or disconnect/reset before headers. ";
        // Envoy 1.40 leaves out the second half.
        let reason = "reset reason: remote connection failure, transport failure reason: TLS_error:|\
                      268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end";
        let shown = error(503, &format!("{prefix}{reason}\n{}", "x".repeat(1000)));
        assert_eq!(shown.code(), "unreachable");
        let shown = shown.to_string();
        assert!(shown.contains("CERTIFICATE_VERIFY_FAILED"), "{shown}");
        assert!(shown.len() < 230 && !shown.contains('\n'), "{shown}");
        assert_eq!(
            error(503, "no healthy upstream").to_string(),
            "unreachable: no healthy upstream"
        );
        for body in ["", "token eyJ", "an upstream connect error"] {
            assert_eq!(error(503, body).to_string(), "status 503", "{body}");
        }
        assert_eq!(error(500, &format!("{prefix}{reason}")).code(), "status");
    }

    #[test]
    fn a_body_that_is_no_object_has_its_own_code_for_each_way() {
        let rows = [
            ("", "truncated"),
            ("{\"a\": \"b", "truncated"),
            ("<html>", "not_json"),
            ("{} {}", "not_json"),
            ("[]", "malformed"),
            ("\"a\"", "malformed"),
            ("{\"a\":1,\"a\":1}", "repeated"),
            ("{\"a\":[{\"b\":1,\"b\":1}]}", "repeated"),
        ];
        for (body, code) in rows {
            let error = FetchError::from(json::object(body.as_bytes()).unwrap_err());
            assert_eq!(error.code(), code, "{body}");
        }
    }
}
