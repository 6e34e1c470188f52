//! Limits in a real Envoy: its workers count together and exactly, whatever races, and neither a
//! trap nor a new configuration forgets anything.

use std::env;
use std::time::Duration;

use gateway::{Blueprint, StartOptions};
use local_azure::{LocalAzure, Options};
use serde_json::{Value, json};

use testkit::reply::Reply;
use testkit::world::{CHAT, World, chat_body, eventually, shipped};

fn limited(limits: Value) -> impl FnOnce(Blueprint) -> Blueprint {
    |shipped| shipped.plugin(|plugin| plugin["limits"] = limits)
}

/// A window that does not end while a test runs, except for those at midnight on New Year's Eve.
fn per_subject(requests: u32) -> Value {
    json!([{ "name": "user", "per": ["issuer", "subject"], "requests": requests, "window": "365d" }])
}

async fn run(blueprint: impl FnOnce(Blueprint) -> Blueprint, options: StartOptions) -> World {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = blueprint(shipped(&azure));
    World::run(azure, blueprint, options).await
}

/// The value of a counter with these labels.
async fn counter(world: &World, name: &str) -> u64 {
    world.gateway.metric(name).await.unwrap()
}

async fn checks(world: &World, limit: &str, result: &str) -> u64 {
    counter(world, &format!("keyless_limit_checks.limit=.={limit};.;result=.={result};.;")).await
}

fn statuses(replies: &[Reply]) -> (usize, usize) {
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!(count(200) + count(429), replies.len(), "{replies:?}");
    (count(200), count(429))
}

#[tokio::test]
async fn both_workers_count_together_and_exactly_under_races() {
    let world = run(limited(per_subject(150)), StartOptions::default()).await;
    let token = world.token();
    let mut admitted = 0;
    for _ in 0..5 {
        let requests = (0..64).map(|_| world.chat_as(&token));
        admitted += statuses(&Reply::to_each(requests).await.unwrap()).0;
    }
    assert_eq!(admitted, 150);
    assert_eq!(world.azure.openai.requests().len(), 150, "and the backend saw as many");
    assert_eq!(checks(&world, "user", "within").await, 120);
    assert_eq!(checks(&world, "user", "near").await, 30, "the last fifth");
    assert_eq!(checks(&world, "user", "exhausted").await, 5 * 64 - 150);
    let other = world.token_with(json!({ "sub": "another" }));
    assert_eq!(Reply::to(world.chat_as(&other)).await.unwrap().status, 200);
    assert_eq!(world.connections().await.values().filter(|count| **count > 0).count(), 2);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_caller_is_told_what_is_left_and_then_when_there_is_more() {
    let world = run(limited(per_subject(2)), StartOptions::default()).await;
    let token = world.token();
    for left in ["1", "0"] {
        let (reply, _) = world.admits(&token, world.chat()).await;
        assert_eq!(reply.header("x-ratelimit-limit-requests"), Some("2"));
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some(left));
        let reset = reply.header("x-ratelimit-reset-requests").unwrap();
        assert!(reset.ends_with('s'), "{reset}");
    }
    let reply = Reply::to(world.chat_as(&token)).await.unwrap();
    assert_eq!((reply.status, reply.code().as_deref()), (429, Some("requests_exhausted")));
    assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(reply.header("x-should-retry"), Some("false"), "it is a long time");
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() > 60);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_worker_that_traps_forgets_nothing() {
    let module = env::var_os("KEYLESS_CHAOS_WASM").expect("run through make, it builds the module");
    let change = |shipped: Blueprint| limited(per_subject(40))(shipped.running(module.into()));
    let world = run(change, StartOptions::default()).await;
    let token = world.token();
    world.assert_every_worker_admits().await;
    let mut lines = world.lines().await;
    for line in &mut lines {
        let trap = format!("GET {CHAT} HTTP/1.1\r\nhost: gateway\r\nx-keyless-trap: 1\r\n\r\n");
        assert_eq!(line.ask(trap.as_bytes()).await.map(|reply| reply.status), Some(503));
    }
    // Until Envoy has made new VMs, it answers 503 itself.
    let mut admitted = testkit::world::CONNECTIONS;
    loop {
        match Reply::to(world.chat_as(&token)).await.unwrap().status {
            200 => admitted += 1,
            429 => break,
            status => assert_eq!(status, 503),
        }
    }
    assert_eq!(admitted, 40);
}

