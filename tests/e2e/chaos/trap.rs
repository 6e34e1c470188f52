//! A module that traps while requests wait.

use std::env;
use std::time::Duration;

use gateway::StartOptions;
use local_azure::Fault;

use super::pace::Pace;
use super::row::{Outcome, Row, Stage, azure, world};
use testkit::line::Line;
use testkit::world::{CHAT, shipped};

pub(super) fn rows() -> Vec<Row> {
    vec![Row {
        fault: "the VM of one worker traps while requests wait for the first token",
        traps: true,
        play: |pace| Box::pin(while_requests_wait(pace)),
    }]
}

/// Makes the VM of a worker trap, and returns what that request is answered.
async fn trap(line: &mut Line) -> u16 {
    let request = format!("GET {CHAT} HTTP/1.1\r\nhost: gateway\r\nx-keyless-trap: 1\r\n\r\n");
    line.ask(request.as_bytes()).await.map_or(0, |reply| reply.status)
}

async fn while_requests_wait(pace: Pace) -> Outcome {
    let azure = azure().await;
    azure.imds.fault(Fault::Delay(Duration::from_secs(4)));
    let module = env::var_os("KEYLESS_CHAOS_WASM").expect("run through make, it builds the module");
    let blueprint = shipped(&azure).running(module.into());
    let world = world(azure, blueprint, StartOptions::default()).await;
    let mut lines = world.lines().await;
    let stage = Stage::begin(pace, world);
    let trapped_at = Duration::from_secs(1);
    stage.load.until(trapped_at).await;
    let status = trap(&mut lines[0]).await;
    let end = pace.seconds(25, 60);
    stage.load.until(end).await;
    let (mut outcome, samples, _) = stage.end(3).await;
    outcome.expect(status == 503, || format!("the trap was answered {status}"));
    let reloads = outcome.reloads;
    outcome.expect(reloads == 1, || format!("{reloads} VMs trapped"));
    // The lease of a VM that is gone ends 6 s after it was taken, and IMDS takes 4 s for the next
    // answer. At this rate all places are taken just before, and whoever comes then is sent away.
    outcome.all_served(&samples, Duration::from_secs(11), end);
    outcome.note = Some(format!("{} × 503 by Envoy", outcome.by_envoy));
    outcome
}
