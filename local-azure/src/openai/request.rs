//! What callers send, as far as the answer depends on it. Other members are ignored.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Refusal;

#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    #[serde(default)]
    pub(super) messages: Vec<Value>,
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) stream: bool,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl ChatRequest {
    pub(super) fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct EmbeddingsRequest {
    #[serde(default)]
    pub(super) input: Value,
    pub(super) model: Option<String>,
}

/// Reads a JSON body, whatever its content type.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("could not parse the JSON body: {error}")))
}
