//! What probes are told of a gateway.

use std::time::Duration;

use local_azure::Fault;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use testkit::reply::Reply;
use testkit::world::{CONNECTIONS, World, eventually, without_an_id};

async fn probe(world: &World) -> (u16, Value) {
    let reply = Reply::to(world.request(Method::GET, "/readyz")).await.unwrap();
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    (reply.status, reply.json())
}

fn told(keys: bool, identity: bool) -> Value {
    json!({"ready": keys && identity, "issuers": {"entra": keys}, "identities": {"openai": identity}})
}

/// What it is told besides if the fetch of the identity token fails.
fn told_failing(keys: bool, result: &str) -> Value {
    let mut told = told(keys, false);
    told["failing"] = json!({"identities": {"openai": {"result": result}}});
    told
}

#[tokio::test]
async fn probes_make_every_worker_ready_though_nobody_else_asks() {
    let world = World::start().await;
    for line in &mut world.lines().await {
        let mut ask = async || line.ask(b"GET /readyz HTTP/1.1\r\nhost: g\r\n\r\n").await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while ask().await.status == 503 {
            assert!(Instant::now() < deadline, "never ready");
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(ask().await.json(), told(true, true));
    }
    assert!(world.azure.openai.requests().is_empty(), "the gateway itself answers");
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_probe_finds_a_new_worker_ready_on_native_envoy_and_without_a_vm_id() {
    for blueprint in [|shipped| shipped, without_an_id] {
        let world = World::with(blueprint).await;
        for line in &mut world.lines().await {
            let reply = line.ask(b"GET /readyz HTTP/1.1\r\nhost: g\r\n\r\n").await.unwrap();
            assert_eq!((reply.status, reply.json()), (200, told(true, true)), "at the first probe");
        }
        for _ in 0..CONNECTIONS {
            assert_eq!(probe(&world).await.0, 200, "and it stays so");
        }
    }
}

#[tokio::test]
async fn a_probe_names_what_is_missing_and_service_goes_on_meanwhile() {
    let world = World::start().await;
    world.azure.imds.fault(Fault::Status(503));
    let keys_alone =
        async || (probe(&world).await == (503, told_failing(true, "status"))).then_some(());
    eventually("the keys have come", keys_alone).await;
    let live = Reply::to(world.request(Method::GET, "/healthz")).await.unwrap();
    assert_eq!(live.status, 200, "{live:?}");
    world.azure.imds.heal();
    let all = async || (probe(&world).await == (200, told(true, true))).then_some(());
    eventually("the identity token has come", all).await;
}
