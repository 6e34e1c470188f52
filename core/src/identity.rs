//! The gateway's own identity: how its tokens are asked for, and how the answers are read.

mod answer;
mod app_service;
mod client_credentials;
mod imds;
mod source;

use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use crate::http::{Answer, Call, FetchError};
use crate::refresh::{after, spread};
use crate::secret::Secret;
pub use answer::{explanation, parse};
pub use source::{ClientCredentials, Identity, Selector, Source};

/// Identifies an identity by its place in the configuration, where identities are sorted by name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct IdentityIndex(pub usize);

/// Holds an access token of an identity and the times that it is good for.
#[derive(Clone, Debug)]
pub struct AccessToken {
    secret: Secret,
    expires: SystemTime,
    refresh_in: Option<Duration>,
}

/// Holds what it takes to ask for the tokens of one identity.
#[derive(Debug)]
pub struct Endpoint {
    name: String,
    resource: String,
    /// The same each time; it cannot be made if the environment lacks something.
    call: Result<Call, FetchError>,
}

/// Gives the value of an environment variable, if there is one that is text.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

// A life of two hours and more leaves time enough for a first try half-way (azure-identity, MSAL).
const LONG_LIFE: Duration = Duration::from_hours(2);
// A shorter one is replaced this long before its end (azure-identity, MSAL).
const REFRESH_MARGIN: Duration = Duration::from_mins(5);
// A request may be on its way for a while, and its retries carry the same token.
const SAFETY_MARGIN: Duration = Duration::from_mins(1);

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// RFC 3986's unreserved characters stay as they are.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl AccessToken {
    /// Returns the value of `Authorization` that presents the token.
    pub fn authorization(&self) -> &Secret {
        &self.secret
    }

    /// Returns when the next token should be asked for, if this one came `now`: when Azure says, or
    /// half-way through a long life, or a margin before the end of a short one; never later than
    /// that margin, with up to 10 % jitter.
    pub fn refresh_at(&self, now: SystemTime) -> SystemTime {
        let life = self.expires.duration_since(now).unwrap_or_default();
        let half = life.mul_f64(0.5);
        let latest = half.max(life.saturating_sub(REFRESH_MARGIN));
        let by_life = if life >= LONG_LIFE { half } else { latest };
        let wait = self.refresh_in.map_or(by_life, |wait| wait.min(latest));
        after(spread(wait, now), now)
    }

    /// Returns when the token must no longer be sent, if it came `now`: a margin before its end,
    /// which is smaller for a life that is shorter than any that Azure gives.
    pub fn unusable_at(&self, now: SystemTime) -> SystemTime {
        let life = self.expires.duration_since(now).unwrap_or_default();
        let margin = SAFETY_MARGIN.min(life.mul_f64(0.25));
        self.expires.checked_sub(margin).unwrap_or(now)
    }
}

impl Endpoint {
    /// Prepares the request for the tokens of an identity; the environment is read here and never
    /// again.
    pub fn new(identity: Identity, environment: Environment<'_>) -> Self {
        let call = match &identity.source {
            Source::AppService(selector) => app_service::call(&identity, selector, environment),
            Source::ClientCredentials(credentials) => {
                client_credentials::call(&identity, credentials, environment)
            }
            Source::Imds(selector) => Ok(imds::call(&identity, selector)),
        };
        Self { name: identity.name, resource: identity.resource, call }
    }

    /// Returns the identity's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the call that asks for a token, if it can be made; [`Endpoint::read`] says why not.
    pub fn call(&self) -> Option<&Call> {
        self.call.as_ref().ok()
    }

    /// Reads the answer to [`Endpoint::call`].
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if there is no token in it that is beyond doubt (see [`parse`]), or
    /// if the call cannot be made at all.
    pub fn read(&self, answer: &Answer, now: SystemTime) -> Result<AccessToken, FetchError> {
        self.call.as_ref().map_err(FetchError::clone)?;
        match answer {
            Answer::Arrived { status: status @ 400..=499, body, .. } => {
                Err(FetchError::Status { status: *status, error: answer::error(body) })
            }
            Answer::Arrived { .. } | Answer::Broken | Answer::Lost | Answer::Unsent => {
                self.parse(answer.content()?, now)
            }
        }
    }

    /// Reads the body of a good answer that arrived then.
    ///
    /// # Errors
    ///
    /// Those of [`parse`].
    pub fn parse(&self, body: &[u8], arrived: SystemTime) -> Result<AccessToken, FetchError> {
        parse(body, &self.resource, arrived)
    }
}

fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, UNRESERVED)
}

/// The part of a query that selects an identity by its client, object or resource id, under the
/// names that these have here.
fn selected(selector: &Selector, [client, object, resource]: [&str; 3]) -> String {
    let parameter = |name, id| format!("&{name}={}", encode(id));
    match selector {
        Selector::ClientId(id) => parameter(client, id),
        Selector::ObjectId(id) => parameter(object, id),
        Selector::ResourceId(id) => parameter(resource, id),
        Selector::System => String::new(),
    }
}

/// The value of an environment variable that may go into a header or a form: printable ASCII.
fn variable(environment: Environment<'_>, name: &str) -> Result<String, FetchError> {
    let is_printable =
        |text: &String| !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    environment(name).filter(is_printable).ok_or_else(|| FetchError::Unset(name.into()))
}

#[cfg(test)]
mod tests;
