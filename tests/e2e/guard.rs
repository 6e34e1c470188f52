//! The guard behind the filter: who comes past keyless comes no further.

use std::env;
use std::fs;
use std::path::PathBuf;

use gateway::Blueprint;
use serde_yaml_ng::Value;

use testkit::reply::Reply;
use testkit::world::{CONNECTIONS, World, eventually};

/// What a module says that was built to fail on demand.
const MARKER: &[u8] = b"keyless-chaos";

fn chaos() -> PathBuf {
    env::var_os("KEYLESS_CHAOS_WASM").expect("run through make, it builds the module").into()
}

/// Runs a module that the canary and the main thread can start, and no worker.
fn without_workers(shipped: Blueprint) -> Blueprint {
    shipped.running(chaos()).connection_manager(|manager| {
        let variables = &mut filter(manager, "envoy.filters.http.wasm")["typed_config"]["config"]
            ["vm_config"]["environment_variables"]["key_values"];
        variables["KEYLESS_NO_WORKERS"] = "1".into();
    })
}

fn filter<'a>(manager: &'a mut Value, name: &str) -> &'a mut Value {
    let filters = manager["http_filters"].as_sequence_mut().unwrap();
    filters.iter_mut().find(|filter| filter["name"] == name).unwrap()
}

/// Fails unless the guard refuses all comers, on whatever worker they arrive.
async fn nobody_passes(world: &World) {
    let token = world.token();
    let health = world.request(reqwest::Method::GET, "/healthz");
    let callers = (0..CONNECTIONS).flat_map(|_| [world.chat(), world.chat_as(&token)]);
    for reply in Reply::to_each(callers.chain([health])).await.unwrap() {
        assert_eq!((reply.status, reply.code()), (403, None), "not by keyless: {reply:?}");
        assert_eq!(reply.body, b"RBAC: access denied");
    }
    assert_eq!(world.azure.openai.requests().len(), 0);
    assert_eq!(world.key_fetches() + world.identity_fetches(), 0);
}

#[tokio::test]
async fn nothing_passes_where_the_filter_is_left_out() {
    let world = World::with(|shipped| {
        shipped.connection_manager(|manager| {
            let skipped = &mut manager["route_config"]["virtual_hosts"][0]
                ["typed_per_filter_config"]["envoy.filters.http.wasm"];
            skipped["@type"] = "type.googleapis.com/envoy.config.route.v3.FilterConfig".into();
            skipped["disabled"] = true.into();
        })
    });
    nobody_passes(&world.await).await;
}

#[tokio::test]
async fn nothing_passes_where_the_workers_could_not_start_the_module() {
    let world = World::with(without_workers).await;
    nobody_passes(&world).await;
    let stats = world.gateway.stats().await.unwrap();
    assert!(stats["http.gateway.rbac.denied"] > 0, "{stats:?}");
}

#[tokio::test]
async fn without_the_guard_such_workers_would_admit_everybody() {
    let unguarded = |shipped: Blueprint| {
        shipped.connection_manager(|manager| {
            let filters = manager["http_filters"].as_sequence_mut().unwrap();
            filters.retain(|filter| filter["name"] != "envoy.filters.http.rbac");
        })
    };
    let world = World::with(|shipped| unguarded(without_workers(shipped))).await;
    let reply = Reply::to(world.chat()).await.unwrap();
    assert_eq!(reply.code().as_deref(), Some("401"), "Azure's own answer: {reply:?}");
    assert_eq!(world.azure.openai.requests().len(), 1, "it arrived");
}

#[tokio::test]
async fn a_trap_refuses_its_request_and_the_worker_recovers() {
    let world = World::with(|shipped| shipped.running(chaos())).await;
    world.assert_every_worker_admits().await;
    let before = world.azure.openai.requests().len();
    let trap = world.chat_as(&world.token()).header("x-keyless-trap", "1");
    let reply = Reply::to(trap).await.unwrap();
    assert_eq!((reply.status, reply.code()), (503, None), "{reply:?}");
    assert_eq!(world.azure.openai.requests().len(), before);
    let token = world.token();
    eventually("every worker admits again", async || {
        let callers = (0..CONNECTIONS).map(|_| world.chat_as(&token));
        let replies = Reply::to_each(callers).await.unwrap();
        replies.iter().all(|reply| reply.status == 200).then_some(())
    })
    .await;
    assert!(world.gateway.log().contains("keyless-chaos"), "it was this module");
}

#[tokio::test]
async fn a_host_that_fails_lets_no_request_through() {
    let world = World::with(|shipped| shipped.running(chaos())).await;
    world.assert_every_worker_admits().await;
    let before = world.azure.openai.requests().len();
    for fault in ["x-keyless-no-clock", "x-keyless-keep-headers"] {
        // The credential of another kind is one that has to be removed.
        let request = world.chat_as(&world.token()).header(fault, "1").header("api-key", "secret");
        let reply = Reply::to(request).await.unwrap();
        let code = reply.code();
        assert_eq!((reply.status, code.as_deref()), (503, Some("gateway_error")), "{fault}");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    assert_eq!(world.azure.openai.requests().len(), before, "nothing reached the backend");
    world.assert_every_worker_admits().await;
}

#[tokio::test]
async fn the_module_that_ships_cannot_be_told_to_fail() {
    let has_marker = |path: PathBuf| {
        let module = fs::read(path).unwrap();
        module.windows(MARKER.len()).any(|bytes| bytes == MARKER)
    };
    assert!(has_marker(chaos()));
    let world = World::start().await;
    assert!(!has_marker(Blueprint::shipped().module().to_owned()));
    let trap = world.chat().header("x-keyless-trap", "1");
    world.admits(&world.token(), trap).await;
    world.assert_unharmed().await;
}
