//! The OpenAI SDKs at a limit: they wait where that is worth it, and give up at once where it is not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::world::World;

use crate::openai_sdk::{Call, Sdk, begun, ended, order};

async fn limited(limit: Value) -> World {
    World::with(|shipped| shipped.plugin(|plugin| plugin["limits"] = json!([limit]))).await
}

/// Waits until this minute has between five and twenty seconds left.
async fn near_the_end_of_a_minute() {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % 60;
    let wait = match seconds {
        0..40 => 40 - seconds,
        40..=55 => 0,
        _ => 100 - seconds,
    };
    tokio::time::sleep(Duration::from_secs(wait)).await;
}

#[tokio::test]
async fn a_limit_that_begins_again_within_a_minute_is_waited_for() {
    let limit = json!({ "name": "team", "requests": 1, "window": "1m" });
    let worlds = [limited(limit.clone()).await, limited(limit).await];
    near_the_end_of_a_minute().await;
    let [python, node] = Sdk::BOTH;
    tokio::join!(waits(python, &worlds[0]), waits(node, &worlds[1]));
}

async fn waits(sdk: Sdk, world: &World) {
    for _ in 0..2 {
        Call::Chat.assert_answered(&order(world, sdk, &world.token()).ask(Call::Chat).await);
    }
    let entries = world.gateway.access_log_of(3).await.unwrap();
    let seen: Vec<_> = entries.iter().map(|entry| &entry["status"]).collect();
    assert_eq!(seen, [200, 429, 200], "{sdk:?}");
    let pause = begun(&entries[2]).duration_since(ended(&entries[1])).unwrap();
    // Left to itself an SDK tries again within half a second.
    assert!(pause >= Duration::from_secs(1), "{sdk:?}: {pause:?}");
}

#[tokio::test]
async fn a_limit_that_lasts_is_shown_at_once_and_nobody_insists() {
    for sdk in Sdk::BOTH {
        let world = limited(json!({ "name": "team", "tokens": 1, "window": "365d" })).await;
        Call::Chat.assert_answered(&order(&world, sdk, &world.token()).ask(Call::Chat).await);
        let refused = order(&world, sdk, &world.token()).ask(Call::Chat).await;
        let seen = ["class", "status", "code", "type"].map(|name| &refused[name]);
        let (class, code) = ("RateLimitError", "tokens_exhausted");
        assert_eq!(seen, [&json!(class), &json!(429), &json!(code), &json!("tokens")], "{sdk:?}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("team") && message.contains("365d"), "{message}");
        let entries = world.gateway.access_log_of(2).await.unwrap();
        assert_eq!(entries.len(), 2, "{sdk:?} asked again: {entries:?}");
    }
}
