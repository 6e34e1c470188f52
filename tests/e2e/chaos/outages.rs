//! An IMDS that is away, slow, or answers what is no token.

use std::time::Duration;

use gateway::StartOptions;
use local_azure::{Fault, Imds};
use serde_json::{Value, json};

use super::pace::Pace;
use super::row::{Outcome, Row, Stage, azure, most_tries};
use testkit::world::shipped;

/// The longest pause while no token is at hand, and while one is, in seconds.
const IN_NEED: u64 = 30;
const WHILE_CACHED: u64 = 60;
/// What a try and its answer may take on a busy machine, besides the pauses.
const SLACK: Duration = Duration::from_secs(3);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            fault: "IMDS is down for 10 min while a token of 24 h is at hand",
            traps: false,
            play: |pace| Box::pin(down_with_a_token_at_hand(pace)),
        },
        Row {
            fault: "IMDS is down until the token has ended, and longer",
            traps: false,
            play: |pace| Box::pin(down_past_the_end(pace)),
        },
        Row {
            fault: "IMDS answers 410 for 70 s, from the start",
            traps: false,
            play: |pace| Box::pin(gone_at_the_start(pace)),
        },
        Row {
            fault: "IMDS answers 410 for 70 s while a token is at hand",
            traps: false,
            play: |pace| Box::pin(gone_with_a_token_at_hand(pace)),
        },
        Row {
            fault: "IMDS is down at the start",
            traps: false,
            play: |pace| Box::pin(down_at_the_start(pace)),
        },
        Row {
            fault: "IMDS answers 429 to everything",
            traps: false,
            play: |pace| Box::pin(throttled(pace)),
        },
        Row {
            fault: "IMDS answers 429 with `Retry-After`",
            traps: false,
            play: |pace| Box::pin(throttled_with_retry_after(pace)),
        },
        Row {
            fault: "IMDS takes every request and never answers",
            traps: false,
            play: |pace| Box::pin(hangs(pace)),
        },
        Row {
            fault: "IMDS answers garbage of seven kinds with status 200",
            traps: false,
            play: |pace| Box::pin(garbage(pace)),
        },
        Row {
            fault: "IMDS comes and goes, and its tokens are to be replaced all the time",
            traps: false,
            play: |pace| Box::pin(flaps(pace)),
        },
        Row {
            fault: "IMDS answers after 4.9 s, of 5 s that it has",
            traps: false,
            play: |pace| Box::pin(slow(pace)),
        },
        Row {
            fault: "there is no cluster `imds`",
            traps: false,
            play: |pace| Box::pin(no_cluster(pace)),
        },
        Row {
            fault: "the cluster `imds` has no endpoint",
            traps: false,
            play: |pace| Box::pin(no_endpoint(pace)),
        },
    ]
}

/// Plays a fault that is there from the start and is repaired after a while; callers must be served
/// from `back_within` after that.
async fn broken_at_the_start(
    pace: Pace,
    lasts: Duration,
    back_within: Duration,
    fault: impl AsyncFnOnce(&Imds),
    bound: u64,
) -> Outcome {
    let stage = Stage::of(pace, fault).await;
    stage.load.until(lasts).await;
    stage.imds().resume().await.unwrap();
    stage.imds().heal();
    let (back, end) = (lasts + back_within + SLACK, lasts + back_within + 2 * SLACK);
    stage.load.until(end).await;
    let (mut outcome, samples, _) = stage.end(bound).await;
    outcome.all_served(&samples, back, end);
    let early =
        samples.iter().find(|sample| sample.status == 200 && sample.at + sample.wait < lasts);
    outcome.expect(early.is_none(), || format!("served without a token: {early:?}"));
    outcome
}

async fn down_at_the_start(pace: Pace) -> Outcome {
    let lasts = pace.seconds(12, 120);
    // The tries are at 0, 2, 8 and 22 s, and then every 30 s.
    let back_within = pace.seconds(10, IN_NEED);
    let bound = most_tries(lasts, IN_NEED) + 1;
    broken_at_the_start(pace, lasts, back_within, async |imds| imds.stop().await, bound).await
}

async fn throttled(pace: Pace) -> Outcome {
    let lasts = pace.seconds(12, 300);
    let bound = most_tries(lasts, IN_NEED) + 1;
    let fault = async |imds: &Imds| imds.fault(Fault::Status(429));
    broken_at_the_start(pace, lasts, pace.seconds(10, IN_NEED), fault, bound).await
}

