//! What the end-to-end and the interop tests share.
//!
//! A [`world::World`] is an Azure on this machine, the gateway in front of it, and callers, who get a
//! [`reply::Reply`]; a [`line::Line`] is a connection on which each byte is the test's own, and a
//! [`backend::Backend`] says each byte of its answers.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail loudly, and its values are made for it"
)]

pub mod backend;
pub mod line;
pub mod mesh;
pub mod projected;
pub mod rate_limit;
mod recorded;
pub mod reply;
pub mod world;
