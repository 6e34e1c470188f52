//! A token endpoint that gives an application a token for its secret, or for the token of an issuer
//! that it trusts, as Entra's does.
//!
//! Sources: RFC 6749 §4.4 and §5; Microsoft, "OAuth 2.0 client credentials flow on the Microsoft
//! identity platform". Unlike RFC 6749 §3.2 it refuses a parameter that it does not know, to find
//! mistakes.

mod federated;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Form, Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::mint::{Issued, Mint, issues};
use crate::service::{Service, serve};
use crate::{Imds, Options};
pub use federated::FederatedCredential;

/// Plays Entra's token endpoint for one application; clones are handles on the same one.
///
/// It is there for every tenant, at `/{tenant}/oauth2/v2.0/token`. Tokens are good for an hour
/// unless told otherwise.
#[derive(Clone)]
pub struct OAuth {
    credentials: Credentials,
    mint: Mint,
    service: Service,
}

serve!(OAuth);
issues!(OAuth);

impl OAuth {
    /// Starts an endpoint on `options.ports.oauth`, whose tokens [`Imds::accepts`] knows, too.
    ///
    /// # Errors
    /// Fails when the port cannot be bound.
    pub async fn start(options: &Options, beside: &Imds) -> io::Result<Self> {
        let mint = beside.mint().beside("oauth", LIFETIME);
        let credentials = Credentials::default();
        let application = Application {
            credentials: Arc::clone(&credentials),
            id: options.client_id.clone(),
            secret: options.client_secret.clone(),
            mint: mint.clone(),
        };
        let router =
            Router::new().route("/{tenant}/oauth2/v2.0/token", post(token)).with_state(application);
        let service = Service::start(router, options.at(options.ports.oauth)).await?;
        Ok(Self { credentials, mint, service })
    }

    /// Sets the federated credentials of the application, in place of those that it has. It begins
    /// with none.
    pub fn set_federated_credentials(&self, credentials: Vec<FederatedCredential>) {
        *self.credentials.lock() = credentials;
    }

    /// Returns the service itself, for the control server.
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth").field("service", &self.service).finish_non_exhaustive()
    }
}

/// The federated credentials of the application.
type Credentials = Arc<Mutex<Vec<FederatedCredential>>>;

#[derive(Clone)]
struct Application {
    credentials: Credentials,
    id: String,
    secret: String,
    mint: Mint,
}

/// Refuses a request as Entra does: RFC 6749 §5.2, and what helps to find it in a log.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    description: String,
}

impl Refusal {
    fn new(error: &'static str, code: u32, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, code, description: description.into() }
    }

    fn unauthorized(self) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, ..self }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({
            "error": self.error,
            "error_description": format!("AADSTS{}: {}", self.code, self.description),
            "error_codes": [self.code],
            "trace_id": Uuid::new_v4().to_string(),
            "correlation_id": Uuid::new_v4().to_string(),
        });
        (self.status, Json(body)).into_response()
    }
}

async fn token(
    State(application): State<Application>,
    Path(_): Path<String>,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, axum::extract::rejection::FormRejection>,
) -> Result<impl IntoResponse, Refusal> {
    let is_form = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == FORM);
    let Ok(Form(form)) = form.map_err(drop).and_then(|form| is_form.then_some(form).ok_or(()))
    else {
        let description =
            "The request body must be of the type 'application/x-www-form-urlencoded'.";
        return Err(Refusal::new("invalid_request", 900_144, description));
    };
    let resource = application.check(&unrepeated(form)?)?;
    let answer = answer(&application.mint.issue(&resource));
    // RFC 6749 §5.1.
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)))
}

impl Application {
    /// Returns the resource that the form asks for, if all of it is right.
    fn check(&self, form: &BTreeMap<String, String>) -> Result<String, Refusal> {
        let is_federated = form.contains_key(ASSERTION[0]);
        let known: &[&str] = if is_federated { &ASSERTION } else { &[SECRET] };
        let unknown = |name: &&String| {
            !PARAMETERS.contains(&name.as_str()) && !known.contains(&name.as_str())
        };
        if let Some(name) = form.keys().find(unknown) {
            let description = format!("The parameter '{name}' is not known.");
            return Err(Refusal::new("invalid_request", 90_100, description));
        }
        let parameter = |name| {
            let description =
                format!("The request body must contain the following parameter: '{name}'.");
            let value = form.get(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| Refusal::new("invalid_request", 900_144, description))
        };
        let [client_id, grant_type, scope] = PARAMETERS.map(parameter);
        if grant_type? != "client_credentials" {
            let description = "The app requested an unsupported grant type.";
            return Err(Refusal::new("unsupported_grant_type", 70_003, description));
        }
        if *client_id? != self.id {
            let description = "The application was not found in the directory.";
            return Err(Refusal::new("unauthorized_client", 700_016, description));
        }
        if is_federated {
            let [assertion, kind] = ASSERTION.map(parameter);
            if kind? != JWT_BEARER {
                let description = "The client assertion type is not supported.";
                return Err(Refusal::new("invalid_request", 50_029, description));
            }
            federated::check(assertion?, &self.credentials.lock())?;
        } else if *parameter(SECRET)? != self.secret {
            let description = "Invalid client secret provided.";
            return Err(Refusal::new("invalid_client", 7_000_215, description).unauthorized());
        }
        let scope = scope?;
        let resource = scope.strip_suffix("/.default").filter(|name| !name.is_empty());
        let description = format!("The provided value for scope {scope} is not valid.");
        let invalid = || Refusal::new("invalid_scope", 1_002_012, description);
        resource.map(str::to_owned).ok_or_else(invalid)
    }
}

fn unrepeated(form: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut parameters = BTreeMap::new();
    for (name, value) in form {
        if parameters.contains_key(&name) {
            let description = format!("The parameter '{name}' is duplicated.");
            return Err(Refusal::new("invalid_request", 90_023, description));
        }
        parameters.insert(name, value);
    }
    Ok(parameters)
}

/// The members that Entra answers; numbers are numbers here.
fn answer(issued: &Issued) -> Value {
    let lifetime = issued.lifetime.as_secs();
    let mut answer = json!({
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": issued.token,
    });
    if let Some(refresh_in) = issued.refresh_in {
        answer["refresh_in"] = refresh_in.as_secs().into();
    }
    answer
}

/// Within the 60 to 90 minutes that Entra gives.
const LIFETIME: Duration = Duration::from_hours(1);

const FORM: &str = "application/x-www-form-urlencoded";

/// What a request must have, beside a secret or an assertion.
const PARAMETERS: [&str; 3] = ["client_id", "grant_type", "scope"];
const SECRET: &str = "client_secret";
/// RFC 7521 §4.2.
const ASSERTION: [&str; 2] = ["client_assertion", "client_assertion_type"];
/// RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