async fn throttled_with_retry_after(pace: Pace) -> Outcome {
    let (lasts, after) = (pace.seconds(9, 300), pace.seconds(5, 40));
    // As late as it is told to, or up to a tenth later.
    let bound = lasts.as_secs() / after.as_secs() + 2;
    let fault = async |imds: &Imds| imds.fault(Fault::RetryAfter { status: 429, after });
    broken_at_the_start(pace, lasts, after.mul_f64(1.2), fault, bound).await
}

async fn gone_at_the_start(pace: Pace) -> Outcome {
    let lasts = Duration::from_secs(70);
    let fault = async |imds: &Imds| imds.fault(Fault::Status(410));
    // The next try is 70 to 77 s after the first.
    broken_at_the_start(pace, lasts, Duration::from_secs(7), fault, 2).await
}

async fn hangs(pace: Pace) -> Outcome {
    let lasts = pace.seconds(12, 120);
    let bound = most_tries(lasts, IN_NEED) + 1;
    let fault = async |imds: &Imds| imds.fault(Fault::Hang);
    // A try may have begun just before the repair; it is lost after 5 s, and then comes a pause.
    broken_at_the_start(pace, lasts, pace.seconds(8, 5 + IN_NEED), fault, bound).await
}

async fn garbage(pace: Pace) -> Outcome {
    let html = || Fault::Body {
        status: 200,
        content_type: "text/html".to_owned(),
        body: b"<html><body>Please log in</body></html>".to_vec(),
    };
    let changed = |members: Value| Fault::Changed(members.as_object().unwrap().clone());
    let kinds = [
        Fault::Garbage,
        Fault::Truncated,
        Fault::Giant(3 << 20),
        html(),
        changed(json!({ "token_type": "pop" })),
        changed(json!({ "expires_on": "1", "expires_in": "0" })),
        changed(json!({ "resource": "https://management.azure.com" })),
    ];
    let each = pace.seconds(2, 20);
    let lasts = each * u32::try_from(kinds.len()).unwrap();
    let bound = most_tries(lasts, IN_NEED) + 1;
    let fault = async |imds: &Imds| {
        let imds = imds.clone();
        imds.fault(kinds[0].clone());
        tokio::spawn(async move {
            for kind in kinds.into_iter().skip(1) {
                tokio::time::sleep(each).await;
                imds.fault(kind);
            }
        });
    };
    broken_at_the_start(pace, lasts, pace.seconds(10, IN_NEED), fault, bound).await
}

async fn down_with_a_token_at_hand(pace: Pace) -> Outcome {
    let (refresh_in, from, to) = (pace.seconds(5, 60), pace.seconds(3, 30), pace.seconds(23, 630));
    let end = to + pace.seconds(8, WHILE_CACHED) + SLACK;
    let stage = Stage::of(pace, async |imds| imds.set_refresh_in(Some(refresh_in))).await;
    stage.load.until(from).await;
    stage.imds().stop().await;
    stage.imds().set_refresh_in(None);
    stage.load.until(to).await;
    stage.imds().resume().await.unwrap();
    stage.load.until(end).await;
    let bound = 1 + most_tries(to - refresh_in.mul_f64(0.9), WHILE_CACHED) + 1;
    let (mut outcome, samples, world) = stage.end(bound).await;
    outcome.all_served(&samples, Duration::ZERO, end);
    let issued = world.azure.imds.issued().len();
    outcome.expect(issued == 2, || format!("{issued} tokens instead of 2"));
    outcome
}

async fn down_past_the_end(pace: Pace) -> Outcome {
    let (life, from, to) = (pace.seconds(16, 600), pace.seconds(3, 240), pace.seconds(20, 660));
    // A token is asked for half-way through such a short life, or five minutes before its end, and
    // is not sent in the last quarter or minute.
    let (refresh_at, unusable_at) = (life / 2, life - pace.seconds(4, 60));
    let end = to + pace.seconds(12, IN_NEED) + 2 * SLACK;
    let stage = Stage::of(pace, async |imds| imds.set_lifetime(life)).await;
    stage.load.until(from).await;
    stage.imds().stop().await;
    stage.imds().set_lifetime(DAY);
    stage.load.until(to).await;
    stage.imds().resume().await.unwrap();
    stage.load.until(end).await;
    let bound = 1 + most_tries(to - refresh_at.mul_f64(0.9), IN_NEED) + 1;
    let (mut outcome, samples, world) = stage.end(bound).await;
    outcome.all_served(&samples, Duration::ZERO, unusable_at - 2 * SECOND);
    outcome.all_served(&samples, end - SLACK, end);
    let late = samples.iter().find(|sample| {
        sample.status == 200 && sample.at > unusable_at + SECOND && sample.at + sample.wait < to
    });
    outcome.expect(late.is_none(), || format!("served without a token: {late:?}"));
    let issued = world.azure.imds.issued().len();
    outcome.expect(issued == 2, || format!("{issued} tokens instead of 2"));
    outcome
}

