//! keyless as a dynamic module: it translates between Envoy's hooks and the gate of
//! [`keyless_core`], and decides nothing. The proxy-wasm filter does the same for the Wasm VM.
//!
//! [`filter`] has the hooks of one request, [`exchange`] is that and its answer, [`worker`] the gate of one thread, and [`plugin`] what the
//! threads of one configuration have in common. Calls can be made on Envoy's main thread alone, so
//! [`fetcher`] makes them there for all workers, and [`shared_data`] is where they find the answers.
//! A stream that must wait is parked, and [`bells`] calls it on its own worker when there may be news.

mod abi;
mod bells;
#[cfg(feature = "chaos")]
mod chaos;
mod crypto;
mod exchange;
mod fetcher;
mod filter;
mod metrics;
mod plugin;
mod shared_data;
mod worker;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

fn now() -> SystemTime {
    SystemTime::now()
}

/// Locks what no panic can leave half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
