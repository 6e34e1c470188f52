//! Endpoints that fail again and again.

use gateway::Blueprint;
use local_azure::Fault;

use super::{PAY_AS_YOU_GO, PROVISIONED, Tiers, full};
use testkit::world::{CONNECTIONS, eventually};

/// Changes how long an endpoint is left alone.
fn ejected_for(time: &'static str) -> impl FnOnce(Blueprint) -> Blueprint {
    move |shipped| {
        shipped.edit(|file| {
            let clusters = file["static_resources"]["clusters"].as_sequence_mut().unwrap();
            let outliers = clusters.iter_mut().filter_map(|one| one.get_mut("outlier_detection"));
            for outliers in outliers {
                outliers["interval"] = "0.1s".into();
                outliers["base_ejection_time"] = time.into();
                outliers["max_ejection_time"] = time.into();
            }
        })
    }
}

/// Waits until no request of many reaches these of the three.
async fn left_alone(tiers: &Tiers, which: &[usize]) {
    eventually("they are left alone", async || {
        let spread = tiers.spread(CONNECTIONS).await;
        which.iter().all(|index| spread[*index] == 0).then_some(())
    })
    .await;
}

/// Waits until all requests of many are answered by the first one.
async fn back(tiers: &Tiers) {
    eventually("the provisioned deployment is back", async || {
        (tiers.spread(CONNECTIONS).await == [CONNECTIONS, 0, 0]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_or_broken_endpoint_is_left_alone() {
    for fault in [full(9), Fault::Status(429), Fault::Status(500), Fault::Status(503)] {
        let tiers = Tiers::with(ejected_for("300s")).await;
        tiers.azure[0].fault(fault);
        left_alone(&tiers, &[0]).await;
        // It was not asked for every request that it could not have answered.
        assert!(tiers.counts()[0] < CONNECTIONS, "{:?}", tiers.counts());
        tiers.azure[0].heal();
        assert_eq!(tiers.spread(CONNECTIONS).await[0], 0, "its time is not over");
    }
}

#[tokio::test]
async fn an_endpoint_that_answers_again_comes_back() {
    let tiers = Tiers::with(ejected_for("1s")).await;
    for _ in 0..2 {
        tiers.azure[0].fault(full(1));
        left_alone(&tiers, &[0]).await;
        tiers.azure[0].heal();
        back(&tiers).await;
    }
}

#[tokio::test]
async fn a_priority_that_is_down_is_passed_over_until_it_is_up() {
    let tiers = Tiers::with(ejected_for("1s")).await;
    tiers.azure[0].stop().await;
    assert_eq!(tiers.spread(CONNECTIONS).await[0], 0);
    eventually("the priority is ejected", async || {
        tiers.spread(1).await;
        (ejected(&tiers).await > 0).then_some(())
    })
    .await;
    tiers.azure[0].resume().await.unwrap();
    back(&tiers).await;
}

#[tokio::test]
async fn an_ejected_regions_share_goes_to_its_neighbour() {
    let tiers = Tiers::with(ejected_for("300s")).await;
    tiers.azure[0].stop().await;
    tiers.azure[1].fault(full(9));
    left_alone(&tiers, &[1]).await;
    assert_eq!(tiers.spread(CONNECTIONS).await, [0, 0, CONNECTIONS]);
}

#[tokio::test]
async fn if_all_are_ejected_all_are_asked() {
    let tiers = Tiers::with(ejected_for("300s")).await;
    for backend in &tiers.azure {
        backend.fault(full(9));
    }
    eventually("all are ejected", async || {
        let reply = tiers.chat().await;
        assert_eq!((reply.status, reply.header("retry-after")), (429, Some("9")), "{reply:?}");
        (ejected(&tiers).await == 3).then_some(())
    })
    .await;
    let reply = tiers.chat().await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("9")), "{reply:?}");
    for backend in &tiers.azure {
        backend.heal();
    }
    assert_eq!(tiers.chat().await.status, 200, "nobody waits for an ejection's end");
}

async fn ejected(tiers: &Tiers) -> u64 {
    let stats = tiers.world.gateway.stats().await.unwrap();
    let of = |cluster| stats[&format!("cluster.{cluster}.outlier_detection.ejections_active")];
    of(PROVISIONED) + of(PAY_AS_YOU_GO)
}
