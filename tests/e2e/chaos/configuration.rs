//! Configurations that are pushed while callers come.

use std::time::Duration;

use gateway::{Blueprint, StartOptions};
use local_azure::Fault;
use serde_json::json;
use tokio::time::sleep;

use super::pace::Pace;
use super::row::{Outcome, Row, Stage, azure};
use testkit::world::{World, shipped};

/// How much more memory Envoy may hold after fifty configurations than after ten, in KiB.
const GROWTH: u64 = 16 * 1024;
const PUSHES: u64 = 50;
/// After these, whatever is allocated once has been allocated.
const WARM: u64 = 10;

pub(super) fn rows() -> Vec<Row> {
    vec![Row {
        fault: "configurations are pushed while requests wait for the first token",
        traps: false,
        play: |pace| Box::pin(while_requests_wait(pace)),
    }]
}

/// Rows that count VMs.
pub(super) fn rows_with_vms() -> Vec<Row> {
    vec![Row {
        fault: "50 configurations are pushed, one after the other",
        traps: false,
        play: |pace| Box::pin(fifty(pace)),
    }]
}

/// A configuration that differs from every other in something that makes no difference.
fn numbered(blueprint: &Blueprint, number: u64) -> Blueprint {
    let change = |plugin: &mut serde_json::Value| {
        plugin["token_cache"] = json!({ "max_entries": 4096 + number });
    };
    blueprint.clone().plugin(change)
}

async fn while_requests_wait(pace: Pace) -> Outcome {
    let azure = azure().await;
    azure.imds.fault(Fault::Delay(Duration::from_millis(2500)));
    let blueprint = shipped(&azure);
    // Longer than any request waits; Envoy's own is ten minutes.
    let drain = Duration::from_secs(15);
    let options = StartOptions { is_dynamic: true, drain, ..StartOptions::default() };
    let stage = Stage::on(pace, azure, blueprint.clone(), options).await;
    for number in 1..=4 {
        stage.load.until(Duration::from_millis(500 * number)).await;
        stage.world.gateway.push(&numbered(&blueprint, number)).await.unwrap();
    }
    let end = pace.seconds(25, 60);
    stage.load.until(end).await;
    // The threads of a new configuration take over what another one has fetched.
    let (mut outcome, samples, _) = stage.end(1).await;
    outcome.all_served(&samples, Duration::ZERO, end);
    outcome
}

/// What Envoy holds once everything old has drained: memory in KiB, and VMs.
async fn held(world: &World, drain: Duration) -> (u64, u64) {
    sleep(drain + Duration::from_secs(2)).await;
    let vms = world.gateway.stats().await.unwrap()["wasm.envoy.wasm.runtime.v8.active"];
    (world.gateway.resident().unwrap(), vms)
}

async fn fifty(pace: Pace) -> Outcome {
    let azure = azure().await;
    let blueprint = shipped(&azure);
    let drain = Duration::from_secs(3);
    let options = StartOptions { is_dynamic: true, drain, ..StartOptions::default() };
    let stage = Stage::on(pace, azure, blueprint.clone(), options).await;
    let pause = pace.seconds(2, 50) / 10;
    let push = async |from: u64, to: u64| {
        for number in from..to {
            sleep(pause).await;
            stage.world.gateway.push(&numbered(&blueprint, number)).await.unwrap();
        }
    };
    push(0, WARM).await;
    let (warm, vms) = held(&stage.world, drain).await;
    push(WARM, PUSHES).await;
    let (memory, vms_after) = held(&stage.world, drain).await;
    let (mut outcome, samples, world) = stage.end(1).await;
    outcome.all_served(&samples, Duration::ZERO, outcome.lasted);
    outcome.expect(memory < warm + GROWTH, || format!("from {warm} KiB to {memory} KiB"));
    outcome.expect(vms == vms_after, || format!("from {vms} VMs to {vms_after}"));
    let begins = concat!("keyless version=", env!("CARGO_PKG_VERSION"), " issuers=1");
    let taken = world.gateway.log().matches(begins).count() as u64;
    // By each worker, the main thread and the canary.
    let threads = 2 + 2;
    outcome.expect(taken >= threads * PUSHES, || format!("{taken} configurations were taken"));
    let mib = |kib: u64| kib / 1024;
    outcome.note = Some(format!(
        "{} MiB after {WARM}, {} MiB after all, {vms_after} VMs",
        mib(warm),
        mib(memory)
    ));
    outcome
}
