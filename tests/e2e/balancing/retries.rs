//! One request, several endpoints.

use std::time::Duration;

use gateway::Blueprint;
use local_azure::{Fault, OpenAi};
use serde_json::{Value, json};

use super::{NAMES, Tiers, full};
use testkit::reply::Reply;
use testkit::world::{CHAT, chat_body, eventually, values};

#[tokio::test]
async fn provisioned_capacity_is_used_first() {
    let tiers = Tiers::start().await;
    assert_eq!(tiers.spread(20).await, [20, 0, 0]);
}

#[tokio::test]
async fn a_request_that_the_first_one_cannot_take_is_answered_by_a_region() {
    let tiers = Tiers::start().await;
    let token = tiers.world.token();
    let statuses = [429, 500, 502, 503, 504].map(Fault::Status);
    for fault in statuses.into_iter().chain([full(9), Fault::Close]) {
        let before = tiers.counts();
        tiers.azure[0].fault(fault.clone());
        let reply = tiers.chat().await;
        tiers.azure[0].heal();
        assert_eq!(reply.status, 200, "{fault:?}: {reply:?}");
        let after = tiers.counts();
        assert_eq!(after[0], before[0] + 1, "{fault:?}: once");
        assert_eq!(after[1] + after[2], before[1] + before[2] + 1, "{fault:?}");
        // A good answer in between: five failures in a row would be another test.
        assert_eq!(tiers.spread(1).await, [1, 0, 0]);
    }
    for (backend, name) in tiers.azure.iter().zip(NAMES) {
        for seen in backend.requests() {
            assert_eq!(values(&seen, "host"), [name]);
            assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap(), chat_body(false));
            tiers.world.assert_swapped(&seen, &token);
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_not_asked_twice() {
    let tiers = Tiers::start().await;
    for status in [400, 403, 404, 422, 501] {
        tiers.azure[0].fault(Fault::Status(status));
        assert_eq!(tiers.chat().await.status, status);
        tiers.azure[0].heal();
        assert_eq!(tiers.spread(1).await, [1, 0, 0]);
    }
}

#[tokio::test]
async fn the_regions_share_by_weight() {
    let tiers = Tiers::start().await;
    tiers.azure[0].stop().await;
    let [_, sweden, france] = tiers.spread(60).await;
    assert_eq!(sweden + france, 60);
    assert!((32..=48).contains(&sweden), "two thirds: {sweden}");
}

#[tokio::test]
async fn a_request_tries_every_endpoint_once_before_its_caller_is_told_to_wait() {
    let tiers = Tiers::start().await;
    for (backend, seconds) in tiers.azure.iter().zip([7, 8, 9]) {
        backend.fault(full(seconds));
    }
    let reply = tiers.chat().await;
    assert_eq!(reply.status, 429, "{reply:?}");
    assert_eq!(tiers.counts(), [1, 1, 1]);
    // The wait is that of a region: they are asked last.
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!([8, 9].contains(&seconds), "{reply:?}");
    assert_eq!(reply.header("retry-after-ms"), Some(format!("{seconds}000").as_str()));

    tiers.azure[2].heal();
    for _ in 0..3 {
        assert_eq!(tiers.chat().await.status, 200, "one has room");
    }
    let [provisioned, sweden, france] = tiers.counts();
    assert_eq!((provisioned, france), (4, 4));
    assert!((1..=4).contains(&sweden), "never twice in a request: {sweden}");
}

#[tokio::test]
async fn many_requests_may_move_at_once() {
    let tiers = Tiers::start().await;
    tiers.azure[0].fault(full(9));
    let token = tiers.world.token();
    let replies = Reply::to_each((0..64).map(|_| tiers.world.chat_as(&token))).await.unwrap();
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    let [_, sweden, france] = tiers.counts();
    assert_eq!(sweden + france, 64);
}

#[tokio::test]
async fn a_long_question_is_asked_again_whole() {
    let tiers = Tiers::start().await;
    tiers.azure[0].fault(full(9));
    let question = json!({ "messages": [{ "role": "user", "content": "?".repeat(1_900_000) }] });
    let request = tiers.world.post(CHAT, &question).bearer_auth(tiers.world.token());
    assert_eq!(Reply::to(request).await.unwrap().status, 200);
    let seen = tiers.azure[1..].iter().flat_map(OpenAi::requests).next().unwrap();
    assert!(seen.body == question.to_string().as_bytes(), "{} bytes", seen.body.len());
}

#[tokio::test]
async fn a_question_longer_than_the_buffer_is_asked_once() {
    let tiers = Tiers::start().await;
    tiers.azure[0].fault(full(9));
    let question = json!({ "messages": [{ "role": "user", "content": "?".repeat(8_400_000) }] });
    let request = tiers.world.post(CHAT, &question).bearer_auth(tiers.world.token());
    let reply = Reply::to(request).await.unwrap();
    assert_eq!(reply.status, 429, "{reply:?}");
    assert_eq!(reply.header("retry-after"), Some("9"));
    assert_eq!(tiers.counts(), [1, 0, 0]);
}

#[tokio::test]
async fn a_stream_that_has_not_begun_comes_from_elsewhere() {
    let tiers = Tiers::start().await;
    tiers.azure[0].fault(full(9));
    let request = tiers.world.post(CHAT, &chat_body(true)).bearer_auth(tiers.world.token());
    let reply = Reply::to(request).await.unwrap();
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let text = String::from_utf8(reply.body).unwrap();
    assert_eq!(text.matches("[DONE]").count(), 1, "{text}");
}

#[tokio::test]
async fn a_stream_that_has_begun_is_not_asked_again() {
    let tiers = Tiers::start().await;
    tiers.azure[0].set_chunk_delay(Duration::from_millis(500));
    let request = tiers.world.post(CHAT, &chat_body(true)).bearer_auth(tiers.world.token());
    let mut response = request.send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some(), "it has begun");
    tiers.azure[0].stop().await;
    let mut rest = Vec::new();
    let end = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => rest.extend(chunk),
            end => break end,
        }
    };
    assert!(end.is_err(), "the caller learns that it is not whole");
    assert!(!String::from_utf8(rest).unwrap().contains("[DONE]"));
    assert_eq!(tiers.counts(), [1, 0, 0]);
}

