//! Plays Envoy to the dynamic module: defines the functions that the module calls, and calls its hooks
//! in any order. [`envoy`] has both sides of the ABI, [`play`] makes a play of bytes, and
//! [`callers`] has the configurations, the heads and the answers that plays are made of.

#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a test may fail loudly, and its values are made for it"
)]

pub mod callers;
pub mod envoy;
pub mod play;

use keyless_dynamic_module_linked as _; // its hooks are found by their names
