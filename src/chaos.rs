//! Failures on demand, for the tests of what stands around keyless: the feature `chaos` alone builds
//! them in, and no released module has it.

use std::cell::Cell;

use log::warn;
use proxy_wasm::hostcalls;

/// The header of a request that traps the VM.
const TRAP: &str = "x-keyless-trap";

/// The header of a request for which the host tells no time.
const NO_CLOCK: &str = "x-keyless-no-clock";

/// The header of a request from which the host removes no header.
const KEEP_HEADERS: &str = "x-keyless-keep-headers";

thread_local! {
    /// Set by the head of a request until the next one comes.
    static NO_CLOCK_NOW: Cell<bool> = const { Cell::new(false) };
    static KEEP_HEADERS_NOW: Cell<bool> = const { Cell::new(false) };
}

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

/// Traps if the request asks for it, or has the host fail as it asks.
pub(crate) fn obey(headers: &[(String, Vec<u8>)]) {
    let asks_for = |fault: &str| headers.iter().any(|(name, _)| name == fault);
    if asks_for(TRAP) {
        std::process::abort();
    }
    NO_CLOCK_NOW.set(asks_for(NO_CLOCK));
    KEEP_HEADERS_NOW.set(asks_for(KEEP_HEADERS));
}

/// Returns whether the host tells no time at the moment.
pub(crate) fn stops_the_clock() -> bool {
    NO_CLOCK_NOW.get()
}

/// Returns whether the host removes no header at the moment.
pub(crate) fn keeps_headers() -> bool {
    KEEP_HEADERS_NOW.get()
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
