//! Long answers and long questions.

use std::time::Duration;

use local_azure::Fault;
use serde_json::json;
use tokio::time::Instant;

use testkit::world::{CHAT, World, chat_body};

const FRAME: Duration = Duration::from_millis(100);

#[tokio::test]
async fn the_frames_of_a_streamed_answer_come_one_by_one() {
    let world = World::start().await;
    world.azure.openai.set_chunk_delay(FRAME);
    let request = world.post(CHAT, &chat_body(true)).bearer_auth(world.token());
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");

    let (begun, mut arrivals, mut text) = (Instant::now(), Vec::new(), String::new());
    while let Some(chunk) = response.chunk().await.unwrap() {
        arrivals.push(begun.elapsed());
        text += std::str::from_utf8(&chunk).unwrap();
    }
    let frames: Vec<&str> = text.split_terminator("\n\n").collect();
    assert!(frames.iter().all(|frame| frame.starts_with("data: ")), "{text}");
    assert_eq!(frames.last(), Some(&"data: [DONE]"));
    assert!(arrivals.len() > frames.len() / 2, "{} in {arrivals:?}", frames.len());
    let made_in = FRAME * u32::try_from(frames.len() - 2).unwrap();
    assert!(arrivals[arrivals.len() - 1] >= arrivals[0] + made_in / 2, "{arrivals:?}");
    world.assert_swapped(&world.azure.openai.requests()[0], &world.token());
}

#[tokio::test]
async fn a_long_question_that_has_to_wait_arrives_whole() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Delay(Duration::from_secs(1)));
    let text: String = (0..200_000).map(|n| format!("{n:07} ")).take(190_000).collect();
    let body = json!({"messages": [{"role": "user", "content": text}]});
    let (_, seen) = world.admits(&world.token(), world.post(CHAT, &body)).await;
    assert!(seen.body == body.to_string().as_bytes(), "{} bytes", seen.body.len());
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_of_an_answer_harms_nobody() {
    let world = World::start().await;
    world.azure.openai.set_chunk_delay(FRAME);
    for _ in 0..4 {
        let request = world.post(CHAT, &chat_body(true)).bearer_auth(world.token());
        let mut response = request.send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
    }
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}
