//! Several Envoys that count together through the real envoyproxy/ratelimit and a real Redis, under
//! load: what they admit against what the backend has served, whatever is killed meanwhile.
//!
//! Needs what `make fleet` installs and names in the environment: `ENVOY`, `KEYLESS_WASM` and `FLEET`,
//! the folder with `bin/service_cmd`; and redis-server and redis-cli.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail loudly, its values are made for it, and the figures are for the page"
)]

mod faults;
mod filter;
mod load;
mod member;
mod overshoot;
mod pair;
mod stub;
