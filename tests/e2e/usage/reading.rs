//! Answers of every kind and in every shape.

use std::fmt::Write as _;
use std::io::Write as _;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::backend::{Act, plain, stream};
use testkit::reply::Reply;
use testkit::world::EMBEDDINGS;

use super::*;

#[tokio::test]
async fn a_plain_answer_is_counted_with_its_parts_and_its_cost() {
    let (world, _backend) = scripted(|_| plain(ANSWER)).await;
    let (reply, logged) = answered(&world, chat(&world, false)).await;
    assert_eq!(reply.body, ANSWER.as_bytes());
    assert_eq!(logged, exact());
    let labels = r#"{issuer="entra",route="chat",deployment="gpt-4o-mini","#;
    let series = |name: &str, more: &str, value| (format!("{name}{labels}{more}}}"), value);
    let sorted = |mut series: Vec<(String, u64)>| {
        series.sort();
        series
    };
    let tokens = counters(&world, "keyless_token").await;
    let expected = sorted(vec![
        series("keyless_tokens", r#"basis="exact",type="input""#, 11),
        series("keyless_tokens", r#"basis="exact",type="output""#, 7),
        series("keyless_token_parts", r#"basis="exact",part="cached""#, 3),
        series("keyless_token_parts", r#"basis="exact",part="reasoning""#, 4),
    ]);
    assert_eq!(tokens, expected);
    let cost = counters(&world, "keyless_cost").await;
    assert_eq!(cost, [series("keyless_cost", r#"basis="exact""#, 93)]);
    let answers = counters(&world, "keyless_answers").await;
    assert_eq!(answers, [series("keyless_answers", r#"basis="exact""#, 1)]);
}

#[tokio::test]
async fn a_stream_is_counted_wherever_it_is_split() {
    let text = whole_stream();
    let step = 23;
    let (world, _backend) = scripted(move |heard| {
        let at = heard.head.split("\r\nx-at: ").nth(1).and_then(|at| at.split('\r').next());
        let at: usize = at.unwrap().parse().unwrap();
        let text = whole_stream();
        let (one, other) = text.as_bytes().split_at(at);
        stream([one, other])
    })
    .await;
    for at in (0..=text.len()).step_by(step) {
        let request = chat(&world, true).header("x-at", at.to_string());
        let (reply, logged) = answered(&world, request).await;
        assert_eq!(String::from_utf8(reply.body).unwrap(), hidden_stream(), "{at}");
        assert_eq!(logged, exact(), "{at}");
    }
}

#[tokio::test]
async fn a_stream_in_single_bytes_is_counted() {
    let (world, _backend) = scripted(|_| stream(whole_stream().as_bytes().chunks(1))).await;
    let (reply, logged) = answered(&world, chat(&world, true)).await;
    assert_eq!(String::from_utf8(reply.body).unwrap(), hidden_stream());
    assert_eq!(logged, exact());
}

#[tokio::test]
async fn responses_messages_and_embeddings_are_read_without_being_asked() {
    let response = events(&[
        r#"{"type":"response.created","response":{"usage":null}}"#,
        r#"{"type":"response.output_text.delta","delta":"Hi"}"#,
        r#"{"type":"response.incomplete","response":{"usage":{"input_tokens":11,"output_tokens":7,"input_tokens_details":{"cached_tokens":3},"output_tokens_details":{"reasoning_tokens":4}}}}"#,
    ]);
    let message = events(&[
        r#"{"type":"message_start","message":{"usage":{"input_tokens":8,"cache_read_input_tokens":3,"output_tokens":1}}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#,
    ]);
    for text in [response, message] {
        let sent = text.clone();
        let (world, _backend) = scripted(move |_| stream([sent.as_bytes()])).await;
        let (reply, logged) = answered(&world, chat(&world, false)).await;
        assert_eq!(String::from_utf8(reply.body).unwrap(), text);
        assert_eq!(logged["usage"], "exact");
        assert_eq!(
            (&logged["tokens_input"], &logged["tokens_output"]),
            (&json!("11"), &json!("7"))
        );
        assert_eq!(logged["tokens_cached"], "3");
    }
    let long = format!(
        r#"{{"data":[{{"embedding":[{}0]}}],"usage":{{"prompt_tokens":5,"total_tokens":5}}}}"#,
        "-0.0123456,".repeat(400_000)
    );
    let (world, _backend) = scripted(move |_| plain(&long)).await;
    let token = world.token_with(json!({ "scp": "openai.embeddings" }));
    let request = world.post(EMBEDDINGS, &json!({ "input": "a" })).bearer_auth(token);
    let (reply, logged) = answered(&world, request).await;
    assert_eq!(reply.status, 200);
    let expected = json!({
        "usage": "exact", "tokens_input": "5", "tokens_output": "0", "tokens_total": "5",
    });
    assert_eq!(logged, expected, "and it has no price");
    let labels = r#"{issuer="entra",route="embeddings",deployment="other"}"#;
    assert_eq!(
        counters(&world, "keyless_unpriced").await,
        [(format!("keyless_unpriced{labels}"), 1)]
    );
    assert!(counters(&world, "keyless_cost").await.is_empty());
}

/// Eight megabytes of numbers, none like the one before.
fn embeddings() -> String {
    let mut text =
        String::from(r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0"#);
    let mut random: u32 = 2_463_534_242;
    while text.len() < 8 << 20 {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        write!(text, ",{:.9}", f64::from(random) / f64::from(u32::MAX) - 0.5).unwrap();
    }
    text + r#"]}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#
}

/// How much Envoy may grow while it passes on much more, in KiB: its own buffers, and a piece in each
/// module.
const GROWTH: u64 = 6 << 10;

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figure is worth a look")]
async fn eight_megabytes_of_embeddings_pass_unchanged_and_none_of_it_is_kept() {
    let text = embeddings();
    let sent = text.clone();
    let answer = move |heard: &Heard| {
        if heard.head.contains("/embeddings") { plain(&sent) } else { plain(ANSWER) }
    };
    let (world, _backend) = scripted(answer).await;
    for _ in 0..20 {
        assert_eq!(Reply::to(chat(&world, false)).await.unwrap().status, 200);
    }
    let before = world.gateway.resident().unwrap();
    let token = world.token_with(json!({ "scp": "openai.embeddings" }));
    for count in 21..=28 {
        let request = world.post(EMBEDDINGS, &json!({ "input": "a" })).bearer_auth(&token);
        let reply = Reply::to(request).await.unwrap();
        assert!(reply.body == text.as_bytes(), "{} bytes came", reply.body.len());
        let logged = logged(&world, count).await;
        assert_eq!((&logged["usage"], &logged["tokens_input"]), (&json!("exact"), &json!("5")));
    }
    let grown = world.gateway.resident().unwrap().saturating_sub(before);
    println!("{before} KiB before, {grown} KiB more after eight times {} bytes", text.len());
    assert!(grown < GROWTH, "grown by {grown} KiB");
}

#[tokio::test]
async fn no_answer_comes_encoded_and_one_that_does_is_absent() {
    let (world, backend) = scripted(|_| plain(ANSWER)).await;
    let request = chat(&world, false).header("accept-encoding", "gzip, br");
    let (_, logged) = answered(&world, request).await;
    assert_eq!(logged, exact());
    let asked = backend.requests().pop().unwrap().head.to_ascii_lowercase();
    assert!(!asked.contains("accept-encoding"), "{asked}");

    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zipped.write_all(ANSWER.as_bytes()).unwrap();
    let zipped = zipped.finish().unwrap();
    let sent = zipped.clone();
    let (world, _backend) = scripted(move |_| {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n";
        let head = format!("{head}content-length: {}\r\n\r\n", sent.len());
        vec![Act::Say([head.as_bytes(), &sent].concat())]
    })
    .await;
    let (reply, logged) = answered(&world, chat(&world, false)).await;
    assert_eq!(reply.body, zipped);
    assert_eq!(logged, json!({ "usage": "absent" }));
}

#[tokio::test]
async fn what_says_nothing_is_absent_and_what_failed_is_not_counted() {
    let rows: [(&str, &str, &str, Value); 5] = [
        ("200 OK", "application/json", "{}", json!({ "usage": "absent" })),
        ("200 OK", "application/json", "", json!({ "usage": "absent" })),
        ("200 OK", "audio/mpeg", "usage", json!({ "usage": "absent" })),
        ("429 Too Many Requests", "application/json", ANSWER, json!({ "usage": "none" })),
        ("400 Bad Request", "application/json", ANSWER, json!({ "usage": "none" })),
    ];
    for (status, kind, body, expected) in rows {
        let (world, _backend) = scripted(move |_| {
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n");
            let head = format!("{head}content-length: {}\r\n\r\n", body.len());
            vec![Act::Say([head.as_bytes(), body.as_bytes()].concat())]
        })
        .await;
        let (_, logged) = answered(&world, chat(&world, false)).await;
        assert_eq!(logged, expected, "{status} {kind} {body}");
        let answers = counters(&world, "keyless_answers").await;
        assert_eq!(answers.len(), usize::from(expected["usage"] == "absent"), "{answers:?}");
        assert!(counters(&world, "keyless_tokens").await.is_empty());
    }
}

#[tokio::test]
async fn a_refusal_a_get_and_a_route_without_usage_are_not_counted() {
    let read = |plugin: &mut Value| {
        let route = json!({
            "name": "read", "match": { "methods": ["GET"], "path": "/openai/v1/responses/{id}" },
            "allow": [{}], "usage": "read",
        });
        plugin["routes"].as_array_mut().unwrap().insert(0, route);
        let free = json!({
            "name": "free", "match": { "methods": ["POST"], "path": "/free" }, "allow": [{}],
        });
        plugin["routes"].as_array_mut().unwrap().insert(0, free);
    };
    let (world, backend) = scripted_with(|_| plain(ANSWER), |shipped| shipped.plugin(read)).await;
    let (reply, logged) = answered(&world, world.chat()).await;
    assert_eq!((reply.status, logged), (401, json!({})));
    let get = world.request(Method::GET, "/openai/v1/responses/r").bearer_auth(world.token());
    let (reply, logged) = answered(&world, get).await;
    assert!(reply.status == 200 || reply.status == 404, "{reply:?}");
    assert_eq!(logged, json!({}));
    let free = world.post("/free", &json!({})).bearer_auth(world.token());
    let free = free.header("accept-encoding", "gzip");
    _ = Reply::to(free).await.unwrap();
    for heard in backend.requests() {
        assert_eq!(heard.head.contains("accept-encoding"), heard.head.starts_with("POST /free"));
    }
    assert!(counters(&world, "keyless_answers").await.is_empty());
}

#[tokio::test]
async fn batches_and_files_are_not_counted_though_their_answers_tell_of_usage() {
    let (world, backend) = scripted(|_| plain(ANSWER)).await;
    let token = world.token_with(json!({ "scp": "openai.files" }));
    let targets =
        ["/openai/v1/batches", "/openai/v1/files", "/openai/batches?api-version=2024-10-21"];
    for target in targets {
        let post = world.post(target, &json!({ "input_file_id": "file-1" })).bearer_auth(&token);
        let (reply, logged) = answered(&world, post).await;
        assert_eq!((reply.status, reply.body, logged), (200, ANSWER.into(), json!({})), "{target}");
    }
    assert_eq!(backend.requests().len(), targets.len());
    assert!(counters(&world, "keyless_answers").await.is_empty());
}

#[tokio::test]
async fn over_http_2_a_stream_is_counted_too() {
    let (world, _backend) = scripted(|_| stream([whole_stream().as_bytes()])).await;
    let client = testkit::world::client().http2_prior_knowledge().build().unwrap();
    let url = format!("{}{CHAT}", world.gateway.url());
    let request = client.post(url).json(&chat_body(true)).bearer_auth(world.token());
    let (reply, logged) = answered(&world, request).await;
    assert_eq!(String::from_utf8(reply.body).unwrap(), hidden_stream());
    assert_eq!(logged, exact());
}
