//! What the dynamic module must withstand beyond what the Wasm filter must: `make e2e HOST=dynamic` runs
//! these, and `make e2e` leaves them out.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use gateway::{Blueprint, StartOptions};
use local_azure::{Fault, LocalAzure, Options};
use reqwest::RequestBuilder;
use serde_json::json;
use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, World, chat_body, eventually, shipped, values};
use tokio::time::sleep;

use crate::trailers::with_trailers;

/// The header that names the hook which is to panic.
const PANIC: &str = "x-keyless-panic";

/// Starts a gateway with the object that panics on demand.
async fn fragile() -> World {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = with_trailers(shipped(&azure));
    let object = PathBuf::from(env::var_os("KEYLESS_DYNAMIC_CHAOS").unwrap());
    let folder = object.parent().unwrap().to_str().unwrap().to_owned();
    let environment = vec![("ENVOY_DYNAMIC_MODULES_SEARCH_PATH".to_owned(), folder)];
    World::run(azure, blueprint, StartOptions { environment, ..StartOptions::default() }).await
}

fn panicking(world: &World, hook: &str) -> RequestBuilder {
    world.chat_as(&world.token()).header(PANIC, hook)
}

async fn refused(world: &World) -> u64 {
    let url = format!("{}/stats/prometheus", world.gateway.admin_url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let of_panics = |line: &&str| {
        line.starts_with("keyless_requests{") && line.contains("reason=\"gateway_error\"")
    };
    let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    text.lines().filter(of_panics).map(value).sum()
}

#[tokio::test]
async fn a_panic_before_a_request_goes_on_refuses_it_and_nobody_else() {
    let world = fragile().await;
    // The first request waits, so that its hook is called that lets it go on.
    for (count, hook) in (1..).zip(["scheduled", "request_headers"]) {
        let refusal = Refusal::unavailable("gateway_error");
        world.refuses(panicking(&world, hook), refusal).await;
        assert!(world.gateway.log().contains(&format!("panicked hook={hook} ")), "{hook}");
        assert_eq!(refused(&world).await, count);
        world.assert_every_worker_admits().await;
    }
}

#[tokio::test]
async fn a_panic_in_the_middle_of_a_request_or_its_answer_ends_it_and_nobody_else() {
    let world = fragile().await;
    world.assert_every_worker_admits().await;
    let body = chat_body(false).to_string();
    for (count, hook) in
        (1..).zip(["request_body", "request_trailers", "response_headers", "response_body"])
    {
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\
            content-type: application/json\r\n{PANIC}: {hook}\r\ntransfer-encoding: chunked\r\n\r\n\
            {:x}\r\n{body}\r\n0\r\nx-checksum: 1\r\n\r\n",
            world.token(),
            body.len()
        );
        let mut line = testkit::line::Line::open(world.gateway.address()).await;
        line.say(request.as_bytes()).await.unwrap();
        // After a head that has gone out, Envoy can only break off.
        if let Some(reply) = line.hear().await {
            assert!(reply.status == 503 || hook == "response_body", "{hook}: {reply:?}");
        }
        let log = world.gateway.log();
        assert!(log.contains(&format!("panicked hook={hook} ")), "{hook}: {log}");
        assert_eq!(refused(&world).await, count, "{hook}");
        world.assert_every_worker_admits().await;
    }
    let reply = Reply::to(panicking(&world, "stream_complete")).await.unwrap();
    assert_eq!(reply.status, 200, "there is nothing left to refuse");
    world.assert_every_worker_admits().await;
    assert!(world.gateway.log().contains("panicked hook=stream_complete "));
    assert!(!world.gateway.log().contains(&world.token()), "and no token is in the log");
}

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
/// How much more memory Envoy may hold in the end, in KiB: less than one configuration for each.
const GROWTH: u64 = 8 * 1024;

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
            sleep(2 * drain).await;
            warm = world.gateway.resident().unwrap();
        }
    }
    sleep(2 * drain).await;
    let memory = world.gateway.resident().unwrap();
    let growth = format!("from {warm} KiB to {memory} KiB with {reloads} configurations");
    assert!(memory < warm + GROWTH, "{growth}");
    println!("{growth}");
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
