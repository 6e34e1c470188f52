//! What a request makes the module call at its host, from Envoy's own trace: each call costs time.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::{Blueprint, StartOptions};
use local_azure::{LocalAzure, Options};
use reqwest::{Method, RequestBuilder};

use testkit::reply::Reply;
use testkit::world::{CHAT, World, chat_body, eventually, shipped};

/// How often each of the host's functions was called.
type Calls = BTreeMap<String, usize>;

/// What Envoy traces at the end of a stream.
const GONE: &str = "[host->vm] proxy_on_delete(";

/// How the names of the callbacks of a stream begin, after `proxy_on_`.
const STREAM: [&str; 5] = ["request_", "response_", "log", "done", "delete"];

#[tokio::test]
async fn a_remembered_token_costs_the_calls_of_its_head_and_the_status_of_the_answer() {
    let world = traced().await;
    let token = world.token();
    let found = warm_calls(&world, || world.chat_as(&token)).await;
    let expected = [
        ("proxy_get_current_time_nanoseconds", 1),
        ("proxy_get_header_map_pairs", 1),
        ("proxy_get_header_map_value", 1),
        ("proxy_increment_metric", 1),
        ("proxy_replace_header_map_value", 2),
        ("proxy_set_property", 7),
    ];
    assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

#[tokio::test]
async fn a_counted_answer_costs_its_head_its_body_its_counters_and_what_the_log_has() {
    let world = traced_with(|shipped| shipped).await;
    let token = world.token();
    let found = warm_calls(&world, || world.chat_as(&token)).await;
    let expected = [
        ("proxy_get_buffer_bytes", 2),
        ("proxy_get_current_time_nanoseconds", 1),
        ("proxy_get_header_map_pairs", 1),
        ("proxy_get_header_map_value", 3),
        ("proxy_get_property", 1),
        ("proxy_increment_metric", 5),
        ("proxy_remove_header_map_value", 1),
        ("proxy_replace_header_map_value", 2),
        ("proxy_set_property", 11),
    ];
    assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

#[tokio::test]
async fn the_frames_of_an_answer_cost_no_calls() {
    let world = traced().await;
    world.azure.openai.set_chunk_delay(Duration::from_millis(20));
    let token = world.token();
    let whole = warm_calls(&world, || world.chat_as(&token)).await;
    let streamed = || world.post(CHAT, &chat_body(true)).bearer_auth(&token);
    assert_eq!(warm_calls(&world, streamed).await, whole);
}

#[tokio::test]
async fn the_status_of_an_answer_is_read_only_where_an_identity_token_was_sent() {
    let world = traced().await;
    let found = warm_calls(&world, || world.request(Method::GET, "/healthz")).await;
    assert_eq!(found.get("proxy_get_header_map_value"), None, "{found:?}");
}

/// Starts a world with one worker, whose Envoy traces every call, and which counts no answers.
async fn traced() -> World {
    traced_with(|shipped| {
        shipped.plugin(|plugin| {
            for route in plugin["routes"].as_array_mut().unwrap() {
                route.as_object_mut().unwrap().remove("usage");
            }
        })
    })
    .await
}

async fn traced_with(change: impl FnOnce(Blueprint) -> Blueprint) -> World {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = change(shipped(&azure));
    let component_log_level = "wasm:trace".to_owned();
    let options = StartOptions { workers: 1, component_log_level, ..StartOptions::default() };
    World::run(azure, blueprint, options).await
}

/// Sends a request twice, and counts the calls of the second one.
async fn warm_calls(world: &World, ask: impl Fn() -> RequestBuilder) -> Calls {
    trace(world, &ask).await;
    calls(&trace(world, &ask).await)
}

/// Sends a request, and returns what was traced from then to the end of its stream.
async fn trace(world: &World, ask: &impl Fn() -> RequestBuilder) -> String {
    let before = world.gateway.log().len();
    assert_eq!(Reply::to(ask()).await.unwrap().status, 200);
    let whole = async || Some(world.gateway.log()).filter(|log| log[before..].contains(GONE));
    eventually("the end of the stream", whole).await[before..].to_owned()
}

/// Counts the calls that streams make, each in a callback of theirs, and not those that roots make.
fn calls(trace: &str) -> Calls {
    let (mut calls, mut is_in_stream) = (Calls::new(), false);
    for line in trace.lines() {
        if let Some((_, call)) = line.split_once("[vm->host] env.")
            && is_in_stream
        {
            let (name, _) = call.split_once('(').unwrap();
            *calls.entry(name.to_owned()).or_default() += 1;
        }
        if let Some((_, callback)) = line.split_once("[host->vm] proxy_on_")
            && !callback.starts_with("memory_allocate")
        {
            is_in_stream = STREAM.iter().any(|name| callback.starts_with(name));
        }
    }
    calls
}
