//! What a model says, in Azure's shapes: whole, in frames, or as a vector.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock;

/// Holds one chat answer, to be given whole or in frames.
pub(super) struct Completion {
    created: u64,
    deployment: String,
    id: String,
    prompt_tokens: usize,
}

/// Holds the data of one server-sent event of an answer.
pub(super) struct Frame {
    pub(super) data: String,
    /// How many tokens of the answer are in it.
    pub(super) tokens: usize,
}

impl Completion {
    pub(super) fn new(deployment: String, messages: &[Value]) -> Self {
        Self {
            created: clock::now(),
            deployment,
            id: format!("chatcmpl-{}", Uuid::new_v4().simple()),
            prompt_tokens: messages.iter().map(tokens).sum(),
        }
    }

    /// Returns the answer as one document.
    pub(super) fn whole(&self) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.deployment,
            "prompt_filter_results": prompt_filter_results(),
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": CONTENT },
                "finish_reason": "stop",
                "content_filter_results": content_filter_results(),
            }],
            "usage": self.usage(),
        })
    }

    /// Returns the data of each server-sent event, up to and including `[DONE]`.
    ///
    /// The first has no choices, only the filter's opinion of the prompt, and no id; it must not be
    /// taken for the usage frame, which comes last and only if asked for.
    pub(super) fn frames(&self, include_usage: bool) -> Vec<Frame> {
        let mut frames = vec![filter_frame(), self.chunk(&json!({ "role": "assistant" }), None)];
        let words = CONTENT.split_inclusive(' ');
        frames.extend(words.map(|word| self.chunk(&json!({ "content": word }), None)));
        frames.push(self.chunk(&json!({}), Some("stop")));
        if include_usage {
            for frame in &mut frames {
                frame["usage"] = Value::Null;
            }
            let mut last = self.frame(&json!([]));
            last["usage"] = self.usage();
            frames.push(last);
        }
        let frame = |frame: &Value| Frame {
            data: frame.to_string(),
            tokens: frame["choices"][0]["delta"]["content"].is_string().into(),
        };
        let done = Frame { data: "[DONE]".to_owned(), tokens: 0 };
        frames.iter().map(frame).chain([done]).collect()
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        let filtered =
            if delta["content"].is_null() { json!({}) } else { content_filter_results() };
        let choice = json!({
            "index": 0,
            "delta": delta,
            "finish_reason": finish_reason,
            "content_filter_results": filtered,
        });
        self.frame(&json!([choice]))
    }

    fn frame(&self, choices: &Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.deployment,
            "choices": choices,
        })
    }

    /// Returns how many tokens the whole answer has.
    pub(super) fn tokens() -> usize {
        CONTENT.split(' ').count()
    }

    fn usage(&self) -> Value {
        let completion_tokens = Self::tokens();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        })
    }
}

/// Returns one small vector for each input, always the same.
pub(super) fn embeddings(deployment: &str, input: &Value) -> Value {
    let inputs = input.as_array().map_or(1, Vec::len);
    let vector = |index| json!({ "object": "embedding", "index": index, "embedding": VECTOR });
    let prompt_tokens = tokens(input);
    json!({
        "object": "list",
        "data": (0..inputs).map(vector).collect::<Vec<_>>(),
        "model": deployment,
        "usage": { "prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens },
    })
}

fn filter_frame() -> Value {
    json!({
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [],
        "prompt_filter_results": prompt_filter_results(),
    })
}

fn prompt_filter_results() -> Value {
    json!([{ "prompt_index": 0, "content_filter_results": content_filter_results() }])
}

fn content_filter_results() -> Value {
    let safe = json!({ "filtered": false, "severity": "safe" });
    json!({ "hate": safe, "self_harm": safe, "sexual": safe, "violence": safe })
}

/// Estimates as everybody does: a token is four characters.
fn tokens(text: &Value) -> usize {
    text.to_string().len().div_ceil(4)
}

const CONTENT: &str = "Hello from the far side of the gateway.";

const VECTOR: [f32; 4] = [0.25, -0.5, 0.125, 0.75];
