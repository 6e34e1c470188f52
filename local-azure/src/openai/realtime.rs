//! The realtime API: a WebSocket that begins with `session.created` and says again what it hears.

use axum::extract::Query;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::Refusal;

/// Names the model: `deployment` in Azure's own interface, `model` under `/openai/v1/`.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    #[serde(alias = "deployment")]
    model: Option<String>,
}

/// Opens a session, with the subprotocol `realtime` where the client offers it.
pub(super) async fn open(
    Query(Named { model }): Query<Named>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let missing = || Refusal::bad_request("you must provide a model parameter");
    let model = model.ok_or_else(missing)?;
    Ok(upgrade.protocols(["realtime"]).on_upgrade(|socket| converse(socket, model)))
}

/// Ends when the client does.
async fn converse(mut socket: WebSocket, model: String) {
    let created = json!({ "type": "session.created", "session": { "model": model } });
    let mut next = Some(Message::Text(created.to_string().into()));
    while let Some(message) = next.take() {
        if socket.send(message).await.is_err() {
            return;
        }
        next = loop {
            match socket.recv().await {
                Some(Ok(said @ (Message::Text(_) | Message::Binary(_)))) => break Some(said),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            }
        };
    }
}