#[tokio::test]
async fn backends_that_go_away_under_load_cost_no_caller_an_answer() {
    let tiers = Tiers::start().await;
    let token = tiers.world.token();
    tiers.azure[0].fault(Fault::Delay(Duration::from_secs(2)));
    let requests: Vec<_> = (0..40).map(|_| tiers.world.chat_as(&token)).collect();
    let replies = tokio::spawn(Reply::to_each(requests));
    eventually("all are with the first one", async || (tiers.counts()[0] == 40).then_some(()))
        .await;
    tiers.azure[0].stop().await;
    tiers.azure[1].stop().await;
    let replies = replies.await.unwrap().unwrap();
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(tiers.counts(), [40, 0, 40]);
}

#[tokio::test]
async fn the_access_log_tells_who_answered_and_how_many_were_asked() {
    let tiers = Tiers::start().await;
    tiers.azure[0].fault(full(9));
    tiers.azure[2].stop().await;
    assert_eq!(tiers.chat().await.status, 200);
    let [entry] = tiers.world.gateway.access_log_of(1).await.unwrap().try_into().unwrap();
    assert_eq!([&entry["status"], &entry["endpoint"]], [&json!(200), &json!(NAMES[1])], "{entry}");
    assert!(matches!(entry["attempts"].as_u64(), Some(2..=3)), "{entry}");
}

#[tokio::test]
async fn one_resource_alone_is_enough() {
    let alone = |shipped: Blueprint| {
        shipped.edit(|file| {
            let clusters = file["static_resources"]["clusters"].as_sequence_mut().unwrap();
            let openai = clusters.iter_mut().find(|one| one["name"] == "openai").unwrap();
            let tiers = &mut openai["cluster_type"]["typed_config"]["clusters"];
            tiers.as_sequence_mut().unwrap().truncate(1);
        })
    };
    let world = testkit::world::World::with(alone).await;
    world.assert_every_worker_admits().await;
}
