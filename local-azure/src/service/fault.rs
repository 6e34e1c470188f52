//! The ways in which a service can misbehave.

use std::convert::Infallible;
use std::iter;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tokio_stream::StreamExt;

use super::Closed;

/// Says how a service misbehaves, to every request alike.
///
/// A status that HTTP cannot carry as a final answer (below 200, above 999) becomes 500.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers exactly this.
    Body {
        /// The status.
        status: u16,
        /// The value of `content-type`.
        content_type: String,
        /// The body.
        body: Vec<u8>,
    },
    /// Answers honestly, but with these members of the JSON object in place of its own; null takes
    /// one away.
    Changed(Map<String, Value>),
    /// Takes the request, then closes the connection without an answer.
    Close,
    /// Waits, then answers honestly.
    Delay(Duration),
    /// Answers 200 with bytes that are neither JSON nor UTF-8, as `application/json`.
    Garbage,
    /// Answers 200 with that many bytes of JSON.
    Giant(usize),
    /// Takes the request and never answers.
    Hang,
    /// Answers with these headers and a body of unsaid length, piece by piece (RFC 9112, section
    /// 7.1).
    Pieces {
        /// The status.
        status: u16,
        /// Names and values; what is no header is left out.
        headers: Vec<(String, String)>,
        /// What each piece holds.
        pieces: Vec<Vec<u8>>,
    },
    /// Answers the status with `retry-after` (in seconds, rounded up) and `retry-after-ms`, as
    /// Azure OpenAI does for provisioned throughput; the body is empty.
    RetryAfter {
        /// The status: 429, or 503.
        status: u16,
        /// How long the client is asked to wait.
        after: Duration,
    },
    /// Answers the status with an empty body.
    Status(u16),
    /// Answers honestly, but with the first half of the body only, as if that were all.
    Truncated,
}

pub(super) fn empty(status: u16) -> Response {
    final_status(status).into_response()
}

pub(super) fn exactly(status: u16, content_type: &str, body: impl Into<Body>) -> Response {
    let mut response = (final_status(status), body.into()).into_response();
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

pub(super) fn pieces(
    status: u16,
    headers: Vec<(String, String)>,
    pieces: Vec<Vec<u8>>,
) -> Response {
    let pieces = tokio_stream::iter(pieces).map(Ok::<_, Infallible>);
    let mut response = (final_status(status), Body::from_stream(pieces)).into_response();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

pub(super) fn garbage() -> Response {
    exactly(200, "application/json", b"\xff\xfe{\"access_token\": }".as_slice())
}

/// The pieces share one text, so that the answer may be larger than this machine's memory.
pub(super) fn giant(bytes: usize) -> Response {
    const SPACES: &[u8] = &[b' '; 1 << 16];
    let spaces = bytes.saturating_sub(2);
    let whole = iter::repeat_n(SPACES, spaces / SPACES.len());
    let rest = &SPACES[..spaces % SPACES.len()];
    let pieces = iter::once(b"{".as_slice()).chain(whole).chain([rest, b"}"]);
    let body = Body::from_stream(tokio_stream::iter(pieces).map(Ok::<_, Infallible>));
    let mut response = exactly(200, "application/json", body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(spaces + 2));
    response
}

pub(super) async fn changed(
    honest: Response,
    members: Map<String, Value>,
) -> Result<Response, Closed> {
    edited(honest, |body| {
        let Ok(Value::Object(mut object)) = serde_json::from_slice(body) else {
            // What is no object has no members to change.
            return body.to_vec();
        };
        object.extend(members);
        object.retain(|_, value| !value.is_null());
        Value::Object(object).to_string().into_bytes()
    })
    .await
}

pub(super) async fn truncated(honest: Response) -> Result<Response, Closed> {
    edited(honest, |body| body[..body.len() / 2].to_vec()).await
}

/// Replaces the body of an answer, and what its head says of the length.
async fn edited(honest: Response, edit: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<Response, Closed> {
    let (mut head, body) = honest.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    head.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(head, Body::from(edit(&body))))
}

pub(super) fn retry_after(status: u16, after: Duration) -> Response {
    let milliseconds = after.as_millis();
    let headers = [
        (RETRY_AFTER.as_str(), milliseconds.div_ceil(1000).to_string()),
        ("retry-after-ms", milliseconds.to_string()),
    ];
    (final_status(status), headers).into_response()
}

fn final_status(status: u16) -> StatusCode {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_informational())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
