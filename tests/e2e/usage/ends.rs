//! However a stream ends, it is accounted once, and never for nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use testkit::backend::{Act, begun_stream, stream};
use testkit::world::eventually;
use tokio::task::JoinSet;

use super::*;

/// Asks for a stream, reads it until `is_enough`, and leaves.
async fn hang_up(world: &World, is_enough: impl Fn(&str) -> bool) {
    let mut response = chat(world, true).send().await.unwrap();
    let mut text = String::new();
    while !is_enough(&text) {
        text += str::from_utf8(&response.chunk().await.unwrap().expect("more")).unwrap();
    }
}

/// An answer that goes so far and then pauses.
fn paused(text: String) -> Vec<Act> {
    let mut acts = begun_stream([text.as_bytes()]);
    acts.push(Act::Wait(Duration::from_secs(30)));
    acts
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_is_charged_by_an_estimate() {
    let (world, _backend) = scripted(|_| paused(events(&EVENTS[..4]))).await;
    hang_up(&world, |text| text.contains("\"lo\"")).await;
    let size = chat_body(true).to_string().len();
    // Two events with content were seen; a token of the request has four bytes.
    let logged = logged(&world, 1).await;
    let input = logged["tokens_input"].as_str().unwrap().parse::<usize>().unwrap();
    assert!((size / 4..=(size + 64) / 4).contains(&input), "{logged}");
    assert_eq!((&logged["usage"], &logged["tokens_output"]), (&json!("estimated"), &json!("2")));
    let answers = counters(&world, "keyless_answers").await;
    assert_eq!(answers.len(), 1);
    assert!(answers[0].0.contains(r#"basis="estimated""#), "{answers:?}");
    let cost = counters(&world, "keyless_cost").await;
    assert!(cost[0].0.contains(r#"basis="estimated""#) && cost[0].1 > 0, "{cost:?}");
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_is_charged_for_the_question() {
    let (world, backend) = scripted(|_| vec![Act::Wait(Duration::from_secs(30))]).await;
    let request = chat(&world, true).timeout(Duration::from_secs(3));
    assert!(Reply::to(request).await.is_err());
    assert_eq!(backend.requests().len(), 1, "it came to the backend");
    let logged = logged(&world, 1).await;
    assert_eq!((&logged["usage"], &logged["tokens_output"]), (&json!("estimated"), &json!("0")));
    assert_ne!(logged["tokens_input"], "0");
}

#[tokio::test]
async fn a_caller_that_leaves_after_the_last_count_is_charged_exactly() {
    let text = events(&EVENTS);
    let (world, _backend) = scripted(move |_| paused(text.clone())).await;
    hang_up(&world, |text| text.contains("\"stop\"")).await;
    assert_eq!(logged(&world, 1).await, exact());
}

#[tokio::test]
async fn a_backend_that_breaks_off_is_charged_by_an_estimate() {
    let (world, _backend) = scripted(|_| {
        let mut acts = begun_stream([events(&EVENTS[..3]).as_bytes()]);
        acts.push(Act::Wait(Duration::from_millis(200)));
        acts.push(Act::Leave);
        acts
    })
    .await;
    let response = chat(&world, true).send().await.unwrap();
    assert!(response.bytes().await.is_err(), "it is no whole answer");
    let logged = logged(&world, 1).await;
    assert_eq!((&logged["usage"], &logged["tokens_output"]), (&json!("estimated"), &json!("1")));
}

#[tokio::test]
async fn a_backend_that_does_not_answer_the_question_is_estimated_visibly() {
    let silent = events(&EVENTS[..5]) + "data: [DONE]\n\n";
    let (world, _backend) = scripted(move |_| stream([silent.as_bytes()])).await;
    let (_, logged) = answered(&world, chat(&world, true)).await;
    assert_eq!((&logged["usage"], &logged["tokens_output"]), (&json!("estimated"), &json!("2")));
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_costs_nothing() {
    let (world, backend) = scripted(|_| vec![Act::Leave]).await;
    drop(backend);
    let (reply, logged) = answered(&world, chat(&world, true)).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(logged, json!({ "usage": "none" }));
    assert!(counters(&world, "keyless_answers").await.is_empty());
}

/// How many streams are cut, one after the other at eight callers.
const CUT: usize = 1000;

/// How many words each would have.
const WORDS: usize = 40;

#[tokio::test]
async fn a_thousand_streams_cut_at_random_are_charged_within_the_bound_and_never_nothing() {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    // A caller says how many words it wants to hear, and the backend goes no further.
    let (world, _backend) = scripted(|heard| {
        let words = heard.head.split("\r\nx-words: ").nth(1).unwrap();
        let words: usize = words.split('\r').next().unwrap().parse().unwrap();
        WRITTEN.fetch_add(words.min(WORDS), Ordering::Relaxed);
        let word = EVENTS[2];
        let text = events(&vec![word; words.min(WORDS)]);
        if words > WORDS {
            let usage = EVENTS[5].replace("\"completion_tokens\":7", "\"completion_tokens\":40");
            return stream([(text + &events(&[&usage]) + "data: [DONE]\n\n").as_bytes()]);
        }
        let mut acts = begun_stream(text.as_bytes().chunks(97));
        // Half of them are cut by the backend, the others by the caller.
        acts.push(if words.is_multiple_of(2) {
            Act::Leave
        } else {
            Act::Wait(Duration::from_secs(30))
        });
        acts
    })
    .await;
    let token = world.token();
    let mut callers = JoinSet::new();
    let mut random: u32 = 2_463_534_242;
    let mut requests = Vec::new();
    for _ in 0..CUT {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let words = usize::try_from(random).unwrap() % (WORDS + 10) + 1;
        let request = world.post(CHAT, &chat_body(true)).bearer_auth(&token);
        requests.push((words, request.header("x-words", words.to_string())));
    }
    while let Some((words, request)) = requests.pop() {
        if callers.len() >= 8 {
            callers.join_next().await.unwrap().unwrap();
        }
        callers.spawn(async move {
            let mut response = request.send().await.unwrap();
            let mut heard = 0;
            let mut text = String::new();
            while heard < words.min(WORDS) || words > WORDS {
                let Ok(Some(chunk)) = response.chunk().await else { break };
                text += &String::from_utf8_lossy(&chunk);
                heard = text.matches("\n\n").count();
            }
        });
    }
    callers.join_all().await;
    let log = eventually("all are logged", async || {
        let log = world.gateway.access_log();
        (log.len() >= CUT).then_some(log)
    })
    .await;
    let number = |entry: &Value, name: &str| -> usize {
        entry[name].as_str().unwrap_or("0").parse().unwrap()
    };
    let charged: usize = log.iter().map(|entry| number(entry, "tokens_output")).sum();
    let written = WRITTEN.load(Ordering::Relaxed);
    for entry in &log {
        assert!(number(entry, "tokens_total") > 0, "charged nothing: {entry}");
        assert!(entry["usage"] == "exact" || entry["usage"] == "estimated", "{entry}");
    }
    // A lower bound: of each cut stream, the event at hand may be lost on the way.
    assert!(charged <= written, "{charged} of {written}");
    assert!(charged >= written - CUT, "{charged} of {written}");
    let tokens = counters(&world, "keyless_tokens").await;
    let output = tokens.iter().filter(|(name, _)| name.contains(r#"type="output""#));
    let counted: u64 = output.map(|(_, value)| value).sum();
    assert_eq!(counted, u64::try_from(charged).unwrap(), "the counters say what the log says");
    let answers: u64 = counters(&world, "keyless_answers").await.iter().map(|(_, n)| n).sum();
    assert_eq!(answers, u64::try_from(CUT).unwrap());
    world.assert_unharmed().await;
}

/// How many streams of the stand-in are asked for.
const ASKED: usize = 300;

#[tokio::test]
async fn what_the_stand_in_has_produced_is_charged_but_for_what_was_on_the_way() {
    let world = World::with(with_prices).await;
    world.azure.openai.set_chunk_delay(Duration::from_millis(20));
    let token = world.token();
    let mut callers = JoinSet::new();
    let mut random: u32 = 2_463_534_242;
    for _ in 0..ASKED {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        // A whole answer has twelve events; whoever wants fewer leaves.
        let most = usize::try_from(random).unwrap() % 15 + 1;
        let request = world.post(CHAT, &chat_body(true)).bearer_auth(&token);
        if callers.len() >= 8 {
            callers.join_next().await.unwrap().unwrap();
        }
        callers.spawn(async move {
            let mut response = request.send().await.unwrap();
            let mut text = String::new();
            while text.matches("\n\n").count() < most {
                let Ok(Some(chunk)) = response.chunk().await else { break };
                text += &String::from_utf8_lossy(&chunk);
            }
        });
    }
    callers.join_all().await;
    let log = world.gateway.access_log_of(ASKED).await.unwrap();
    let number =
        |entry: &Value, name: &str| entry[name].as_str().unwrap().parse::<usize>().unwrap();
    assert!(log.iter().all(|entry| number(entry, "tokens_total") > 0), "each is charged");
    let cut = log.iter().filter(|entry| entry["usage"] == "estimated").count();
    assert!((ASKED / 3..ASKED).contains(&cut), "{cut} were cut");
    let charged: usize = log.iter().map(|entry| number(entry, "tokens_output")).sum();
    let produced = world.azure.openai.produced();
    assert!(charged <= produced, "{charged} of {produced}");
    // Until the stand-in notices that its caller is gone, it has said a word or two.
    assert!(produced <= charged + 2 * cut, "{charged} of {produced}, {cut} were cut");
    world.assert_unharmed().await;
}
