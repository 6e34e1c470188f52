//! The files of `istio/` as they stand, applied with `kubectl` to a real Kubernetes API server and
//! a real istiod, whose pilot-agent runs a stock Envoy. Only the kubelet is played.
//!
//! `tests/istio/run` makes the namespaces and builds the programs; `make istio` calls it. All tests
//! share one [`cluster::Cluster`] and run one after another; each begins with everything as shipped.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test may fail loudly, and its values are made for it"
)]
#![allow(clippy::unused_self, reason = "who holds a part of the cluster knows that it runs")]

mod beside;
mod callers;
mod changes;
mod cluster;
mod dynamic;
mod example;
mod files;
mod limits;
mod modules;
mod outside;
mod recording;
mod routing;
mod service_accounts;
mod shell;
mod tiers;
mod ways;
mod workload_identity;
