//! What becomes of a fleet while its service misbehaves: nobody waits, and nobody is charged twice.

use std::time::Duration;

use gateway::StartOptions;
use local_azure::{LocalAzure, Options};
use serde_json::{Value, json};
use tokio::time::Instant;

use testkit::rate_limit::{Behaviour, RateLimitService};
use testkit::reply::Reply;
use testkit::world::{World, eventually, shipped};

use super::{admitted, counter, counting, file_of, heard, member, per_subject, settlements, told};

/// A fleet of one, whose service can be made to misbehave.
async fn alone(limits: &Value, ledger: Value) -> (RateLimitService, World, String) {
    let service = RateLimitService::start(&file_of(limits)).await;
    let world = member(&service, limits, ledger).await;
    let token = world.token();
    (service, world, token)
}

/// Waits until so many more settlements have failed.
async fn failed(world: &World, more: u64) {
    let before = settlements(world, "unconfirmed").await;
    let token = world.token();
    eventually("settlements fail", async || {
        _ = Reply::to(world.chat_as(&token)).await.unwrap();
        (settlements(world, "unconfirmed").await >= before + more).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_told_to_a_service_that_hangs_is_not_told_again() {
    let (service, world, token) = alone(&per_subject(30), json!({ "timeout": "200ms" })).await;
    assert_eq!(admitted(&world, &token, 10).await, 10);
    told(&service, 10).await;
    service.behave(Behaviour::Hangs);
    let began = Instant::now();
    assert_eq!(admitted(&world, &token, 5).await, 5);
    assert!(began.elapsed() < Duration::from_secs(10), "nobody waits for the service");
    eventually("the call is given up", async || {
        (settlements(&world, "unconfirmed").await > 0).then_some(())
    })
    .await;
    let after_one_call = service.sum("user");
    assert_eq!(admitted(&world, &token, 5).await, 5);
    let asked = service.calls().len();
    eventually("it is only asked", async || (service.calls().len() > asked).then_some(())).await;
    assert_eq!(service.sum("user"), after_one_call, "what is kept is not told meanwhile");
    service.behave(Behaviour::Good);
    told(&service, 20).await;
    assert_eq!(admitted(&world, &token, 20).await, 10, "its own sum counts all the time");
    told(&service, 30).await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_service_without_its_redis_costs_what_one_call_told() {
    let (service, world, token) = alone(&per_subject(30), json!({})).await;
    assert_eq!(admitted(&world, &token, 10).await, 10);
    told(&service, 10).await;
    service.behave(Behaviour::WithoutRedis);
    assert_eq!(admitted(&world, &token, 1).await, 1);
    eventually("that is lost", async || {
        (settlements(&world, "unconfirmed").await == 1).then_some(())
    })
    .await;
    assert_eq!(admitted(&world, &token, 4).await, 4);
    let asked = service.calls().len();
    eventually("it is asked", async || (service.calls().len() > asked + 1).then_some(())).await;
    service.behave(Behaviour::Good);
    told(&service, 14).await;
    assert_eq!(admitted(&world, &token, 20).await, 15, "its own sum is the floor");
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_service_that_breaks_off_or_answers_garbage_changes_nothing_here() {
    for behaviour in [Behaviour::BreaksOff, Behaviour::Garbage] {
        let (service, world, token) = alone(&per_subject(20), json!({})).await;
        service.behave(behaviour);
        assert_eq!(admitted(&world, &token, 5).await, 5);
        failed(&world, 2).await;
        service.behave(Behaviour::Good);
        eventually("it is there again", async || {
            _ = Reply::to(world.chat_as(&token)).await.unwrap();
            (settlements(&world, "ok").await > 0).then_some(())
        })
        .await;
        admitted(&world, &token, 20).await;
        assert_eq!(world.azure.openai.requests().len(), 20, "{behaviour:?}");
        told(&service, 20).await;
        world.assert_unharmed().await;
    }
}

#[tokio::test]
async fn a_service_with_other_limits_is_told_of_and_ours_count() {
    let disagree = "keyless_limits_disagree.limit=.=user;.;";
    for behaviour in [Behaviour::Doubled, Behaviour::Unconfigured] {
        let (service, world, token) = alone(&per_subject(20), json!({})).await;
        service.behave(behaviour);
        assert_eq!(admitted(&world, &token, 5).await, 5);
        eventually("it is noticed", async || (counter(&world, disagree).await == 1).then_some(()))
            .await;
        assert_eq!(admitted(&world, &token, 30).await, 15, "{behaviour:?}");
        service.behave(Behaviour::Good);
        eventually("it is settled", async || {
            _ = Reply::to(world.chat_as(&token)).await.unwrap();
            (counter(&world, disagree).await == 0).then_some(())
        })
        .await;
        assert!(world.gateway.log().contains("settlement limit=user"), "{behaviour:?}");
        world.assert_unharmed().await;
    }
}

#[tokio::test]
async fn a_service_that_forgets_gives_nothing_back_here() {
    let (service, world, token) = alone(&per_subject(10), json!({})).await;
    assert_eq!(admitted(&world, &token, 10).await, 10);
    told(&service, 10).await;
    service.forget();
    let before = settlements(&world, "ok").await;
    eventually("it is asked again", async || {
        assert_eq!(admitted(&world, &token, 1).await, 0);
        (settlements(&world, "ok").await > before + 1).then_some(())
    })
    .await;
    assert_eq!(admitted(&world, &token, 10).await, 0);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn an_envoy_that_restarts_learns_what_it_had_used() {
    let limits = per_subject(10);
    let (service, world, token) = alone(&limits, json!({})).await;
    assert_eq!(admitted(&world, &token, 10).await, 10);
    told(&service, 10).await;
    drop(world);
    let world = member(&service, &limits, json!({})).await;
    let token = world.token();
    assert_eq!(admitted(&world, &token, 1).await, 1, "it has asked nobody yet");
    told(&service, 11).await;
    heard(&world).await;
    assert_eq!(admitted(&world, &token, 10).await, 0);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn by_choice_nobody_is_admitted_while_the_service_is_away() {
    let (service, world, token) =
        alone(&per_subject(1_000), json!({ "unavailable": "refuse" })).await;
    assert_eq!(admitted(&world, &token, 5).await, 5);
    told(&service, 5).await;
    service.behave(Behaviour::WithoutRedis);
    let status = async || Reply::to(world.chat_as(&token)).await.unwrap().status;
    eventually("requests are refused", async || (status().await == 503).then_some(())).await;
    assert!(settlements(&world, "unconfirmed").await >= 3, "not before the third failure");
    let reply = Reply::to(world.chat_as(&token)).await.unwrap();
    assert_eq!(reply.code().as_deref(), Some("limits_unavailable"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    service.behave(Behaviour::Good);
    eventually("they are admitted again", async || (status().await == 200).then_some(())).await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn without_such_a_cluster_each_gateway_counts_for_itself() {
    let limits = per_subject(10);
    // Envoy would take this name for the bytes of a message.
    for name in ["usage", "outbound|8081||ratelimit.example.com"] {
        let azure = LocalAzure::start(Options::default()).await.unwrap();
        let blueprint = counting(shipped(&azure), &limits, &json!({ "cluster": name }));
        let world = World::run(azure, blueprint, StartOptions::default()).await;
        let token = world.token();
        assert_eq!(admitted(&world, &token, 15).await, 10);
        eventually("nothing is sent", async || {
            (settlements(&world, "unsent").await > 1).then_some(())
        })
        .await;
        world.assert_unharmed().await;
    }
}
