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
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::Options;
use crate::mint::{Mint, issues};
use crate::service::{Service, serve};
use request::TokenRequest;

/// Plays the managed-identity endpoint of a virtual machine; clones are handles on the same one.
///
/// Unlike the real one it issues a new token for every request, so that fetches can be distinguished.
/// Tokens are good for 24 h unless told otherwise.
#[derive(Clone)]
pub struct Imds {
    mint: Mint,
    service: Service,
}

serve!(Imds);
issues!(Imds);

impl Imds {
    /// Starts an IMDS on `options.ports.imds`.
    ///
    /// # Errors
    /// Fails when the port cannot be bound.
    pub async fn start(options: &Options) -> io::Result<Self> {
        let mint = Mint::new("imds", LIFETIME);
        let router = Router::new()
            .route(PATH, get(token))
            .route(&format!("{PATH}/"), get(token)) // as Azure's SDK for Node.js asks a stand-in
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found)
            .with_state(mint.clone());
        let service = Service::start(router, options.at(options.ports.imds)).await?;
        Ok(Self { mint, service })
    }

    /// Returns true if it, or a service that was started beside it, issued `token` for exactly this
    /// `resource`, and the token has not expired.
    pub fn accepts(&self, token: &str, resource: &str) -> bool {
        self.mint.accepts(token, resource)
    }

    /// Returns its mint, for services beside it.
    pub(crate) fn mint(&self) -> &Mint {
        &self.mint
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

/// Issues a token and returns the answer that carries it; every member is a string.
fn answer(mint: &Mint, request: &TokenRequest) -> Value {
    let issued = mint.issue(&request.resource);
    let mut answer = json!({
        "access_token": issued.token,
        "client_id": request.client_id,
        "expires_in": issued.lifetime.as_secs().to_string(),
        "expires_on": issued.expires_on.to_string(),
        "not_before": issued.not_before.to_string(),
        "refresh_token": "",
        "resource": request.resource,
        "token_type": "Bearer",
    });
    if let Some(refresh_in) = issued.refresh_in {
        answer["refresh_in"] = refresh_in.as_secs().to_string().into();
    }
    answer
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
    State(mint): State<Mint>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Refusal> {
    let request = TokenRequest::parse(&headers, query)?;
    Ok(Json(answer(&mint, &request)))
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

const PATH: &str = "/metadata/identity/oauth2/token";
