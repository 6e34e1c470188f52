//! Envoy in any order, against the hooks of the dynamic module.

#![no_main]

use keyless_dynamic_module_host::envoy::PANICS;
use keyless_dynamic_module_host::play::play;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| {
    play(script);
    let panics = std::mem::take(&mut *PANICS.lock().unwrap());
    assert!(panics.is_empty(), "{panics:?}");
});
