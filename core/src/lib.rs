//! `keyless` lets callers in with their own token and lets Azure OpenAI see only a managed identity.
//!
//! It is one proxy-wasm filter. A request goes one way through these rooms, and every room is
//! readable alone:
//!
//! 1. [`request`] captures what the caller sent: the path, the credential, the headers to remove.
//! 2. [`policy`] finds the first route that matches.
//! 3. [`bearer`] takes the one credential out of `Authorization` (RFC 6750).
//! 4. [`jwt`] parses the token strictly (RFC 7515, 7519, 8725), [`jwks`] holds the keys of its
//!    issuer, [`signature`] verifies.
//! 5. [`policy`] looks for a grant that the claims satisfy.
//! 6. [`identity`] asks Azure for the token that takes the place of the caller's.
//!
//! [`usage`] reads what an answer used, and [`price`] says what that costs. [`limit`] says who may
//! use how much, [`ledger`] counts it for all threads of a proxy, and [`settle`] for all proxies of
//! a fleet.
//!
//! [`gate`] joins them: events go in with the time, decisions and calls to make come out. [`exchange`]
//! carries out a decision on the request and its answer.
//! [`fetch`] decides when keys and identity tokens are fetched, and by which thread of the proxy,
//! [`denial`] turns each reason into a reply, [`metadata`] describes the gateway to clients,
//! [`config`] makes the whole from the plugin's configuration. None of them knows a proxy, a clock
//! or a socket: the two hosts translate between them and Envoy. Imports run one way:
//! `tests/layers.rs` states the order.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::needless_pass_by_value,
        reason = "a test may fail loudly, and its values are made for it"
    )
)]

pub mod ask;
pub mod bearer;
pub mod body;
pub mod config;
pub mod credentials;
pub mod denial;
pub mod exchange;
pub mod fetch;
pub mod gate;
pub mod http;
pub mod identity;
mod json;
pub mod jwks;
pub mod jwt;
pub mod ledger;
pub mod limit;
pub mod log;
pub mod metadata;
pub mod metrics;
pub mod policy;
pub mod price;
pub mod request;
pub mod secret;
pub mod settle;
pub mod signature;
pub mod token_cache;
pub mod usage;
