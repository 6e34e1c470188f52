//! Files and batches, under `/openai/v1/` alone: a batch has ended when it is asked about a second time.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::Multipart;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Completion;
use super::request::{ChatRequest, parse};
use super::{Backend, Refusal};
use crate::clock;

/// Keeps what was uploaded and ordered.
#[derive(Default)]
pub(super) struct Kept {
    batches: Mutex<BTreeMap<String, Value>>,
    files: Mutex<BTreeMap<String, Bytes>>,
}

/// Asks for a batch.
#[derive(Deserialize)]
struct Order {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
}

/// Holds one line of a file.
#[derive(Deserialize)]
struct Line {
    custom_id: String,
    body: Value,
}

pub(super) fn router() -> Router<Arc<Backend>> {
    Router::new()
        .route("/openai/v1/files", post(upload))
        .route("/openai/v1/files/{id}/content", get(content))
        .route("/openai/v1/batches", post(create))
        .route("/openai/v1/batches/{id}", get(look))
}

async fn upload(
    State(backend): State<Arc<Backend>>,
    mut form: Multipart,
) -> Result<Json<Value>, Refusal> {
    let (mut file, mut purpose) = (None, None);
    let unreadable = |_| Refusal::bad_request("could not read the form");
    while let Some(field) = form.next_field().await.map_err(unreadable)? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(unreadable)?;
        match name.as_str() {
            "file" => file = Some(bytes),
            "purpose" => purpose = Some(bytes),
            _ => {}
        }
    }
    let (Some(file), Some(b"batch")) = (file, purpose.as_deref()) else {
        return Err(Refusal::bad_request("a file and the purpose 'batch' are required"));
    };
    let bytes = file.len();
    let id = backend.kept.store(file);
    let uploaded = json!({
        "id": id, "object": "file", "purpose": "batch", "bytes": bytes, "created_at": clock::now(),
        "status": "processed",
    });
    Ok(Json(uploaded))
}

async fn content(
    State(backend): State<Arc<Backend>>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Refusal> {
    let file = backend.kept.file(&id)?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], file))
}

async fn create(State(backend): State<Arc<Backend>>, body: Bytes) -> Result<Json<Value>, Refusal> {
    let order: Order = parse(&body)?;
    if order.completion_window != "24h" || order.endpoint != "/v1/chat/completions" {
        return Err(Refusal::bad_request("no such endpoint, or no such window"));
    }
    backend.kept.file(&order.input_file_id)?;
    let id = format!("batch_{}", Uuid::new_v4());
    let batch = json!({
        "id": id, "object": "batch", "endpoint": order.endpoint, "status": "validating",
        "input_file_id": order.input_file_id, "completion_window": "24h",
        "created_at": clock::now(), "output_file_id": null, "error_file_id": null,
    });
    backend.kept.batches.lock().insert(id, batch.clone());
    Ok(Json(batch))
}

async fn look(
    State(backend): State<Arc<Backend>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let mut batches = backend.kept.batches.lock();
    let batch = batches.get_mut(&id).ok_or_else(Refusal::not_found)?;
    match batch["status"].as_str() {
        Some("validating") => batch["status"] = "in_progress".into(),
        Some("in_progress") => {
            let input = backend.kept.file(batch["input_file_id"].as_str().unwrap_or_default())?;
            batch["output_file_id"] = backend.kept.store(answers(&input)?.into()).into();
            batch["status"] = "completed".into();
        }
        _ => {}
    }
    Ok(Json(batch.clone()))
}

/// Answers each line of a file with a line.
fn answers(file: &[u8]) -> Result<String, Refusal> {
    let mut answers = String::new();
    for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line = parse(line)?;
        let request: ChatRequest = parse(line.body.to_string().as_bytes())?;
        let completion = Completion::new(request.model.unwrap_or_default(), &request.messages);
        let response = json!({
            "status_code": 200, "request_id": Uuid::new_v4().to_string(), "body": completion.whole(),
        });
        let answer = json!({ "custom_id": line.custom_id, "response": response, "error": null });
        answers += &answer.to_string();
        answers.push('\n');
    }
    Ok(answers)
}

impl Kept {
    fn store(&self, file: Bytes) -> String {
        let id = format!("file-{}", Uuid::new_v4().simple());
        self.files.lock().insert(id.clone(), file);
        id
    }

    fn file(&self, id: &str) -> Result<Bytes, Refusal> {
        self.files.lock().get(id).cloned().ok_or_else(Refusal::not_found)
    }
}
