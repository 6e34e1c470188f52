//! What people call of Azure OpenAI and Foundry: the shipped configuration lets all of it through to
//! those with the scope for it, and says of anything else which route is nearest.

use reqwest::Method;
use serde_json::json;

use testkit::reply::{Refusal, Reply};
use testkit::world::{World, values};

/// Method, target, the route of keyless, and the part of the scope after `openai.`.
const CALLS: [(&str, &str, &str, &str); 38] = [
    ("POST", "/openai/deployments/d/chat/completions?api-version=1", "chat", "chat"),
    ("POST", "/openai/deployments/d/completions?api-version=1", "chat", "chat"),
    ("POST", "/openai/v1/chat/completions", "chat-v1", "chat"),
    ("POST", "/openai/v1/completions", "chat-v1", "chat"),
    ("POST", "/openai/responses?api-version=1", "responses", "chat"),
    ("POST", "/openai/v1/responses", "responses", "chat"),
    ("GET", "/openai/v1/responses/resp_1?stream=true", "responses", "chat"),
    ("DELETE", "/openai/v1/responses/resp_1", "responses", "chat"),
    ("POST", "/openai/v1/responses/resp_1/cancel", "responses", "chat"),
    ("GET", "/openai/v1/responses/resp_1/input_items", "responses", "chat"),
    ("GET", "/openai/responses/resp_1?api-version=1", "responses", "chat"),
    ("POST", "/openai/deployments/d/embeddings?api-version=1", "embeddings", "embeddings"),
    ("POST", "/openai/v1/embeddings", "embeddings-v1", "embeddings"),
    ("POST", "/openai/deployments/d/images/generations?api-version=1", "images", "images"),
    ("POST", "/openai/v1/images/generations", "images-v1", "images"),
    ("POST", "/openai/v1/images/edits", "images-v1", "images"),
    ("POST", "/openai/deployments/d/audio/speech?api-version=1", "audio", "audio"),
    ("POST", "/openai/deployments/d/audio/transcriptions?api-version=1", "audio", "audio"),
    ("POST", "/openai/deployments/d/audio/translations?api-version=1", "audio", "audio"),
    ("POST", "/openai/v1/audio/speech", "audio-v1", "audio"),
    ("POST", "/openai/v1/audio/transcriptions", "audio-v1", "audio"),
    ("GET", "/openai/models?api-version=1", "models", "chat"),
    ("GET", "/openai/v1/models", "models", "chat"),
    ("GET", "/openai/v1/models/gpt-4o", "models", "chat"),
    ("GET", "/openai/files?api-version=1", "files", "files"),
    ("POST", "/openai/v1/files", "files", "files"),
    ("GET", "/openai/v1/files/f/content", "files", "files"),
    ("DELETE", "/openai/v1/files/f", "files", "files"),
    ("POST", "/openai/batches?api-version=1", "files", "files"),
    ("POST", "/openai/v1/batches/b/cancel", "files", "files"),
    ("POST", "/openai/assistants?api-version=1", "files", "files"),
    ("POST", "/openai/threads/t/runs?api-version=1", "files", "files"),
    ("POST", "/openai/v1/vector_stores", "files", "files"),
    ("GET", "/openai/vector_stores/v/files?api-version=1", "files", "files"),
    ("POST", "/models/chat/completions?api-version=1", "foundry", "chat"),
    ("GET", "/models/info?api-version=1", "foundry", "chat"),
    ("POST", "/anthropic/v1/messages", "claude", "chat"),
    ("POST", "/anthropic/v1/messages/count_tokens", "claude", "chat"),
];

#[tokio::test]
async fn everything_that_people_call_reaches_the_backend_with_the_scope_for_it() {
    let world = World::start().await;
    for (at, (method, target, _, scope)) in CALLS.into_iter().enumerate() {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let token = world.token_with(json!({ "scp": format!("openai.{scope}") }));
        let request = world.request(method.clone(), target).bearer_auth(&token);
        let reply = Reply::to(request.header("x-api-key", "sk-1")).await.unwrap();
        let seen = world.azure.openai.requests();
        assert_eq!(seen.len(), at + 1, "{method} {target}: {reply:?}");
        assert_eq!(seen[at].target, target);
        world.assert_swapped(&seen[at], &token);
        assert_eq!(values(&seen[at], "x-api-key"), [""; 0]);
        assert_eq!(values(&seen[at], "host"), ["my-openai.openai.azure.com"], "{target}");
    }
    let entries = world.gateway.access_log_of(CALLS.len()).await.unwrap();
    for (_, target, route, _) in CALLS {
        let path = target.split('?').next().unwrap();
        let entry = entries.iter().find(|entry| entry["path"] == path).unwrap();
        assert_eq!(entry["route"], route, "{target}");
        let is_stored = ["files", "responses"].contains(&route);
        assert_eq!(entry["cluster"] == "openai_single", is_stored, "{entry}");
    }
}

#[tokio::test]
async fn a_caller_without_the_scope_is_told_which_it_lacks() {
    let world = World::start().await;
    let token = world.token_with(json!({ "scp": "none" }));
    for (method, target, _, scope) in CALLS {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = world.request(method, target).bearer_auth(&token);
        let reply = world.refuses(request, Refusal::forbidden("scope_missing")).await;
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(challenge.ends_with(&format!("scope=\"openai.{scope}\"")), "{challenge}");
    }
}

#[tokio::test]
async fn a_path_that_no_route_has_is_told_the_nearest() {
    let world = World::start().await;
    let rows = [
        ("POST", "/v1/chat/completions", "POST /openai/v1/chat/completions"),
        ("POST", "/openai/v1/embedding", "POST /openai/v1/chat/completions"),
        (
            "POST",
            "/openai/deployments/d/chat/completion",
            "POST /openai/deployments/{deployment}/chat/completions",
        ),
        ("POST", "/openai/v1/models", "GET /openai/v1/models"),
        ("PUT", "/openai/v1/files/f", "GET, POST, DELETE /openai/v1/files/{*rest}"),
    ];
    for (method, target, nearest) in rows {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = world.request(method, target).bearer_auth(world.token());
        let reply = world.refuses(request, Refusal::route_unknown()).await;
        let message = reply.json()["error"]["message"].clone();
        let expected = format!("No route matches this request. The nearest is '{nearest}'.");
        assert_eq!(message, json!(expected), "{target}");
    }
    let elsewhere = world.request(Method::GET, "/<script>").bearer_auth(world.token());
    let reply = Reply::to(elsewhere).await.unwrap();
    assert!(!String::from_utf8_lossy(&reply.body).contains("script"), "{reply:?}");
}
