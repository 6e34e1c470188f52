//! The stub of the service that `tests/e2e` counts with answers as the real one does.

use testkit::rate_limit::{Behaviour, Counted, RateLimitService, Told, call};

use crate::pair::Pair;

/// A limit for each unit that `keyless limits` writes.
fn file() -> String {
    let units = ["minute", "hour", "day", "week", "month", "year"];
    let descriptors = units.map(|unit| {
        let limit = format!("rate_limit: {{ unit: {unit}, requests_per_unit: 10 }}");
        format!("  - {{ key: limit, value: {unit}, descriptors: [{{ key: key, {limit} }}] }}\n")
    });
    format!("domain: keyless\ndescriptors:\n{}", descriptors.concat())
}

fn told(limit: &str, key: &str, hits: u64) -> Told {
    Told { limit: limit.to_owned(), key: key.to_owned(), hits }
}

/// Asks both, and returns what both answer.
async fn both(pair: &Pair, stub: &RateLimitService, calls: &[Told]) -> Vec<Counted> {
    let real = call(pair.address(), "keyless", calls).await.unwrap();
    let own = call(stub.address(), "keyless", calls).await.unwrap();
    assert_eq!(own, real, "the stub and the real service, of {calls:?}");
    real
}

#[tokio::test]
async fn the_stub_counts_as_the_real_service_does() {
    let (pair, stub) = (Pair::start(&file()).await, RateLimitService::start(&file()).await);
    for unit in ["minute", "hour", "day", "week", "month", "year"] {
        let counted = both(&pair, &stub, &[told(unit, "once", 3)]).await;
        assert_eq!(counted[0].remaining, 7, "{unit}");
    }
    // What is asked of one key, and what is left.
    let sums = [(0, 10), (4, 6), (6, 0), (0, 0), (1, 0), (0, 0), (5_000_000_000, 0)];
    for (hits, remaining) in sums {
        let counted = both(&pair, &stub, &[told("year", "sums", hits)]).await;
        assert_eq!(counted[0].remaining, remaining, "{hits}");
    }
    let twice = [told("year", "twice", 6), told("year", "other", 1), told("year", "twice", 6)];
    both(&pair, &stub, &twice).await;
    both(&pair, &stub, &[told("nothing", "a", 1), told("year", "other", 1)]).await;
    let many: Vec<_> = (0..200).map(|key| told("year", &key.to_string(), key)).collect();
    assert_eq!(both(&pair, &stub, &many).await.len(), 200);
}

#[tokio::test]
async fn without_redis_the_stub_fails_as_the_real_service_does() {
    let mut pair = Pair::start(&file()).await;
    let stub = RateLimitService::start(&file()).await;
    both(&pair, &stub, &[told("year", "a", 1)]).await;
    pair.kill_redis().await;
    stub.behave(Behaviour::WithoutRedis);
    let calls = [told("year", "a", 1)];
    assert_eq!(call(pair.address(), "keyless", &calls).await, Err(Some(2)));
    assert_eq!(call(stub.address(), "keyless", &calls).await, Err(Some(2)));
}
