//! A panic at each hook that a real Envoy can be brought to call; `make dynamic-test` has them all.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use gateway::{Blueprint, StartOptions};
use local_azure::{LocalAzure, Options};
use reqwest::RequestBuilder;
use serde_json::json;
use testkit::backend::{Act, Backend};
use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, World, chat_body, eventually, shipped};

use crate::trailers::with_trailers;

/// The header that names the hook which is to panic.
const PANIC: &str = "x-keyless-panic";

/// Starts a gateway with the object that panics on demand.
async fn fragile() -> World {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = with_trailers(shipped(&azure));
    fragile_on(azure, blueprint).await
}

async fn fragile_on(azure: LocalAzure, blueprint: Blueprint) -> World {
    let object = PathBuf::from(env::var_os("KEYLESS_DYNAMIC_CHAOS").unwrap());
    let folder = object.parent().unwrap().to_str().unwrap().to_owned();
    let environment = vec![("ENVOY_DYNAMIC_MODULES_SEARCH_PATH".to_owned(), folder)];
    let drain = Duration::from_secs(1);
    let options = StartOptions { environment, is_dynamic: true, drain, ..StartOptions::default() };
    World::run(azure, blueprint, options).await
}

async fn panicked(world: &World, hook: &str) {
    let told = format!("panicked hook={hook} ");
    eventually(&told, async || world.gateway.log().contains(&told).then_some(())).await;
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
async fn a_panic_before_there_is_a_filter_refuses_the_request_and_is_counted_with_the_next() {
    let world = fragile().await;
    world.assert_every_worker_admits().await;
    assert_eq!(Reply::to(panicking(&world, "new")).await.unwrap().status, 200);
    let refusal = Refusal::unavailable("gateway_error");
    world.refuses(world.chat_as(&world.token()), refusal).await;
    panicked(&world, "new").await;
    world.assert_every_worker_admits().await;
    assert_eq!(refused(&world).await, 1);
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

/// Starts such a gateway, whose backend ends its answers like this.
async fn fragile_before(end: &str) -> (World, Backend) {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let answer = format!("{head}transfer-encoding: chunked\r\n\r\n{end}").into_bytes();
    let backend = Backend::start(move |_| vec![Act::Say(answer.clone())]).await;
    let shipped = Blueprint::shipped()
        .endpoint("entra", azure.issuer.address())
        .endpoint("imds", azure.imds.address());
    let clusters = ["openai_provisioned", "openai_pay_as_you_go", "openai_pay_as_you_go"];
    let clusters = clusters.into_iter().chain(["openai_single", "on_prem"]);
    let leads = |shipped: Blueprint, cluster| shipped.endpoint(cluster, backend.address());
    (fragile_on(azure, with_trailers(clusters.fold(shipped, leads))).await, backend)
}

#[tokio::test]
async fn a_panic_at_the_very_end_of_an_answer_harms_nobody() {
    let ends =
        [("response_body", "0\r\n\r\n"), ("response_trailers", "2\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n")];
    for (hook, end) in ends {
        let (world, _backend) = fragile_before(end).await;
        world.assert_every_worker_admits().await;
        let reply = Reply::to(panicking(&world, hook)).await.unwrap();
        assert_eq!(reply.status, 200, "{hook}: there is nothing left to refuse");
        panicked(&world, hook).await;
        assert_eq!(refused(&world).await, 1, "{hook}: but it is counted");
        world.assert_every_worker_admits().await;
    }
}

#[tokio::test]
async fn a_panic_where_nobody_is_left_to_refuse_refuses_nobody_else() {
    let world = fragile().await;
    world.assert_every_worker_admits().await;
    let reply = Reply::to(panicking(&world, "destroy")).await.unwrap();
    assert_eq!(reply.status, 200);
    panicked(&world, "destroy").await;
    let without_token = world.chat().header(PANIC, "local_reply");
    world.refuses(without_token, Refusal::token_missing()).await;
    panicked(&world, "local_reply").await;
    world.assert_every_worker_admits().await;
}

#[tokio::test]
async fn a_panic_on_the_main_thread_makes_callers_wait_and_no_longer() {
    for hook in ["config_scheduled", "config_http_callout_done"] {
        let world = fragile().await;
        // It waits for what is fetched: until it is fetched once more, or as long as anybody may.
        let reply = Reply::to(panicking(&world, hook)).await.unwrap();
        assert!(matches!(reply.status, 200 | 503), "{hook}: {reply:?}");
        panicked(&world, hook).await;
        eventually("callers are let in", async || {
            let reply = Reply::to(world.chat_as(&world.token())).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        world.assert_every_worker_admits().await;
    }
}

#[tokio::test]
async fn a_panic_while_a_configuration_is_made_or_ended_leaves_the_present_one() {
    let world = fragile().await;
    let push = async |number: u32| {
        let numbered = |plugin: &mut serde_json::Value| {
            plugin["token_cache"] = json!({ "max_entries": 4096 + number });
        };
        let blueprint = with_trailers(shipped(&world.azure)).plugin(numbered);
        world.gateway.push(&blueprint).await
    };
    world.assert_every_worker_admits().await;
    Reply::to(panicking(&world, "config_new")).await.unwrap();
    assert!(push(1).await.is_err(), "Envoy keeps what it has");
    panicked(&world, "config_new").await;
    world.assert_every_worker_admits().await;
    Reply::to(panicking(&world, "config_destroy")).await.unwrap();
    push(2).await.unwrap();
    panicked(&world, "config_destroy").await;
    world.assert_every_worker_admits().await;
    push(3).await.unwrap();
    world.assert_every_worker_admits().await;
}