async fn gone_with_a_token_at_hand(pace: Pace) -> Outcome {
    let refresh_in = Duration::from_secs(3);
    let end = Duration::from_secs(71 + 9) + SLACK;
    let stage = Stage::of(pace, async |imds| imds.set_refresh_in(Some(refresh_in))).await;
    stage.load.until(SECOND).await;
    stage.imds().fault(Fault::Status(410));
    stage.imds().set_refresh_in(None);
    stage.load.until(Duration::from_secs(71)).await;
    stage.imds().heal();
    stage.load.until(end).await;
    let (mut outcome, samples, world) = stage.end(3).await;
    outcome.all_served(&samples, Duration::ZERO, end);
    let issued = world.azure.imds.issued().len();
    outcome.expect(issued == 2, || format!("{issued} tokens instead of 2"));
    outcome
}

async fn flaps(pace: Pace) -> Outcome {
    let (phase, refresh_in) = (pace.seconds(2, 15), pace.seconds(3, 10));
    let phases = u32::try_from(pace.seconds(10, 20).as_secs()).unwrap();
    let stage = Stage::of(pace, async |imds| imds.set_refresh_in(Some(refresh_in))).await;
    for number in 1..=phases {
        stage.load.until(phase * number).await;
        match number % 2 {
            0 => stage.imds().heal(),
            _ => stage.imds().fault(Fault::Close),
        }
    }
    let while_up = 1 + phase.as_millis() / refresh_in.mul_f64(0.9).as_millis();
    let in_two_phases = most_tries(phase, WHILE_CACHED) + u64::try_from(while_up).unwrap();
    let bound = u64::from(phases / 2) * in_two_phases;
    let (mut outcome, samples, world) = stage.end(bound).await;
    outcome.all_served(&samples, Duration::ZERO, phase * phases);
    let issued = world.azure.imds.issued().len();
    outcome.expect(issued > 2, || format!("{issued} tokens only"));
    outcome
}

async fn slow(pace: Pace) -> Outcome {
    let delay = match pace {
        Pace::Real => Duration::from_millis(4900),
        // A busy machine adds to it.
        Pace::Short => Duration::from_millis(4500),
    };
    let (refresh_in, end) = (pace.seconds(3, 20), pace.seconds(25, 180));
    let stage = Stage::of(pace, async |imds| {
        imds.fault(Fault::Delay(delay));
        imds.set_refresh_in(Some(refresh_in));
    });
    let stage = stage.await;
    stage.load.until(end).await;
    let bound = 1 + end.as_millis() / (delay + refresh_in.mul_f64(0.9)).as_millis();
    let (mut outcome, samples, _) = stage.end(u64::try_from(bound).unwrap()).await;
    outcome.all_served(&samples, Duration::ZERO, end);
    outcome
}

async fn no_cluster(pace: Pace) -> Outcome {
    let azure = azure().await;
    let blueprint = shipped(&azure).plugin(|plugin| {
        plugin["identities"]["openai"]["imds"]["cluster"] = "nowhere".into();
    });
    let stage = Stage::on(pace, azure, blueprint, StartOptions::default()).await;
    unserved(pace, stage).await
}

async fn no_endpoint(pace: Pace) -> Outcome {
    let azure = azure().await;
    let blueprint = shipped(&azure).cluster_without_endpoints("empty").plugin(|plugin| {
        plugin["identities"]["openai"]["imds"]["cluster"] = "empty".into();
    });
    let stage = Stage::on(pace, azure, blueprint, StartOptions::default()).await;
    unserved(pace, stage).await
}

/// Plays what nobody repairs.
async fn unserved(pace: Pace, stage: Stage) -> Outcome {
    let end = pace.seconds(12, 120);
    stage.load.until(end).await;
    let (mut outcome, samples, world) = stage.end(most_tries(end, IN_NEED)).await;
    let served = samples.iter().find(|sample| sample.status == 200);
    outcome.expect(served.is_none(), || format!("served without a token: {served:?}"));
    outcome.expect(world.identity_fetches() == 0, || "IMDS was asked".to_owned());
    outcome
}
