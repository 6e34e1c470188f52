//! Programs of others: OIDC servers whose tokens keyless accepts, and SDKs that call through it, in
//! a real Envoy on the shipped `envoy.yaml`, or on `istio/` as istiod encodes it; and the same SDKs at local-azure, which shows that it
//! plays Azure well enough to test against.
//!
//! Needs what `make interop` installs and names in the environment: `ENVOY`, `KEYLESS_WASM`,
//! `INTEROP` and `KEYCLOAK`. See `README.md` beside this file.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::string_slice,
    reason = "a test may fail loudly, and its values are made for it"
)]

mod program;

mod azure_identity;
mod keycloak;
mod limits;
mod oidc_servers;
mod openai_sdk;
mod page;
mod queue;
mod usage;
