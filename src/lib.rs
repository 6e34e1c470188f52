//! keyless as a proxy-wasm filter: it translates between Envoy's callbacks and the gate of
//! [`keyless_core`], and decides nothing.
//!
//! [`root`] has the callbacks of one configuration on one thread, [`stream`] those of one request;
//! [`plugin`] is what they share, and [`exchange`] the request and its answer. The root owns every call: the SDK would drop an answer whose stream is gone
//! (proxy-wasm/proxy-wasm-rust-sdk#385). A stream that must wait pauses and shortens the root's tick;
//! the root sends the calls and resumes the streams that its gate releases.

// Envoy is the only caller; elsewhere the crate is empty, and the tests link `keyless-core`.
#![cfg(target_arch = "wasm32")]
#![expect(missing_docs, reason = "`proxy_wasm::main` makes a public function without any")]

#[cfg(feature = "chaos")]
mod chaos;
mod crypto;
mod exchange;
mod metrics;
mod plugin;
mod root;
mod shared_data;
mod stream;

use std::time::{Duration, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::types::LogLevel;
use root::Root;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// The shortest tick that Envoy knows: the root is called again as soon as possible.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// Has the root called as soon as possible.
fn wake_root() {
    _ = hostcalls::set_tick_period(SHORTEST_TICK);
}

/// Returns the time, if the host gives it. Without it no token can be checked, so that nothing may
/// be decided.
fn now() -> Option<SystemTime> {
    #[cfg(feature = "chaos")]
    if chaos::stops_the_clock() {
        return None;
    }
    hostcalls::get_current_time().ok()
}
