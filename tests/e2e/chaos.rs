//! The fault table: what happens to callers, and how often IMDS is asked, while the managed identity
//! is unavailable in one way or another.
//!
//! `make test` runs the rows at a pace that suits it, `make chaos` for the time that they would take
//! in earnest; that also writes the table of `docs/reliability.md`. The pauses between tries are the shipped
//! ones at either pace.

mod configuration;
mod load;
mod outages;
mod pace;
mod report;
mod row;
mod trap;

use std::sync::Arc;

use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use pace::Pace;
use report::Line;
use row::{Outcome, Row};

/// All rows, the longest first, so that they end at about the same time. Of the dynamic module those
/// that have no VM in them: what takes the place of the others is in `dynamic.rs`.
fn rows() -> Vec<Row> {
    let of_each_host = [outages::rows(), configuration::rows()].concat();
    if gateway::dynamic_module().is_some() {
        return of_each_host;
    }
    [of_each_host, configuration::rows_with_vms(), trap::rows()].concat()
}

/// Plays a row on a thread of its own, as its services and its callers have one runtime.
async fn run(row: Row, pace: Pace) -> Line {
    let play = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on((row.play)(pace))
    };
    let outcome = tokio::task::spawn_blocking(play).await;
    let mut outcome = outcome.unwrap_or_else(|error| Outcome::of_panic(&error));
    if !row.traps {
        outcome.unharmed();
    }
    Line { row, outcome }
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are worth a look")]
async fn in_no_row_is_a_caller_blamed_or_forgotten_or_an_expired_token_sent() {
    let pace = Pace::from_env();
    let only = std::env::var("CHAOS_ROW").unwrap_or_default();
    let places = Arc::new(Semaphore::new(pace.rows_at_once()));
    let mut running = JoinSet::new();
    for (number, row) in rows().into_iter().enumerate() {
        if !row.fault.contains(&only) {
            continue;
        }
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            (number, run(row, pace).await)
        });
    }
    let mut lines = running.join_all().await;
    lines.sort_by_key(|(number, _)| *number);
    let lines: Vec<Line> = lines.into_iter().map(|(_, line)| line).collect();
    println!("{}", report::table(&lines));
    let complaints: Vec<String> = lines.iter().flat_map(Line::complaints).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    if pace == Pace::Real && only.is_empty() && gateway::dynamic_module().is_none() {
        report::write(&lines);
    }
}
