//! What people deploy with: the files of `istio/`, `compose.yaml` and the `Dockerfile`, as far as they
//! can be checked without a cluster and without an engine. `tests/e2e/istio.rs`, `tests/e2e/compose.rs`
//! and `tests/docker` run what is in them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test may fail loudly, and its values are made for it"
)]

mod compose;
mod image;
mod istio;
mod release;
mod schema;

use serde::Deserialize;
use serde_json::Value;

/// The documents of a YAML file.
fn documents(yaml: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(yaml);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
