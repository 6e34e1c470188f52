//! What users see: the module in a real Envoy on the shipped `envoy.yaml`, between callers and an
//! Azure that runs on this machine.
//!
//! Each test has a [`world::World`] of its own, so that no recording holds another test's requests.
//! The Envoy and the module are those that the environment variables `ENVOY` and `KEYLESS_WASM`
//! name; `make e2e` sets them.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::string_slice,
    reason = "a test may fail loudly, and its values are made for it"
)]

mod admission;
mod balancing;
mod browsers;
mod bytes;
mod chaos;
mod compose;
mod configuration;
mod demo;
mod dynamic;
mod examples;
mod fleet;
mod flood;
mod forgery;
mod guard;
mod health;
mod hostcalls;
mod issuers;
mod istio;
mod limits;
mod metadata;
mod models;
mod outage;
mod paths;
mod realtime;
mod records;
mod rejection;
mod reporting;
mod rollover;
mod routing;
mod secrets;
mod sharing;
mod signatures;
mod sources;
mod spoofing;
mod streaming;
mod surface;
mod tokens;
mod trailers;
mod usage;
mod waiting;
mod workload_identity;
