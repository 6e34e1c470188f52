//! The token that an application gets for its secret, to call the gateway with (RFC 6749 §4.4).

use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Knows the one application that has a secret, and what it may do.
pub(super) struct Application {
    pub(super) client_id: String,
    pub(super) client_secret: String,
}

/// Refuses a request (RFC 6749 §5.2).
pub(super) struct Refusal(StatusCode, &'static str);

impl Refusal {
    fn invalid_request() -> Self {
        Self(StatusCode::BAD_REQUEST, "invalid_request")
    }
}

impl From<FormRejection> for Refusal {
    fn from(_: FormRejection) -> Self {
        Self::invalid_request()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl Application {
    /// Returns what the claims of its token are besides the usual ones: an application has no scopes but
    /// roles, and is its own subject.
    pub(super) fn claims(&self, form: &[(String, String)]) -> Result<Value, Refusal> {
        let parameter = |name: &str| {
            let mut found = form.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
            match (found.next(), found.next()) {
                (Some(value), None) => Ok(value.as_str()),
                _ => Err(Refusal::invalid_request()),
            }
        };
        if parameter("grant_type")? != "client_credentials" {
            return Err(Refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type"));
        }
        let credentials = (parameter("client_id")?, parameter("client_secret")?);
        if credentials != (self.client_id.as_str(), self.client_secret.as_str()) {
            return Err(Refusal(StatusCode::UNAUTHORIZED, "invalid_client"));
        }
        let scope = parameter("scope")?;
        let Some(audience) = scope.strip_suffix("/.default") else {
            return Err(Refusal(StatusCode::BAD_REQUEST, "invalid_scope"));
        };
        Ok(json!({
            "aud": audience, "azp": self.client_id, "oid": PRINCIPAL, "sub": PRINCIPAL,
            "roles": ROLES, "scp": null,
        }))
    }
}

/// The service principal of the application in its tenant.
const PRINCIPAL: &str = "9d1f6c2a-7b3e-4f58-a0c4-2e8b5d917f36";

/// The app roles that an administrator has granted to it.
const ROLES: [&str; 2] = ["OpenAI.Chat", "OpenAI.Files"];
