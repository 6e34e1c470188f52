//! Panics on demand, for the tests of what catches them: the feature `chaos` alone builds them in, and
//! no released object has it.

/// The header of a request that names the hook which is to panic.
const PANIC: &str = "x-keyless-panic";

/// Panics if the request asks for it here.
pub(crate) fn obey(hook: &str, headers: &[(String, Vec<u8>)]) {
    let asks = |(name, value): &(String, Vec<u8>)| name == PANIC && value == hook.as_bytes();
    assert!(!headers.iter().any(asks), "a panic on demand");
}
