//! The control server, for people with curl: mint and rotate, look at what arrived, break and heal.

#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::issuer::Order;
use crate::service::Service;
use crate::{AppService, Fault, Imds, Issuer, OAuth, OpenAi, Recorded};

/// Serves the commands that [`HELP`] lists.
pub(crate) fn router(control: Control) -> Router {
    Router::new()
        .route("/", get(async || HELP))
        .route("/issuer/token", post(token))
        .route("/issuer/rotate", post(rotate))
        .route("/issuer/retire", post(retire))
        .route("/{service}/lifetime", post(lifetime))
        .route("/{service}/requests", get(requests))
        .route("/{service}/fault", post(fault))
        .route("/{service}/heal", post(heal))
        .with_state(control)
}

/// Holds handles on all services.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) issuer: Issuer,
    pub(crate) imds: Imds,
    pub(crate) app_service: AppService,
    pub(crate) oauth: OAuth,
    pub(crate) openai: OpenAi,
}

impl Control {
    fn service(&self, name: Name) -> &Service {
        match name {
            Name::AppService => self.app_service.service(),
            Name::Imds => self.imds.service(),
            Name::Issuer => self.issuer.service(),
            Name::OAuth => self.oauth.service(),
            Name::OpenAi => self.openai.service(),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    AppService,
    Imds,
    Issuer,
    OAuth,
    OpenAi,
}

/// The faults that a person needs, as JSON with a `kind`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "kind")]
enum FaultRequest {
    Changed { members: Map<String, Value> },
    Close,
    Delay { millis: u64 },
    Garbage,
    Giant { bytes: usize },
    Hang,
    Status { status: u16, retry_after: Option<u64> },
    Truncated,
}

impl From<FaultRequest> for Fault {
    fn from(request: FaultRequest) -> Self {
        match request {
            FaultRequest::Changed { members } => Self::Changed(members),
            FaultRequest::Close => Self::Close,
            FaultRequest::Delay { millis } => Self::Delay(Duration::from_millis(millis)),
            FaultRequest::Garbage => Self::Garbage,
            FaultRequest::Giant { bytes } => Self::Giant(bytes),
            FaultRequest::Hang => Self::Hang,
            FaultRequest::Status { status, retry_after: None } => Self::Status(status),
            FaultRequest::Status { status, retry_after: Some(seconds) } => {
                Self::RetryAfter { status, after: Duration::from_secs(seconds) }
            }
            FaultRequest::Truncated => Self::Truncated,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifetime {
    seconds: u32,
}

type Refusal = (StatusCode, String);

async fn token(State(control): State<Control>, body: Bytes) -> Result<String, Refusal> {
    let order = Order::parse(&body).map_err(bad_request)?;
    Ok(control.issuer.fill(&order) + "\n")
}

async fn rotate(State(Control { issuer, .. }): State<Control>) -> String {
    let rotated = issuer.clone();
    // A runtime that is shutting down is the only way for this to fail, and then nobody listens.
    let _ = tokio::task::spawn_blocking(move || rotated.rotate()).await;
    format!("signing with {}\n", issuer.kid())
}

async fn retire(State(Control { issuer, .. }): State<Control>) -> String {
    issuer.retire();
    format!("publishing only {}\n", issuer.kid())
}

async fn lifetime(
    State(control): State<Control>,
    Path(name): Path<Name>,
    body: Bytes,
) -> Result<&'static str, Refusal> {
    let Lifetime { seconds } = parse(&body)?;
    let lifetime = Duration::from_secs(seconds.into());
    match name {
        Name::AppService => control.app_service.set_lifetime(lifetime),
        Name::Imds => control.imds.set_lifetime(lifetime),
        Name::OAuth => control.oauth.set_lifetime(lifetime),
        Name::Issuer | Name::OpenAi => {
            let text = "this service issues no tokens to the gateway\n";
            return Err((StatusCode::BAD_REQUEST, text.to_owned()));
        }
    }
    Ok("set\n")
}

async fn requests(State(control): State<Control>, Path(name): Path<Name>) -> Json<Vec<Value>> {
    Json(control.service(name).requests().iter().map(summary).collect())
}

async fn fault(
    State(control): State<Control>,
    Path(name): Path<Name>,
    body: Bytes,
) -> Result<&'static str, Refusal> {
    let request: FaultRequest = parse(&body)?;
    control.service(name).fault(request.into());
    Ok("broken\n")
}

async fn heal(State(control): State<Control>, Path(name): Path<Name>) -> &'static str {
    control.service(name).heal();
    "healed\n"
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(bad_request)
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes the error by value")]
fn bad_request(error: serde_json::Error) -> Refusal {
    (StatusCode::BAD_REQUEST, format!("{error}\n"))
}

/// Shows a request without its body, with credentials too short to be of use; the values of a
/// repeated header are joined by a comma.
fn summary(request: &Recorded) -> Value {
    let mut headers = Map::new();
    for (name, value) in &request.headers {
        let value = shown(name, &String::from_utf8_lossy(value));
        match headers.get(name).and_then(Value::as_str) {
            Some(earlier) => headers.insert(name.clone(), format!("{earlier}, {value}").into()),
            None => headers.insert(name.clone(), value.into()),
        };
    }
    json!({ "method": request.method, "target": request.target, "headers": headers })
}

fn shown(name: &str, value: &str) -> String {
    if !CREDENTIALS.contains(&name) {
        return value.to_owned();
    }
    let start = value.find(' ').map_or(0, |space| space + 1);
    let (scheme, credential) = value.split_at(start);
    let beginning: String = credential.chars().take(12).collect();
    format!("{scheme}{beginning}…")
}

/// The headers whose values are shortened.
const CREDENTIALS: [&str; 4] =
    ["api-key", "authorization", "ocp-apim-subscription-key", "x-identity-header"];

const HELP: &str = r#"Local Azure. {service} is one of issuer, imds, appservice, oauth, openai.

POST /issuer/token        a caller's token, as text; optional body:
                          {"claims": {"scp": null, "roles": ["ChatUser"]}, "header": {"typ": "at+jwt"}}
POST /issuer/rotate       signs with a new key; the old one stays published
POST /issuer/retire       publishes only the present key
POST /{service}/lifetime  {"seconds": 600}: of the tokens that imds, appservice or oauth issues from now on
GET  /{service}/requests  what arrived, credentials shortened
POST /{service}/fault     until healed, one of:
                          {"kind": "status", "status": 503}
                          {"kind": "status", "status": 429, "retry_after": 10}
                          {"kind": "delay", "millis": 2000}
                          {"kind": "changed", "members": {"token_type": "pop", "expires_on": null}}
                          {"kind": "garbage"}
                          {"kind": "giant", "bytes": 2000000}
                          {"kind": "truncated"}
                          {"kind": "hang"}
                          {"kind": "close"}
POST /{service}/heal      answers honestly again
"#;
