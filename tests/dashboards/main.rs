//! The dashboard and the alert rules of `dashboards/`: the script writes what is committed, promtool takes
//! the rules, and every query has an answer in a Prometheus that scrapes gateways to which all that
//! can be counted has happened.
//!
//! Needs what `make dashboards` installs and names in the environment: `ENVOY`, `KEYLESS_WASM`,
//! `KEYLESS_CHAOS_WASM` and `DASHBOARDS`, the folder with `bin/python`, `bin/prometheus` and `bin/promtool`.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::string_slice,
    reason = "a test may fail loudly, its values are made for it, and Prometheus lives by the clock"
)]

mod answers;
mod board;
mod fleet;
mod prometheus;
mod rules;

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the dashboard and the rules.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboards")
}

/// A program that `make dashboards` installed.
fn program(name: &str) -> PathBuf {
    let installed = env::var_os("DASHBOARDS").expect("run through make dashboards");
    PathBuf::from(installed).join("bin").join(name)
}

/// Whether the files of this tree are to be written again.
fn is_update() -> bool {
    env::var_os("UPDATE").is_some_and(|value| !value.is_empty())
}
