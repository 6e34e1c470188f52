//! The token endpoint of App Service and Container Apps, which a request reaches at the address in
//! `IDENTITY_ENDPOINT` and enters with the value of `IDENTITY_HEADER`.
//!
//! Source: Microsoft, "How to use managed identities for App Service and Azure Functions", REST
//! endpoint reference. The texts of its errors are not documented.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::mint::{Issued, Mint, issues};
use crate::service::{Service, serve};
use crate::{Imds, Options};

/// Plays the managed-identity endpoint of an application; clones are handles on the same one.
///
/// Tokens are good for 24 h unless told otherwise.
#[derive(Clone)]
pub struct AppService {
    header: String,
    mint: Mint,
    service: Service,
}

serve!(AppService);
issues!(AppService);

impl AppService {
    /// Starts an endpoint on `options.ports.app_service`, whose tokens [`Imds::accepts`] knows, too.
    ///
    /// # Errors
    /// Fails when the port cannot be bound.
    pub async fn start(options: &Options, beside: &Imds) -> io::Result<Self> {
        let mint = beside.mint().beside("app_service", LIFETIME);
        let header = options.identity_header.clone();
        let platform = Platform { header: header.clone(), mint: mint.clone() };
        let router = Router::new()
            .route(PATH, get(token))
            .fallback(async || Refusal(StatusCode::NOT_FOUND, "Not found".to_owned()))
            .with_state(platform);
        let service = Service::start(router, options.at(options.ports.app_service)).await?;
        Ok(Self { header, mint, service })
    }

    /// Returns what the platform puts into `IDENTITY_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}{PATH}", self.address())
    }

    /// Returns what the platform puts into `IDENTITY_HEADER`.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Returns the service itself, for the control server.
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }
}

impl fmt::Debug for AppService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppService").field("service", &self.service).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Platform {
    header: String,
    mint: Mint,
}

/// Refuses a request: `{"statusCode": …, "message": …, "correlationId": …}`.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad_request(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        let correlation = Uuid::new_v4().to_string();
        let body = json!({
            "statusCode": status.as_u16(), "message": message, "correlationId": correlation
        });
        (status, Json(body)).into_response()
    }
}

async fn token(
    State(platform): State<Platform>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Refusal> {
    check_headers(&platform, &headers)?;
    let query = unrepeated(query)?;
    let unknown = query.keys().find(|name| !PARAMETERS.contains(&name.as_str()));
    if let Some(name) = unknown {
        return Err(Refusal::bad_request(format!("The parameter {name} is not known")));
    }
    if query.get("api-version").is_none_or(|version| version != "2019-08-01") {
        return Err(Refusal::bad_request("The api-version is missing or not supported"));
    }
    let resource = query.get("resource").filter(|resource| !resource.is_empty());
    let resource = resource.ok_or_else(|| Refusal::bad_request("The resource is missing"))?;
    let client_id = client_id(&query)?;
    Ok(Json(answer(&platform.mint.issue(resource), &client_id)))
}

/// Demands what keeps server-side request forgery out.
fn check_headers(platform: &Platform, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all("x-identity-header").iter();
    let is_right =
        matches!((values.next(), values.next()), (Some(value), None) if *value == *platform.header);
    if !is_right {
        let message = "The X-IDENTITY-HEADER is missing or wrong".to_owned();
        return Err(Refusal(StatusCode::UNAUTHORIZED, message));
    }
    if headers.contains_key("x-forwarded-for") {
        return Err(Refusal::bad_request("X-Forwarded-For header is not allowed"));
    }
    Ok(())
}

type Parameters = BTreeMap<String, String>;

fn unrepeated(query: Vec<(String, String)>) -> Result<Parameters, Refusal> {
    let mut parameters = Parameters::new();
    for (name, value) in query {
        if parameters.contains_key(&name) {
            return Err(Refusal::bad_request(format!("The parameter {name} is repeated")));
        }
        parameters.insert(name, value);
    }
    Ok(parameters)
}

/// Finds the client id of the identity that the request selects; any well-formed one exists here.
fn client_id(query: &Parameters) -> Result<String, Refusal> {
    let selected: Vec<_> =
        SELECTORS.iter().filter_map(|name| Some((*name, query.get(*name)?))).collect();
    let is_guid = |id: &str| Uuid::try_parse(id).is_ok();
    match selected[..] {
        [] => Ok(SYSTEM_ASSIGNED.to_owned()),
        [("client_id", id)] if is_guid(id) => Ok(id.clone()),
        [("principal_id", id)] if is_guid(id) => Ok(USER_ASSIGNED.to_owned()),
        [("mi_res_id", id)] if id.starts_with("/subscriptions/") => Ok(USER_ASSIGNED.to_owned()),
        [_] => Err(Refusal::bad_request(
            "No User Assigned or Delegated Managed Identity found for specified \
             ClientId/ResourceId/PrincipalId.",
        )),
        _ => Err(Refusal::bad_request("Only one identity may be selected")),
    }
}

/// The documented members: no `expires_in`, and `expires_on` as a string.
fn answer(issued: &Issued, client_id: &str) -> Value {
    let mut answer = json!({
        "access_token": issued.token,
        "client_id": client_id,
        "expires_on": issued.expires_on.to_string(),
        "resource": issued.resource,
        "token_type": "Bearer",
    });
    if let Some(refresh_in) = issued.refresh_in {
        answer["refresh_in"] = refresh_in.as_secs().to_string().into();
    }
    answer
}

/// What Azure gives a managed identity.
const LIFETIME: Duration = Duration::from_hours(24);

/// Where Container Apps has it.
const PATH: &str = "/msi/token";

const PARAMETERS: [&str; 5] = ["api-version", "client_id", "mi_res_id", "principal_id", "resource"];
const SELECTORS: [&str; 3] = ["client_id", "mi_res_id", "principal_id"];

const SYSTEM_ASSIGNED: &str = "b7d0c5a1-3e62-4f48-9d17-5c8a0e94f2b3";
const USER_ASSIGNED: &str = "d2f6b8e0-71a9-4c35-8e04-96b1c7a5d3f8";
