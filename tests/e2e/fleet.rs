//! Several Envoys that count together through a stub of a service of Envoy's rate-limit protocol.

mod faults;

use std::time::Duration;

use gateway::{Blueprint, StartOptions};
use keyless_core::config::Config;
use keyless_core::settle::service_file;
use local_azure::{LocalAzure, Options};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use testkit::rate_limit::RateLimitService;
use testkit::reply::{Refusal, Reply};
use testkit::world::{World, eventually, shipped};

/// A window that does not end while a test runs, except for those at midnight on New Year's Eve.
fn per_subject(requests: u32) -> Value {
    json!([{ "name": "user", "per": ["issuer", "subject"], "requests": requests, "window": "365d" }])
}

/// Has a gateway count these limits with others in the cluster `fleet`.
fn counting(shipped: Blueprint, limits: &Value, ledger: &Value) -> Blueprint {
    shipped.plugin(|plugin| {
        plugin["limits"] = limits.clone();
        plugin["ledger"] = json!({ "cluster": "fleet" });
        plugin["ledger"].as_object_mut().unwrap().extend(ledger.as_object().unwrap().clone());
    })
}

/// The file of the service, as `keyless limits` makes it from a gateway's configuration.
fn file_of(limits: &Value) -> String {
    let document = json!({
        "issuers": [{
            "issuer": "https://idp.example.com/", "audiences": ["api"],
            "jwks": { "cluster": "idp", "uri": "https://idp.example.com/jwks.json" }
        }],
        "routes": [{ "name": "all", "match": { "methods": ["POST"], "path": "/{*rest}" }, "allow": [{}],
            "usage": "read" }],
        "prices": { "gpt-4o": { "input": "2.50", "output": "10.00" } },
        "limits": limits,
    });
    let config = Config::parse(document.to_string().as_bytes()).unwrap();
    service_file("keyless", &config.limits)
}

/// A gateway of the fleet.
async fn member(service: &RateLimitService, limits: &Value, ledger: Value) -> World {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = counting(shipped(&azure), limits, &ledger);
    let blueprint = blueprint.grpc_cluster("fleet", service.address());
    World::run(azure, blueprint, StartOptions::default()).await
}

async fn counter(world: &World, name: &str) -> u64 {
    if gateway::dynamic_module().is_some() {
        // It counts calls with the next request.
        world.refuses(world.chat(), Refusal::token_missing()).await;
    }
    world.gateway.metric(name).await.unwrap()
}

async fn settlements(world: &World, result: &str) -> u64 {
    counter(world, &format!("keyless_ledger_settlements.result=.={result};.;")).await
}

/// Sends so many requests at once, and returns how many are admitted.
async fn admitted(world: &World, token: &str, count: usize) -> usize {
    let requests = (0..count).map(|_| world.chat_as(token));
    let replies = Reply::to_each(requests).await.unwrap();
    let of = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!(of(200) + of(429), count, "{replies:?}");
    of(200)
}

/// Waits until the service knows of so many.
async fn told(service: &RateLimitService, sum: u64) {
    let what = format!("the service knows of {sum}");
    eventually(&what, async || (service.sum("user") == sum).then_some(())).await;
}

/// Waits until a gateway has an answer of the service.
async fn heard(world: &World) {
    eventually("it is answered", async || (settlements(world, "ok").await > 0).then_some(())).await;
}

#[tokio::test]
async fn what_one_gateway_admits_another_does_not_admit_again() {
    let limits = per_subject(10);
    let service = RateLimitService::start(&file_of(&limits)).await;
    let one = member(&service, &limits, json!({})).await;
    let other = member(&service, &limits, json!({})).await;
    let token = |world: &World| world.token_with(json!({ "sub": "ann" }));
    assert_eq!(admitted(&one, &token(&one), 8).await, 8);
    told(&service, 8).await;
    assert_eq!(admitted(&other, &token(&other), 1).await, 1, "it has asked nobody yet");
    told(&service, 9).await;
    heard(&other).await;
    assert_eq!(admitted(&other, &token(&other), 5).await, 1, "now it has");
    told(&service, 10).await;
    // The first has not asked since it told; that takes it one more request.
    assert_eq!(admitted(&one, &token(&one), 1).await, 1);
    told(&service, 11).await;
    eventually("it has heard of that", async || {
        (admitted(&one, &token(&one), 1).await == 0).then_some(())
    })
    .await;
    assert_eq!(admitted(&one, &token(&one), 5).await, 0);
    assert_eq!(admitted(&other, &token(&other), 5).await, 0);
    assert_eq!(service.sum("user"), 11);
    one.assert_unharmed().await;
    other.assert_unharmed().await;
}

#[tokio::test]
async fn a_gateway_settles_once_in_an_interval_whatever_comes() {
    let limits = per_subject(100_000);
    let service = RateLimitService::start(&file_of(&limits)).await;
    let world = member(&service, &limits, json!({})).await;
    let token = world.token();
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(5) {
        sent += admitted(&world, &token, 64).await as u64;
    }
    told(&service, sent).await;
    let most = began.elapsed().as_secs() + 2;
    let calls = service.calls();
    assert!(calls.len() as u64 <= most, "{} calls for {sent} requests", calls.len());
    assert!(calls.len() >= 5, "{} calls", calls.len());
    assert_eq!(settlements(&world, "ok").await, calls.len() as u64);
    assert_eq!(settlements(&world, "unconfirmed").await, 0);
    assert!(service.authorities().iter().all(|authority| authority == "fleet"));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(service.calls().len(), calls.len(), "with nothing to tell it is silent");
    world.assert_unharmed().await;
}
