//! A fleet of three under load, while what it stands on is killed: nobody waits, nobody is charged
//! twice, and nobody is given back what was used.

use std::time::Duration;

use serde_json::json;
use testkit::reply::Reply;
use testkit::world::{client, eventually};
use tokio::time::sleep;

use crate::load::{CALLERS, Load, admitted, most_within};
use crate::member::{Fleet, chat, requests};

/// How long an outage takes.
const OUTAGE: Duration = Duration::from_secs(3);

/// More than is asked for.
const PLENTY: usize = 1_000_000;

/// Waits until every gateway is answered again.
async fn settled(fleet: &Fleet) {
    for at in 0..fleet.gateways.len() {
        let before = fleet.settlements(at, "ok").await;
        eventually("it settles", async || {
            (fleet.settlements(at, "ok").await > before + 1).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn nobody_is_charged_twice_while_the_service_redis_and_an_envoy_are_killed() {
    let mut fleet = Fleet::start(3, &requests(PLENTY), json!({})).await;
    let token = fleet.token("ann");
    let mut load = Load::on(&fleet, &token);
    settled(&fleet).await;
    fleet.pair.kill_service().await;
    sleep(OUTAGE).await;
    fleet.pair.start_service().await;
    settled(&fleet).await;
    fleet.pair.kill_redis().await;
    sleep(OUTAGE).await;
    fleet.pair.start_redis().await;
    settled(&fleet).await;
    let mut unconfirmed = 0;
    for at in 0..3 {
        unconfirmed += fleet.settlements(at, "unconfirmed").await;
    }
    fleet.replace(0).await;
    load.add(&fleet.gateways[2].url(), &token);
    settled(&fleet).await;
    let answers = load.stop().await;
    let unanswered = answers.iter().filter(|answer| answer.status.is_none()).count() as u64;
    let refused = answers.iter().filter(|answer| answer.status.is_some_and(|it| it != 200)).count();
    assert_eq!(refused, 0, "nobody is refused meanwhile");
    let (served, admitted) = (fleet.served(), admitted(&answers));
    let counted = counted(&fleet).await;
    // Of each of three gateways one call in each of two outages, and all that the killed one had not told.
    let most = 7 * most_within(Duration::from_secs(2), &answers) / 3;
    println!(
        "3 Envoys, the service, Redis and an Envoy killed: {served} answers, {counted} counted, \
         {} not; {unconfirmed} settlements unconfirmed, {unanswered} requests of the killed Envoy unanswered",
        served - counted
    );
    assert!(admitted <= served && served <= admitted + CALLERS as u64, "{admitted}");
    assert!(counted <= served, "nobody is charged twice: {counted} for {served}");
    assert!(served - counted <= most, "{counted} of {served}, more than {most} are missing");
    assert!(unconfirmed >= 6, "each gateway has met both outages: {unconfirmed}");
}

/// Waits until all is told, and returns the sum.
async fn counted(fleet: &Fleet) -> u64 {
    eventually("all is told", async || {
        let before = fleet.pair.sum("user").await;
        sleep(Duration::from_secs(3)).await;
        (fleet.pair.sum("user").await == before).then_some(before)
    })
    .await
}

#[tokio::test]
async fn what_redis_forgets_still_counts_where_it_was_used() {
    let fleet = Fleet::start(2, &requests(10), json!({})).await;
    let token = fleet.token("ann");
    assert_eq!(fleet.admitted(0, &token, 7).await, 7);
    fleet.told(7).await;
    assert_eq!(fleet.admitted(1, &token, 3).await, 3);
    fleet.told(10).await;
    fleet.asked(0, &token).await;
    fleet.asked(1, &token).await;
    assert_eq!((fleet.admitted(0, &token, 5).await, fleet.admitted(1, &token, 5).await), (0, 0));
    fleet.pair.forget().await;
    fleet.asked(0, &token).await;
    fleet.asked(0, &token).await;
    let served = fleet.served();
    assert_eq!(fleet.admitted(0, &token, 10).await as u64 + served, 13, "7 are its own floor");
}

#[tokio::test]
async fn by_choice_nobody_is_admitted_without_the_service() {
    let mut fleet = Fleet::start(1, &requests(PLENTY), json!({ "unavailable": "refuse" })).await;
    let token = fleet.token("ann");
    let load = Load::on(&fleet, &token);
    settled(&fleet).await;
    fleet.pair.kill_service().await;
    eventually("three settlements fail", async || {
        (fleet.settlements(0, "unconfirmed").await >= 3).then_some(())
    })
    .await;
    sleep(OUTAGE).await;
    fleet.pair.start_service().await;
    settled(&fleet).await;
    let (client, url) = (client().build().unwrap(), fleet.gateways[0].url());
    eventually("callers are admitted again", async || {
        let reply = Reply::to(chat(&client, &url, &token)).await.unwrap();
        (reply.status == 200).then_some(())
    })
    .await;
    let refused = fleet.refused_without_the_service(0).await;
    assert!(refused > 0);
    sleep(OUTAGE).await;
    assert_eq!(fleet.refused_without_the_service(0).await, refused, "nobody is refused any more");
    let answers = load.stop().await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status.unwrap()).collect();
    assert_eq!(statuses.first(), Some(&200));
    assert_eq!(statuses.last(), Some(&200), "they are admitted again");
    assert!(statuses.contains(&503));
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)));
}
