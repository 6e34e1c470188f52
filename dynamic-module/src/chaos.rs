//! Panics on demand, for the tests of what catches them: the feature `chaos` alone builds them in, and
//! no released object has it.

use std::sync::Mutex;

use crate::abi::{Map, Stream};
use crate::lock;

/// The header of a request that names the hook which is to panic when it is called next.
const PANIC: &str = "x-keyless-panic";

static ASKED: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Takes note of the hook that a request asks to panic.
pub(crate) fn hear(stream: &Stream<'_>) {
    if let Some(hook) = stream.header(Map::RequestHeaders, PANIC) {
        *lock(&ASKED) = Some(hook);
    }
}

/// Panics if a request has asked for it here, once.
pub(crate) fn obey(hook: &str) {
    let asked = lock(&ASKED).take_if(|asked| asked == hook.as_bytes());
    assert!(asked.is_none(), "a panic on demand");
}
