//! Streamed chats are made to say what they used, and nobody else notices.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::backend::{Act, plain, stream};
use testkit::line::Line;

use super::*;

/// What the backend heard as the body of its last request.
fn body(backend: &Backend) -> Value {
    serde_json::from_slice(&backend.requests().pop().unwrap().body).unwrap()
}

fn with(options: Value) -> Value {
    let mut body = chat_body(true);
    body["stream_options"] = options;
    body
}

#[tokio::test]
async fn a_stream_is_asked_and_the_answer_hidden_unless_the_caller_asks() {
    let (world, backend) = scripted(|_| stream([whole_stream().as_bytes()])).await;
    let mut unasked = vec![chat_body(true)];
    unasked.extend([json!({}), json!(null), json!({ "include_usage": false })].map(with));
    for sent in unasked {
        let request = world.post(CHAT, &sent).bearer_auth(world.token());
        let (reply, logged) = answered(&world, request).await;
        assert_eq!(body(&backend), with(json!({ "include_usage": true })), "{sent}");
        assert_eq!(String::from_utf8(reply.body).unwrap(), hidden_stream(), "{sent}");
        assert_eq!(logged, exact());
    }
    let sent = with(json!({ "include_usage": true }));
    let request = world.post(CHAT, &sent).bearer_auth(world.token());
    let (reply, logged) = answered(&world, request).await;
    assert_eq!(body(&backend), sent);
    assert_eq!(String::from_utf8(reply.body).unwrap(), whole_stream(), "as it was asked for");
    assert_eq!(logged, exact());
}

#[tokio::test]
async fn what_is_no_stream_or_an_old_version_passes_byte_for_byte() {
    let (world, backend) = scripted(|_| plain(ANSWER)).await;
    let plain = chat_body(false).to_string();
    let streamed = chat_body(true).to_string();
    let strange = r#"{"stream":true,"stream":false, "messages":[]} "#.to_owned();
    let old = CHAT.replace("2024-10-21", "2024-06-01");
    for (target, sent) in [(CHAT, &plain), (&old, &streamed), (CHAT, &strange)] {
        let request = world.request(reqwest::Method::POST, target).body(sent.clone());
        let request = request.header("content-type", "application/json");
        let (reply, logged) = answered(&world, request.bearer_auth(world.token())).await;
        assert_eq!(reply.body, ANSWER.as_bytes());
        assert_eq!(String::from_utf8(backend.requests().pop().unwrap().body).unwrap(), *sent);
        assert_eq!(logged, exact());
    }
}

/// Request smuggling: what is too much for one request would be the beginning of the next.
#[tokio::test]
async fn the_backend_hears_each_request_to_its_end_and_nothing_between_them() {
    let (world, backend) = scripted(|_| stream([whole_stream().as_bytes()])).await;
    let mut line = Line::open(world.gateway.address()).await;
    let sent = chat_body(true).to_string();
    for _ in 0..5 {
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            world.token(),
            sent.len()
        );
        // In three pieces, so that the head and the body pass the gateway by themselves.
        let (one, other) = sent.as_bytes().split_at(20);
        for piece in [head.as_bytes(), one, other] {
            line.say(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        line.hear_chunks().await;
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), 5);
    for heard in &requests {
        let head = heard.head.to_ascii_lowercase();
        assert!(head.starts_with("post /openai/deployments/"), "{head}");
        assert!(!head.contains("\r\ncontent-length:"), "{head}");
        assert_eq!(head.matches("\r\ntransfer-encoding: chunked\r\n").count(), 1, "{head}");
        let body: Value = serde_json::from_slice(&heard.body).unwrap();
        assert_eq!(body, with(json!({ "include_usage": true })));
    }
    // Every byte of every connection belongs to one of the requests.
    for bytes in backend.connections() {
        let text = String::from_utf8(bytes).unwrap();
        for request in text.split("POST ").skip(1) {
            assert!(request.ends_with("\r\n0\r\n\r\n"), "{request:?}");
            assert_eq!(request.matches("\r\n\r\n").count(), 2, "{request:?}");
        }
        assert!(text.is_empty() || text.starts_with("POST "), "{text:?}");
    }
}

#[tokio::test]
async fn a_long_body_is_not_held_back_and_arrives_whole() {
    let (world, backend) = scripted(|_| stream([whole_stream().as_bytes()])).await;
    let mut sent = chat_body(true);
    sent["messages"][0]["content"] = "x".repeat(8 << 20).into();
    let request = world.post(CHAT, &sent).bearer_auth(world.token());
    let (reply, logged) = answered(&world, request).await;
    assert_eq!(reply.status, 200);
    assert_eq!(logged, exact());
    sent["stream_options"] = json!({ "include_usage": true });
    assert!(body(&backend) == sent);
}

#[tokio::test]
async fn a_retried_request_is_asked_again_and_counted_once() {
    let busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let (world, backend) =
        scripted(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => vec![Act::Say(busy.to_vec())],
            _ => stream([whole_stream().as_bytes()]),
        })
        .await;
    let (reply, logged) = answered(&world, chat(&world, true)).await;
    assert_eq!(String::from_utf8(reply.body).unwrap(), hidden_stream());
    assert_eq!(logged, exact());
    let bodies: Vec<Value> = backend
        .requests()
        .iter()
        .map(|heard| serde_json::from_slice(&heard.body).unwrap())
        .collect();
    let asked = with(json!({ "include_usage": true }));
    assert_eq!(bodies, [asked.clone(), asked]);
    let answers = counters(&world, "keyless_answers").await;
    assert!(matches!(answers.as_slice(), [(_, 1)]), "{answers:?}");
}

#[tokio::test]
async fn a_request_that_had_to_wait_for_keys_is_asked_too() {
    let (world, backend) = scripted(|_| stream([whole_stream().as_bytes()])).await;
    world.azure.issuer.fault(local_azure::Fault::Delay(Duration::from_millis(500)));
    let (reply, logged) = answered(&world, chat(&world, true)).await;
    assert_eq!(String::from_utf8(reply.body).unwrap(), hidden_stream());
    assert_eq!(logged, exact());
    assert_eq!(body(&backend), with(json!({ "include_usage": true })));
}

#[tokio::test]
async fn where_the_body_names_the_model_it_is_asked_when_it_goes_on() {
    let with_model = |shipped: Blueprint| {
        let by_model = shipped.plugin(|plugin| {
            let routes = plugin["routes"].as_array_mut().unwrap();
            let route = routes.iter_mut().find(|route| route["name"] == "chat-v1").unwrap();
            route["deployment"] = json!("body.model");
        });
        by_model.plugin_config(|config| config["allow_on_headers_stop_iteration"] = true.into())
    };
    let (world, backend) = scripted_with(|_| stream([whole_stream().as_bytes()]), with_model).await;
    let mut sent = chat_body(true);
    sent["model"] = "gpt-4o-mini".into();
    // Of a request that waits for keys with its body, the body passes as it came.
    world.assert_every_worker_admits().await;
    let request = world.post("/openai/v1/chat/completions", &sent).bearer_auth(world.token());
    let (reply, logged) = answered(&world, request).await;
    assert_eq!(String::from_utf8(reply.body).unwrap(), hidden_stream());
    assert_eq!(logged, exact());
    sent["stream_options"] = json!({ "include_usage": true });
    assert_eq!(body(&backend), sent);
}
