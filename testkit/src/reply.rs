//! What a caller gets back, and what a refusal has to look like.

use std::fmt;

use http::HeaderMap;
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::task::JoinSet;

/// Holds a whole reply.
#[derive(Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers, as they came.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// Says what a refusal by keyless has to look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    status: u16,
    code: &'static str,
    challenge: Challenge,
}

/// Says what `WWW-Authenticate` has to be (RFC 6750 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Challenge {
    /// There is none.
    None,
    /// `Bearer` without an error code.
    Bare,
    /// `Bearer` with this error code.
    Error(&'static str),
}

impl Reply {
    /// Sends a request and reads the reply to its end.
    pub async fn to(request: RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.bytes().await?.into() })
    }

    /// Sends all requests at the same time; the replies come in no particular order.
    pub async fn to_each(
        requests: impl IntoIterator<Item = RequestBuilder>,
    ) -> reqwest::Result<Vec<Self>> {
        let requests: JoinSet<_> = requests.into_iter().map(Self::to).collect();
        requests.join_all().await.into_iter().collect()
    }

    /// Returns the one value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Parses the body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the stable code of a refusal by keyless.
    pub fn code(&self) -> Option<String> {
        Some(self.json()["error"]["code"].as_str()?.to_owned())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}

impl Refusal {
    /// 400: the credential cannot be read.
    pub const fn invalid_request(code: &'static str) -> Self {
        Self { status: 400, code, challenge: Challenge::Error("invalid_request") }
    }

    /// 400: the body cannot be read, or names no model.
    pub const fn bad_request(code: &'static str) -> Self {
        Self { status: 400, code, challenge: Challenge::None }
    }

    /// 408: the body did not come.
    pub const fn late(code: &'static str) -> Self {
        Self { status: 408, code, challenge: Challenge::None }
    }

    /// 413: the body is too large.
    pub const fn too_large(code: &'static str) -> Self {
        Self { status: 413, code, challenge: Challenge::None }
    }

    /// 415: the body is of another type.
    pub const fn unsupported(code: &'static str) -> Self {
        Self { status: 415, code, challenge: Challenge::None }
    }

    /// 400: the path can be read in more than one way.
    pub const fn path_refused() -> Self {
        Self { status: 400, code: "path_refused", challenge: Challenge::None }
    }

    /// 401: there is no credential.
    pub const fn token_missing() -> Self {
        Self { status: 401, code: "token_missing", challenge: Challenge::Bare }
    }

    /// 401: the token is not valid.
    pub const fn invalid_token(code: &'static str) -> Self {
        Self { status: 401, code, challenge: Challenge::Error("invalid_token") }
    }

    /// 403: the token does not suffice.
    pub const fn forbidden(code: &'static str) -> Self {
        Self { status: 403, code, challenge: Challenge::Error("insufficient_scope") }
    }

    /// 404: there is no such route.
    pub const fn route_unknown() -> Self {
        Self { status: 404, code: "route_unknown", challenge: Challenge::None }
    }

    /// 404: there is no such model.
    pub const fn model_not_found() -> Self {
        Self { status: 404, code: "model_not_found", challenge: Challenge::None }
    }

    /// 502: the backend refused the gateway's identity.
    pub const fn identity_rejected() -> Self {
        Self { status: 502, code: "identity_rejected", challenge: Challenge::None }
    }

    /// 503: it is the gateway's fault.
    pub const fn unavailable(code: &'static str) -> Self {
        Self { status: 503, code, challenge: Challenge::None }
    }

    /// Fails unless the reply is this refusal.
    #[track_caller]
    pub fn is(&self, reply: &Reply) {
        assert_eq!(reply.status, self.status, "{self:?}: {reply:?}");
        assert_eq!(reply.code().as_deref(), Some(self.code), "{self:?}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
        let challenges: Vec<_> = reply.headers.get_all("www-authenticate").iter().collect();
        match self.challenge {
            Challenge::None => assert!(challenges.is_empty(), "{self:?}: {reply:?}"),
            Challenge::Bare => assert_eq!(challenges, [r#"Bearer realm="keyless""#], "{reply:?}"),
            Challenge::Error(error) => {
                let start = format!(r#"Bearer realm="keyless", error="{error}", error_descr"#);
                let [challenge] = challenges[..] else { panic!("{self:?}: {reply:?}") };
                assert!(challenge.to_str().unwrap().starts_with(&start), "{self:?}: {reply:?}");
            }
        }
        let seconds = reply.header("retry-after").map(str::parse::<u32>);
        match self.status {
            503 => assert!(matches!(seconds, Some(Ok(1..=30))), "{self:?}: {reply:?}"),
            _ => assert_eq!(seconds, None, "{self:?}: {reply:?}"),
        }
    }
}
