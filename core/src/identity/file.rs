//! A file with a token or a secret, which Envoy serves: a module cannot read files.

use super::TIMEOUT;
use crate::http::{Answer, Call, FetchError};
use crate::secret::Secret;

/// Says where Envoy serves a file: a cluster whose endpoint is an internal listener, which answers
/// with the file (`direct_response`, `filename`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File {
    /// Envoy's cluster that leads to the listener.
    pub cluster: String,
    /// The path of the listener's route.
    pub path: String,
}

/// Limits what a file may hold, in bytes. Projected tokens have one to two thousand.
const MAX_FILE: usize = 16 * 1024;

/// Any host does: the listener has one virtual host.
const AUTHORITY: &str = "localhost";

impl File {
    /// Returns the call for the file.
    pub(super) fn call(&self) -> Call {
        Call {
            cluster: self.cluster.clone(),
            method: "GET",
            authority: AUTHORITY.to_owned(),
            path: self.path.clone(),
            headers: Vec::new(),
            body: None,
            timeout: TIMEOUT,
        }
    }
}

/// Reads a file that holds a JWT, without the white space around it. Whether the token is good is for
/// the token endpoint to say; but nothing is sent there that is no token.
///
/// # Errors
///
/// Fails if the file was not served, is empty or too long, or holds no JWT.
pub(super) fn token(answer: &Answer) -> Result<Secret, FetchError> {
    let text = text(answer)?;
    let is_part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !part.is_empty() && part.bytes().all(allowed)
    };
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() != 3 || !parts.into_iter().all(is_part) {
        return Err(FetchError::FileMalformed("not a JWT"));
    }
    Ok(Secret::new(text))
}

/// Reads a file that holds a client secret, without the white space around it.
///
/// # Errors
///
/// Fails if the file was not served, is empty or too long, or is not printable ASCII.
pub(super) fn secret(answer: &Answer) -> Result<Secret, FetchError> {
    let text = text(answer)?;
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(FetchError::FileMalformed("not printable ASCII"));
    }
    Ok(Secret::new(text))
}

fn text(answer: &Answer) -> Result<&str, FetchError> {
    let bytes = match answer.content() {
        Ok(bytes) => bytes.trim_ascii(),
        Err(FetchError::TooLarge) => return Err(FetchError::FileTooLarge),
        Err(error) => return Err(FetchError::FileUnavailable(Box::new(error))),
    };
    if bytes.is_empty() {
        return Err(FetchError::FileEmpty);
    }
    if bytes.len() > MAX_FILE {
        return Err(FetchError::FileTooLarge);
    }
    str::from_utf8(bytes).map_err(|_| FetchError::FileMalformed("not printable ASCII"))
}
