//! How far a fleet goes over a limit.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::world::eventually;
use tokio::time::sleep;

use crate::load::{CALLERS, Load, most_within};
use crate::member::{Fleet, requests, tokens};

/// From one settlement to the next, by default.
const SETTLE: Duration = Duration::from_secs(1);

/// Loads a fleet until this limit is used up at all gateways.
async fn over(count: usize, limits: &Value, amount: u64) {
    let fleet = Fleet::start(count, limits, json!({})).await;
    let most = amount.div_ceil(fleet.each);
    let load = Load::on(&fleet, &fleet.token("ann"));
    eventually("all gateways refuse", async || {
        let before = fleet.served();
        sleep(SETTLE * 2).await;
        (fleet.served() == before && before >= most).then_some(())
    })
    .await;
    let answers = load.stop().await;
    let others = answers.iter().filter(|answer| !matches!(answer.status, Some(200 | 429)));
    assert_eq!(others.count(), 0, "each caller is answered");
    let served = fleet.served();
    fleet.told(served * fleet.each).await;
    let one_settlement = most_within(SETTLE, &answers);
    let in_flight = (CALLERS * count) as u64;
    let over = served - most;
    println!(
        "{count} Envoys, a limit of {amount}, or {most} answers: {served} answers, {over} over; \
         {in_flight} in flight, {one_settlement} in the busiest second"
    );
    assert!(over <= in_flight + one_settlement, "{over}");
}

#[tokio::test]
async fn two_gateways_admit_no_more_than_a_settlement_beyond_the_limit() {
    over(2, &requests(1_500), 1_500).await;
}

#[tokio::test]
async fn three_gateways_admit_no_more_than_a_settlement_beyond_the_limit() {
    over(3, &requests(2_500), 2_500).await;
}

#[tokio::test]
async fn five_gateways_admit_no_more_than_a_settlement_beyond_the_limit() {
    over(5, &requests(4_000), 4_000).await;
}

#[tokio::test]
async fn tokens_of_three_gateways_are_counted_as_the_backend_has_produced_them() {
    over(3, &tokens(50_000), 50_000).await;
}
