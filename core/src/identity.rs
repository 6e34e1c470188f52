//! The gateway's own identity: how its tokens are asked for, and how the answers are read.

mod answer;
mod app_service;
mod client_credentials;
mod entra;
mod file;
mod imds;
mod source;
mod workload_identity;

use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use crate::fetch::after;
use crate::http::{Answer, Call, FetchError};
use crate::secret::Secret;
pub use answer::{explanation, parse};
pub use file::File;
pub use source::{ClientCredentials, ClientSecret, Identity, Selector, Source, WorkloadIdentity};

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
    /// It cannot be made if the environment lacks something.
    request: Result<Request, FetchError>,
}

/// How a token is asked for.
#[derive(Debug)]
struct Request {
    /// What is read first, if the credential is in a file.
    file: Option<CredentialFile>,
    /// The call for the token: the same each time, or without the credential that is in the file.
    token: Call,
}

/// A file that holds what the call for the token lacks.
#[derive(Debug)]
struct CredentialFile {
    call: Call,
    kind: Credential,
}

/// What a file holds.
#[derive(Clone, Copy, Debug)]
enum Credential {
    Assertion,
    Secret,
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
    /// that margin.
    pub fn refresh_at(&self, now: SystemTime) -> SystemTime {
        let life = self.expires.duration_since(now).unwrap_or_default();
        let half = life.mul_f64(0.5);
        let latest = half.max(life.saturating_sub(REFRESH_MARGIN));
        let by_life = if life >= LONG_LIFE { half } else { latest };
        let wait = self.refresh_in.map_or(by_life, |wait| wait.min(latest));
        after(wait, now)
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
        let request = Request::new(&identity, environment);
        Self { name: identity.name, resource: identity.resource, request }
    }

    /// Returns the identity's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the call with which a fetch begins: for the file with the credential, if there is one,
    /// or else for the token. There is none if it cannot be made; [`Endpoint::read`] says why not.
    pub fn first_call(&self) -> Option<&Call> {
        let request = self.request.as_ref().ok()?;
        Some(request.file.as_ref().map_or(&request.token, |file| &file.call))
    }

    /// Returns all that tells this endpoint from others: its calls, without what is in a file.
    pub fn calls(&self) -> Vec<&Call> {
        let request = self.request.iter();
        let calls = request
            .flat_map(|Request { file, token }| file.iter().map(|file| &file.call).chain([token]));
        calls.collect()
    }

    /// Returns true if a fetch takes two calls, the first one for a file.
    pub fn begins_with_file(&self) -> bool {
        self.request.as_ref().is_ok_and(|request| request.file.is_some())
    }

    /// Reads the answer to the call for the file, and returns the call for the token.
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if there is no usable credential in the file.
    pub fn token_call(&self, file: &Answer) -> Result<Call, FetchError> {
        let Request { file: credential, token } =
            self.request.as_ref().map_err(FetchError::clone)?;
        let Some(CredentialFile { kind, .. }) = credential else { return Ok(token.clone()) };
        let (name, credential) = match kind {
            Credential::Assertion => ("client_assertion", file::token(file)?),
            Credential::Secret => ("client_secret", file::secret(file)?),
        };
        Ok(client_credentials::with_credential(token, name, &credential))
    }

    /// Reads the answer to the call for the token.
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if there is no token in it that is beyond doubt (see [`parse`]), or
    /// if the call cannot be made at all.
    pub fn read(&self, answer: &Answer, now: SystemTime) -> Result<AccessToken, FetchError> {
        self.request.as_ref().map_err(FetchError::clone)?;
        match answer {
            Answer::Arrived { status: status @ 400..=499, body, .. } => {
                Err(entra::refusal(*status, body))
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

impl Request {
    fn new(identity: &Identity, environment: Environment<'_>) -> Result<Self, FetchError> {
        let one = |token| Self { file: None, token };
        let two = |file: &File, kind, token| Self {
            file: Some(CredentialFile { call: file.call(), kind }),
            token,
        };
        Ok(match &identity.source {
            Source::AppService(selector) => {
                one(app_service::call(identity, selector, environment)?)
            }
            Source::ClientCredentials(credentials) => {
                let token = client_credentials::call(identity, credentials);
                match &credentials.client_secret {
                    ClientSecret::Environment(name) => {
                        let secret = Secret::new(variable(environment, name)?);
                        one(client_credentials::with_credential(&token, "client_secret", &secret))
                    }
                    ClientSecret::File(file) => two(file, Credential::Secret, token),
                }
            }
            Source::Imds(selector) => one(imds::call(identity, selector)),
            Source::WorkloadIdentity(workload) => {
                let token = workload_identity::call(identity, workload, environment)?;
                two(&workload.token_file, Credential::Assertion, token)
            }
        })
    }
}

/// Returns the scope that stands for all that a resource grants (Microsoft: "Scopes and permissions").
pub(crate) fn scope(resource: &str) -> String {
    format!("{resource}/.default")
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
