//! Azure OpenAI: any deployment, chat (whole or streamed), embeddings and realtime, under both
//! interfaces, and batches.
//!
//! Local authentication is disabled, as Microsoft recommends: an API key is refused, and so is
//! every bearer token but those that [`Imds`] issued for the one right resource.

mod answer;
mod batches;
mod realtime;
mod request;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use uuid::Uuid;

use crate::service::{Service, serve};
use crate::{Imds, Options};
use answer::Completion;
use request::{ChatRequest, EmbeddingsRequest, parse};

/// Plays an Azure OpenAI resource; clones are handles on the same one.
///
/// It answers for any deployment, under `/openai/deployments/{deployment}/…` (with an
/// `api-version`) and `/openai/v1/…` (with a `model`), over a WebSocket under `/openai/realtime` and
/// `/openai/v1/realtime`, and to anybody on `GET /healthz`.
#[derive(Clone)]
pub struct OpenAi {
    backend: Arc<Backend>,
    service: Service,
}

serve!(OpenAi);

impl OpenAi {
    /// Starts a resource on `options.ports.openai` that accepts what `imds` issues for
    /// `options.resource`.
    ///
    /// # Errors
    /// Fails when the port cannot be bound.
    pub async fn start(options: &Options, imds: Imds) -> io::Result<Self> {
        let backend = Arc::new(Backend {
            chunk_delay: Mutex::new(CHUNK_DELAY),
            imds,
            kept: batches::Kept::default(),
            produced: AtomicUsize::default(),
            refusals: AtomicUsize::default(),
            resource: options.resource.clone(),
        });
        let service = Service::start(router(&backend), options.at(options.ports.openai)).await?;
        Ok(Self { backend, service })
    }

    /// Sets the pause between the frames of answers streamed from now on. Default: 50 ms.
    pub fn set_chunk_delay(&self, delay: Duration) {
        *self.backend.chunk_delay.lock() = delay;
    }

    /// Returns how many tokens its chat answers have had so far; of a stream that was cut off, those
    /// that it had sent by then.
    pub fn produced(&self) -> usize {
        self.backend.produced.load(Ordering::Relaxed)
    }

    /// Returns how many requests it has refused because of their credential: no token, one of nobody
    /// it knows, one for another resource, one that has expired.
    pub fn refusals(&self) -> usize {
        self.backend.refusals.load(Ordering::Relaxed)
    }

    /// Returns the service itself, for the control server.
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = &self.backend.resource;
        f.debug_struct("OpenAi")
            .field("resource", resource)
            .field("service", &self.service)
            .finish()
    }
}

struct Backend {
    chunk_delay: Mutex<Duration>,
    imds: Imds,
    kept: batches::Kept,
    produced: AtomicUsize,
    refusals: AtomicUsize,
    resource: String,
}

/// Refuses a request as Azure OpenAI does: `{"error": {"code": …, "message": …}}`.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, message: "Resource not found".into() }
    }

    fn unauthorized(resource: &str) -> Self {
        let message = format!(
            "Access token is missing, invalid, audience is incorrect ({resource}), or have expired."
        );
        Self { status: StatusCode::UNAUTHORIZED, message }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.status.as_str();
        let body = json!({ "error": { "code": code, "message": self.message } });
        (self.status, Json(body)).into_response()
    }
}

fn router(backend: &Arc<Backend>) -> Router {
    let by_path = Router::new()
        .route("/openai/deployments/{deployment}/chat/completions", post(chat))
        .route("/openai/deployments/{deployment}/embeddings", post(embeddings))
        .route("/openai/models", get(models))
        .route("/openai/realtime", get(realtime::open))
        .route_layer(middleware::from_fn(require_api_version));
    let by_model = Router::new()
        .route("/openai/v1/chat/completions", post(chat))
        .route("/openai/v1/embeddings", post(embeddings))
        .route("/openai/v1/models", get(models))
        .route("/openai/v1/realtime", get(realtime::open));
    by_path
        .merge(by_model)
        .merge(batches::router())
        .route_layer(middleware::from_fn_with_state(Arc::clone(backend), authenticate))
        .route("/healthz", get(async || "ok"))
        .method_not_allowed_fallback(async || Refusal::not_found())
        .fallback(async || Refusal::not_found())
        .layer(middleware::map_response(sign))
        .with_state(Arc::clone(backend))
}

async fn authenticate(
    State(backend): State<Arc<Backend>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let token = bearer(request.headers());
    if !token.is_some_and(|token| backend.imds.accepts(token, &backend.resource)) {
        backend.refusals.fetch_add(1, Ordering::Relaxed);
        return Err(Refusal::unauthorized(&backend.resource));
    }
    Ok(next.run(request).await)
}

/// Finds the one bearer token (RFC 6750, section 2.1) that comes without any key.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    if KEYS.iter().any(|key| headers.contains_key(*key)) {
        return None;
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

async fn require_api_version(
    Query(query): Query<Vec<(String, String)>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if !query.iter().any(|(name, value)| name == "api-version" && !value.is_empty()) {
        return Err(Refusal::not_found());
    }
    Ok(next.run(request).await)
}

async fn chat(
    State(backend): State<Arc<Backend>>,
    path: Option<Path<String>>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let request: ChatRequest = parse(&body)?;
    let deployment = deployment(path, request.model.clone())?;
    let completion = Completion::new(deployment, &request.messages);
    if !request.stream {
        backend.produced.fetch_add(Completion::tokens(), Ordering::Relaxed);
        return Ok(Json(completion.whole()).into_response());
    }
    let frames = completion.frames(request.includes_usage());
    let delay = *backend.chunk_delay.lock();
    let events = tokio_stream::iter(frames).map(move |frame| {
        backend.produced.fetch_add(frame.tokens, Ordering::Relaxed);
        Ok::<_, Infallible>(Event::default().data(frame.data))
    });
    Ok(Sse::new(events.throttle(delay)).into_response())
}

async fn embeddings(path: Option<Path<String>>, body: Bytes) -> Result<Json<Value>, Refusal> {
    let request: EmbeddingsRequest = parse(&body)?;
    let deployment = deployment(path, request.model.clone())?;
    Ok(Json(answer::embeddings(&deployment, &request.input)))
}

/// Lists one of the models, which is enough for who only wants to see that the list comes.
async fn models() -> Json<Value> {
    let model =
        json!({ "id": "gpt-4o-mini", "object": "model", "created": 0, "owned_by": "openai" });
    Json(json!({ "object": "list", "data": [model] }))
}

/// Takes the deployment's name from the path, or under `/openai/v1/` from the body's `model`.
fn deployment(path: Option<Path<String>>, model: Option<String>) -> Result<String, Refusal> {
    let missing = || Refusal::bad_request("you must provide a model parameter");
    path.map(|Path(deployment)| deployment).or(model).ok_or_else(missing)
}

/// Adds the headers by which Azure is recognised.
async fn sign(response: Response) -> impl IntoResponse {
    let headers = [
        ("apim-request-id", Uuid::new_v4().to_string()),
        ("x-ms-region", "Sweden Central".to_owned()),
        ("x-ratelimit-remaining-requests", "249".to_owned()),
    ];
    (headers, response)
}

const CHUNK_DELAY: Duration = Duration::from_millis(50);

/// The headers that would carry a key.
const KEYS: [&str; 2] = ["api-key", "ocp-apim-subscription-key"];
