//! The Azure Instance Metadata Service, as far as it issues tokens of managed identities, and as
//! strict as the real one.
//!
//! Source: Microsoft, "How to use managed identities for Azure resources on an Azure VM to acquire
//! an access token".

mod request;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::service::{Service, serve};
use crate::{Options, clock};
use request::TokenRequest;

/// Plays the managed-identity endpoint of a virtual machine; clones are handles on the same one.
///
/// Unlike the real one it issues a new token for every request, so that fetches can be told apart.
#[derive(Clone)]
pub struct Imds {
    ledger: Arc<Mutex<Ledger>>,
    service: Service,
}

serve!(Imds);

impl Imds {
    /// Starts an IMDS on `options.ports.imds`.
    ///
    /// # Errors
    /// Fails when the port cannot be bound.
    pub async fn start(options: &Options) -> io::Result<Self> {
        let ledger = Arc::new(Mutex::new(Ledger {
            issued: Vec::new(),
            lifetime: LIFETIME,
            refresh_in: None,
        }));
        let router = Router::new()
            .route(PATH, get(token))
            .route(&format!("{PATH}/"), get(token)) // as Azure's SDK for Node.js asks a stand-in
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found)
            .with_state(Arc::clone(&ledger));
        let service = Service::start(router, options.at(options.ports.imds)).await?;
        Ok(Self { ledger, service })
    }

    /// Sets how long tokens issued from now on are good for. Answers name it in whole seconds.
    /// Default: 24 h.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.ledger.lock().lifetime = lifetime;
    }

    /// Sets the `refresh_in` of tokens issued from now on, in whole seconds. Default: none.
    pub fn set_refresh_in(&self, refresh_in: Option<Duration>) {
        self.ledger.lock().refresh_in = refresh_in;
    }

    /// Returns the access tokens that it has issued, oldest first.
    pub fn issued(&self) -> Vec<String> {
        self.ledger.lock().issued.iter().map(|issued| issued.token.clone()).collect()
    }

    /// Returns true if it issued `token` for exactly this `resource`, and the token has not
    /// expired.
    pub fn accepts(&self, token: &str, resource: &str) -> bool {
        let now = SystemTime::now();
        let ledger = self.ledger.lock();
        // Newest first: that is the one in use.
        let issued = ledger.issued.iter().rev().find(|issued| issued.token == token);
        issued.is_some_and(|issued| issued.resource == resource && now < issued.expires)
    }

    /// Returns the service itself, for the control server.
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }
}

impl fmt::Debug for Imds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imds").field("service", &self.service).finish_non_exhaustive()
    }
}

struct Ledger {
    issued: Vec<Issued>,
    lifetime: Duration,
    refresh_in: Option<Duration>,
}

struct Issued {
    expires: SystemTime,
    resource: String,
    token: String,
}

impl Ledger {
    /// Issues a token and returns the answer that carries it; every member is a string.
    fn issue(&mut self, request: TokenRequest) -> Value {
        let now = SystemTime::now();
        let expires = now + self.lifetime;
        let (not_before, expires_on) = (clock::seconds(now), clock::seconds(expires));
        let token = access_token(&request.resource, not_before, expires_on);
        let mut answer = json!({
            "access_token": token,
            "client_id": request.client_id,
            "expires_in": self.lifetime.as_secs().to_string(),
            "expires_on": expires_on.to_string(),
            "not_before": not_before.to_string(),
            "refresh_token": "",
            "resource": request.resource,
            "token_type": "Bearer",
        });
        if let Some(refresh_in) = self.refresh_in {
            answer["refresh_in"] = refresh_in.as_secs().to_string().into();
        }
        self.issued.push(Issued { expires, resource: request.resource, token });
        answer
    }
}

/// Makes what looks like a token of Entra. Nobody can verify it, and nobody should: to the gateway
/// the backend's token is opaque.
fn access_token(resource: &str, not_before: u64, expires_on: u64) -> String {
    let uti = Uuid::new_v4().to_string();
    let claims = json!({ "aud": resource, "nbf": not_before, "exp": expires_on, "uti": uti });
    let claims = claims.to_string();
    let signature: [u8; 256] = rand::random();
    let parts = [HEADER.as_bytes(), claims.as_bytes(), &signature];
    parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// Refuses a request as IMDS does: `{"error": …, "error_description": …}`.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "error_description": self.description });
        (self.status, Json(body)).into_response()
    }
}

async fn token(
    State(ledger): State<Arc<Mutex<Ledger>>>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Refusal> {
    let request = TokenRequest::parse(&headers, query)?;
    Ok(Json(ledger.lock().issue(request)))
}

async fn method_not_allowed() -> Refusal {
    Refusal {
        status: StatusCode::METHOD_NOT_ALLOWED,
        error: "method_not_allowed",
        description: "The method is not allowed for this endpoint".into(),
    }
}

async fn not_found() -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        error: "not_found",
        description: "The requested endpoint does not exist".into(),
    }
}

/// What Azure gives a managed identity.
const LIFETIME: Duration = Duration::from_hours(24);

/// The header of an unmistakable token: it begins with `eyJ0eXAi`.
const HEADER: &str = r#"{"typ":"JWT","alg":"RS256"}"#;

const PATH: &str = "/metadata/identity/oauth2/token";
