//! Failures on demand, for the tests of what stands around keyless: the feature `chaos` alone builds
//! them in, and no released module has it.

use log::warn;
use proxy_wasm::hostcalls;

/// The header of a request that traps the VM.
const TRAP: &str = "x-keyless-trap";

/// The environment variable of the VM that keeps the module from every worker.
const NO_WORKERS: &str = "KEYLESS_NO_WORKERS";

/// The threads that are configured before the first worker: the canary's and the main one.
const BEFORE_WORKERS: usize = 2;

/// The key of the shared data whose length is the number of configurations so far.
const STARTS: &str = "keyless.chaos.starts";

/// Returns whether this thread may have the module.
pub(crate) fn starts() -> bool {
    warn!("keyless-chaos: this module fails on demand, it is for tests");
    std::env::var_os(NO_WORKERS).is_none() || count() <= BEFORE_WORKERS
}

/// Traps if the request asks for it.
pub(crate) fn obey(headers: &[(String, Vec<u8>)]) {
    if headers.iter().any(|(name, _)| name == TRAP) {
        std::process::abort();
    }
}

/// Counts this configuration among those of all threads.
fn count() -> usize {
    loop {
        let (starts, cas) = hostcalls::get_shared_data(STARTS).unwrap_or_default();
        let count = starts.map_or(0, |starts| starts.len()).saturating_add(1);
        if hostcalls::set_shared_data(STARTS, Some(&vec![0; count]), cas).is_ok() {
            return count;
        }
    }
}
