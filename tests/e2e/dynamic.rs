//! What the dynamic module must withstand beyond what the Wasm filter must: `make e2e HOST=dynamic` runs
//! these, and `make e2e` leaves them out.

mod panics;

use std::env;
use std::time::Duration;

use gateway::{Blueprint, StartOptions};
use local_azure::{Fault, LocalAzure, Options};
use serde_json::json;
use testkit::reply::{Refusal, Reply};
use testkit::world::{World, eventually, shipped, values};
use tokio::time::sleep;

/// Holds requests of this many callers until the identity's token comes, which never does.
async fn parked(count: usize) -> (World, Vec<tokio::task::JoinHandle<reqwest::Result<Reply>>>) {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    azure.imds.fault(Fault::Hang);
    let world = World::on(azure.clone(), shipped(&azure)).await;
    let token = world.token();
    let waiting = (0..count).map(|_| tokio::spawn(Reply::to(world.chat_as(&token)))).collect();
    eventually("the callers wait for the token", async || {
        (world.identity_fetches() > 0).then_some(())
    })
    .await;
    (world, waiting)
}

#[tokio::test]
async fn envoy_ends_in_order_while_requests_wait() {
    let (mut world, waiting) = parked(50).await;
    sleep(Duration::from_millis(200)).await;
    let status = world.gateway.stop().await.unwrap();
    assert!(status.success(), "{status}: {}", world.gateway.log());
    for reply in waiting {
        if let Ok(reply) = reply.await.unwrap() {
            assert_ne!(reply.status, 200, "nobody is let in: {reply:?}");
        }
    }
    world.azure.imds.heal();
}

/// How often the configuration is replaced, unless the environment variable `RELOADS` says otherwise,
/// and after how many of them all is allocated that is allocated once.
const RELOADS: u64 = 300;
const WARM: u64 = 100;
/// How much more memory may be allocated in the end, in bytes: a tenth of a configuration for each.
const GROWTH: u64 = 2 << 20;

/// The memory that is allocated when the old configurations are gone, and each worker knows it.
async fn at_rest(world: &World, drain: Duration) -> u64 {
    sleep(3 * drain).await;
    world.assert_every_worker_admits().await;
    world.gateway.allocated().await.unwrap()
}

#[tokio::test]
async fn configurations_come_and_go_under_load_and_leave_nothing_behind() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = shipped(&azure);
    let drain = Duration::from_secs(1);
    let options = StartOptions { is_dynamic: true, drain, ..StartOptions::default() };
    let world = World::run(azure, blueprint.clone(), options).await;
    let token = world.token();
    let mut warm = 0;
    let reloads = env::var("RELOADS").map_or(RELOADS, |count| count.parse().unwrap());
    for number in 0..reloads {
        let numbered = |plugin: &mut serde_json::Value| {
            plugin["token_cache"] = json!({ "max_entries": 4096 + number });
        };
        let change = |blueprint: &Blueprint| blueprint.clone().plugin(numbered);
        world.gateway.push(&change(&blueprint)).await.unwrap();
        let replies = Reply::to_each((0..8).map(|_| world.chat_as(&token))).await.unwrap();
        assert!(replies.iter().all(|reply| reply.status == 200), "{number}: {replies:?}");
        if number == WARM {
            warm = at_rest(&world, drain).await;
        }
    }
    let memory = at_rest(&world, drain).await;
    let resident = world.gateway.resident().unwrap();
    println!(
        "from {warm} to {memory} bytes with {reloads} configurations; {resident} KiB resident"
    );
    assert!(memory < warm + GROWTH, "from {warm} to {memory} bytes with {reloads} configurations");
    assert_eq!((world.key_fetches(), world.identity_fetches()), (1, 1), "all use what one fetched");
    world.assert_unharmed().await;
}

#[tokio::test]
async fn the_example_admits_and_refuses() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let text = include_str!("../../examples/dynamic-module/envoy.yaml");
    let bootstrap = serde_yaml_ng::from_str(text).unwrap();
    let blueprint = Blueprint::shipped()
        .edit(|shipped| *shipped = bootstrap)
        .endpoint("entra", azure.issuer.address())
        .endpoint("imds", azure.imds.address())
        .endpoint("openai", azure.openai.address());
    let world = World::on(azure, blueprint).await;
    world.refuses(world.chat(), Refusal::token_missing()).await;
    let (_, seen) = world.admits(&world.token(), world.chat()).await;
    assert_eq!(values(&seen, "host"), ["my-openai.openai.azure.com"]);
}
