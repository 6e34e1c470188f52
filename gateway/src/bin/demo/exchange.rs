//! One request to the gateway, and what came back.

use std::time::Duration;

use gateway::Gateway;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The one operation that the demo asks for.
pub(crate) const PATH: &str =
    "/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-10-21";

/// Holds a whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) challenge: Option<String>,
    pub(crate) body: Value,
}

/// Holds a server-sent event, and when it came after the request was sent.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) after: Duration,
    pub(crate) data: String,
}

impl Answer {
    pub(crate) async fn read(response: Response) -> reqwest::Result<Self> {
        let status = response.status().as_u16();
        let challenge = header(&response, "www-authenticate");
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
        Ok(Self { status, challenge, body })
    }

    /// Returns the stable code of a refusal.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("no code")
    }

    /// Returns what the model says.
    pub(crate) fn content(&self) -> &str {
        self.body["choices"][0]["message"]["content"].as_str().unwrap_or_default()
    }
}

impl Frame {
    /// Returns what the frame brings, for people.
    pub(crate) fn summary(&self) -> String {
        let chunk: Value = serde_json::from_str(&self.data).unwrap_or_default();
        match chunk["choices"][0]["delta"]["content"].as_str() {
            Some(content) => content.trim_end().to_owned(),
            None if chunk.is_null() => self.data.clone(),
            None => "(no text)".to_owned(),
        }
    }
}

/// Prepares a chat completion.
pub(crate) fn chat(client: &Client, gateway: &Gateway, stream: bool) -> RequestBuilder {
    let messages = json!([{ "role": "user", "content": "Who holds the key?" }]);
    client
        .post(format!("{}{PATH}", gateway.url()))
        .json(&json!({ "messages": messages, "stream": stream }))
}

/// Reads the frames of a streamed answer as they come.
pub(crate) async fn frames(mut response: Response, sent: Instant) -> reqwest::Result<Vec<Frame>> {
    let (mut frames, mut text) = (Vec::new(), String::new());
    while let Some(chunk) = response.chunk().await? {
        let after = sent.elapsed();
        text += &String::from_utf8_lossy(&chunk);
        while let Some((frame, rest)) = text.split_once("\n\n") {
            let data = frame.trim_start_matches("data:").trim().to_owned();
            frames.push(Frame { after, data });
            text = rest.to_owned();
        }
    }
    Ok(frames)
}

pub(crate) fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}
