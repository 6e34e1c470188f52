//! The page on Envoy's own rate-limit filter, with the real service: the filter limits by what
//! keyless has verified, and charges what keyless has counted.

use gateway::{Blueprint, StartOptions};
use local_azure::{LocalAzure, Options};
use serde_json::json;
use testkit::reply::Reply;
use testkit::world::{CHAT, World, chat_body, eventually, shipped};

use crate::pair::Pair;

const PAGE: &str = include_str!("../../docs/guides/limits-by-envoys-filter.md");

/// Returns a block of the page.
fn block(number: usize) -> String {
    let block = PAGE.split("```yaml\n").nth(number).unwrap().split("```").next().unwrap();
    let lines: Vec<_> =
        block.lines().map(|line| line.strip_prefix("   ").unwrap_or(line)).collect();
    lines.join("\n")
}

/// Puts the filter of the page before the router.
fn filtering(shipped: Blueprint) -> Blueprint {
    let filter: serde_yaml_ng::Value = serde_yaml_ng::from_str(&block(2)).unwrap();
    shipped.connection_manager(|manager| {
        let filters = manager["http_filters"].as_sequence_mut().unwrap();
        filters.insert(filters.len() - 1, filter);
    })
}

/// Starts a gateway with the filter of the page and the real service, whose file has other numbers.
async fn world(requests: &str, tokens: &str) -> (Pair, World) {
    let file = block(1).replace("unit: 60000", tokens).replace("unit: 60 ", requests);
    let file = file.replace("unit: minute", "unit: year").replace("unit: day", "unit: year");
    let pair = Pair::start(&file).await;
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = filtering(shipped(&azure)).grpc_cluster("ratelimit", pair.address());
    let world = World::run(azure, blueprint, StartOptions::default()).await;
    (pair, world)
}

/// Waits until so many tokens are charged.
async fn charged(pair: &Pair, tokens: u64) {
    let what = format!("{tokens} tokens are charged");
    eventually(&what, async || (pair.sum("tokens").await == tokens).then_some(())).await;
}

#[tokio::test]
async fn envoys_filter_refuses_by_what_keyless_has_verified() {
    let (pair, world) = world("unit: 3 ", "unit: 60000").await;
    let token = |subject: &str| world.token_with(json!({ "sub": subject }));
    let statuses = async |token: &str| {
        let mut statuses = Vec::new();
        for _ in 0..5 {
            statuses.push(Reply::to(world.chat_as(token)).await.unwrap().status);
        }
        statuses
    };
    assert_eq!(statuses(&token("ann")).await, [200, 200, 200, 429, 429]);
    assert_eq!(statuses(&token("bob")).await, [200, 200, 200, 429, 429]);
    assert_eq!(pair.sum("requests").await, 10, "the filter counts what it refuses");
    assert_eq!(statuses("no.token.at-all").await, [401; 5]);
    assert_eq!(pair.sum("requests").await, 10, "what keyless refuses is not counted");
    world.assert_unharmed().await;
}

#[tokio::test]
async fn envoys_filter_charges_the_tokens_that_keyless_has_counted() {
    let (pair, world) = world("unit: 1000 ", "unit: 60000").await;
    let token = world.token_with(json!({ "sub": "ann" }));
    let whole = Reply::to(world.chat_as(&token)).await.unwrap();
    let each = whole.json()["usage"]["total_tokens"].as_u64().unwrap();
    charged(&pair, each).await;
    let stream = world.post(CHAT, &chat_body(true)).bearer_auth(&token);
    assert_eq!(Reply::to(stream).await.unwrap().status, 200);
    charged(&pair, 2 * each).await;
    let mut left = world.post(CHAT, &chat_body(true)).bearer_auth(&token).send().await.unwrap();
    assert!(left.chunk().await.unwrap().is_some());
    drop(left);
    eventually("who leaves early pays, too", async || {
        (pair.sum("tokens").await > 2 * each).then_some(())
    })
    .await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn envoys_filter_refuses_once_the_tokens_are_used_up() {
    let (pair, world) = world("unit: 1000 ", "unit: 25").await;
    let token = world.token_with(json!({ "sub": "ann" }));
    let mut used = 0;
    loop {
        let reply = Reply::to(world.chat_as(&token)).await.unwrap();
        if reply.status == 429 {
            assert!(reply.body.is_empty() && reply.header("retry-after").is_none());
            break;
        }
        used += reply.json()["usage"]["total_tokens"].as_u64().unwrap();
        charged(&pair, used).await;
        assert!(used < 100, "it goes on and on");
    }
    assert!(used > 25, "exactly used up is not over");
    charged(&pair, used).await;
    world.assert_unharmed().await;
}