#[tokio::test]
async fn a_new_configuration_forgets_nothing() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let with = |most| limited(per_subject(most))(shipped(&azure));
    let (three, five) = (with(3), with(5));
    let options = StartOptions { is_dynamic: true, ..StartOptions::default() };
    let world = World::run(azure, three, options).await;
    let token = world.token();
    let ask = async |count| {
        let requests = (0..count).map(|_| world.chat_as(&token));
        statuses(&Reply::to_each(requests).await.unwrap()).0
    };
    assert_eq!(ask(10).await, 3);
    world.gateway.push(&five).await.unwrap();
    eventually("the new limit counts", async || (ask(1).await == 1).then_some(())).await;
    assert_eq!(ask(10).await, 1, "two more than before, and one of them is used");
    world.assert_unharmed().await;
}

#[tokio::test]
async fn tokens_are_counted_by_what_answers_say_and_both_limits_are_shown() {
    let limits = json!([
        { "name": "tokens", "per": ["issuer", "subject"], "tokens": 100_000, "window": "365d" },
        { "name": "trial", "tokens": 1, "window": "365d", "report_only": true }
    ]);
    let counting = |shipped: Blueprint| {
        limited(limits)(shipped).plugin(|plugin| {
            for route in plugin["routes"].as_array_mut().unwrap() {
                if route["allow"].is_array() {
                    route["usage"] = json!("read");
                }
            }
        })
    };
    let world = run(counting, StartOptions::default()).await;
    let token = world.token();
    let (first, _) = world.admits(&token, world.chat()).await;
    let used = first.json()["usage"]["total_tokens"].as_u64().expect("the stand-in says it");
    assert!(used > 0);
    let remaining = async || {
        let (reply, _) = world.admits(&token, world.chat()).await;
        reply.header("x-ratelimit-remaining-tokens").unwrap().parse::<u64>().unwrap()
    };
    for answers in 1..4 {
        assert_eq!(remaining().await, 100_000 - answers * used);
    }
    assert_eq!(checks(&world, "tokens", "within").await, 4);
    assert_eq!(checks(&world, "trial", "would_exhaust").await, 3);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn with_64_callers_at_once_a_limit_on_tokens_is_exceeded_by_what_is_under_way() {
    let limits = json!([
        { "name": "tokens", "per": ["issuer", "subject"], "tokens": 4_000, "window": "365d" }
    ]);
    let world = run(limited(limits), StartOptions::default()).await;
    let token = world.token();
    let (first, _) = world.admits(&token, world.chat()).await;
    let most = 4_000_u64.div_ceil(first.json()["usage"]["total_tokens"].as_u64().unwrap());
    loop {
        let requests = (0..64).map(|_| world.chat_as(&token));
        if statuses(&Reply::to_each(requests).await.unwrap()).0 == 0 {
            break;
        }
    }
    let answers = world.azure.openai.received() as u64;
    assert!((most..most + 64).contains(&answers), "{answers} of {most}");
    world.assert_unharmed().await;
}

#[tokio::test]
async fn what_is_under_way_counts_by_its_reserve_until_its_caller_has_left() {
    let limits = json!([{ "name": "tokens", "tokens": 1_000, "reserve": 500, "window": "365d" }]);
    let options = StartOptions { workers: 1, ..StartOptions::default() };
    let world = run(limited(limits), options).await;
    world.azure.openai.set_chunk_delay(Duration::from_secs(5));
    let token = world.token();
    let stream = async || {
        let request = world.post(CHAT, &chat_body(true)).bearer_auth(&token);
        request.send().await.unwrap()
    };
    let streams = [stream().await, stream().await];
    assert!(streams.iter().all(|stream| stream.status() == 200));
    let reply = Reply::to(world.chat_as(&token)).await.unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("reserved"));
    drop(streams);
    eventually("there is room again", async || {
        (Reply::to(world.chat_as(&token)).await.unwrap().status == 200).then_some(())
    })
    .await;
    world.assert_unharmed().await;
}
