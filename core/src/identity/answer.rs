//! What a source of tokens answers: a token that is beyond doubt, or none.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::AccessToken;
use crate::fetch::after;
use crate::http::FetchError;
use crate::json;
use crate::secret::Secret;

/// Limits an access token, in bytes; with the other headers it must fit into Envoy's 60 KiB.
const MAX_TOKEN: usize = 16 * 1024;
/// A token that ends sooner is of no use: it could not be replaced before.
const SHORTEST_LIFE: Duration = Duration::from_secs(2);
/// How far the clocks of the two sides may differ when it comes to `not_before`.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Limits what is logged of a backend's explanation, in bytes.
const MAX_EXPLANATION: usize = 400;
/// Resource URIs are shorter and tokens are longer than this, in bytes.
const MAX_WORD: usize = 80;

/// Reads the answer of a source: a JSON object whose numbers may be strings.
///
/// # Errors
///
/// Fails if anything about the token is in doubt: no object, another `token_type` than `Bearer`, a
/// token that is empty, overlong or not printable ASCII, for another resource (where the answer
/// names one), not valid yet, or without an expiry in the future.
pub fn parse(body: &[u8], resource: &str, now: SystemTime) -> Result<AccessToken, FetchError> {
    let answer = json::object(body)?;
    let text = |name| answer.get(name).and_then(Value::as_str);
    if !text("token_type").is_some_and(|name| name.eq_ignore_ascii_case("bearer")) {
        return Err(FetchError::TokenType);
    }
    if answer.get("resource").is_some_and(|named| !is_same(named, resource)) {
        return Err(FetchError::Resource);
    }
    let token = token(text("access_token").unwrap_or_default())?;
    let valid_from = seconds(&answer, "not_before").and_then(|date| UNIX_EPOCH.checked_add(date));
    if valid_from.is_some_and(|time| time > after(CLOCK_SKEW, now)) {
        return Err(FetchError::NotBefore);
    }
    let expires = expiry(&answer, now).ok_or(FetchError::Expiry("no expiry"))?;
    if expires <= now {
        return Err(FetchError::Expiry("the token has expired"));
    }
    if expires < after(SHORTEST_LIFE, now) {
        return Err(FetchError::Expiry("the token is about to expire"));
    }
    let refresh_in = seconds(&answer, "refresh_in").filter(|wait| !wait.is_zero());
    Ok(AccessToken { secret: Secret::new(format!("Bearer {token}")), expires, refresh_in })
}

/// Returns the `error` of a refusal (RFC 6749 §5.2), if it is one plain word that may be logged.
pub(super) fn error(body: &[u8]) -> Option<Box<str>> {
    let answer = json::object(body).ok()?;
    let word = answer.get("error")?.as_str()?;
    let is_plain = |byte: u8| byte == b'_' || byte.is_ascii_lowercase();
    ((1..=40).contains(&word.len()) && word.bytes().all(is_plain)).then(|| word.into())
}

/// Returns what a backend says about a token that it refuses (Azure OpenAI's `error.message`), if
/// that is one short line, and never if there could be a token in it.
pub fn explanation(body: &[u8]) -> Option<String> {
    let answer = json::object(body).ok()?;
    let message = answer.get("error")?.get("message")?.as_str()?;
    let is_line = message.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let longest_word = message.split(' ').map(str::len).max().unwrap_or_default();
    let is_plain = is_line && message.len() <= MAX_EXPLANATION && longest_word <= MAX_WORD;
    (is_plain && !message.is_empty()).then(|| message.to_owned())
}

fn token(text: &str) -> Result<&str, FetchError> {
    if text.is_empty() {
        return Err(FetchError::Token("no access_token"));
    }
    if text.len() > MAX_TOKEN {
        return Err(FetchError::Token("an access_token of more than 16 KiB"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(FetchError::Token("an access_token that is not printable ASCII"));
    }
    Ok(text)
}

/// One slash at the end makes no other resource: sources add it or leave it out.
fn is_same(named: &Value, resource: &str) -> bool {
    let bare = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
    named.is_null() || named.as_str().is_some_and(|named| bare(named) == bare(resource))
}

/// `expires_on` is a date and holds however long the answer took; `expires_in` counts from now.
fn expiry(answer: &Map<String, Value>, now: SystemTime) -> Option<SystemTime> {
    let date = seconds(answer, "expires_on").and_then(|date| UNIX_EPOCH.checked_add(date));
    date.or_else(|| now.checked_add(seconds(answer, "expires_in")?))
}

/// Azure's hosts send whole numbers as numbers or as strings.
fn seconds(answer: &Map<String, Value>, name: &str) -> Option<Duration> {
    let value = answer.get(name)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(number))
}
