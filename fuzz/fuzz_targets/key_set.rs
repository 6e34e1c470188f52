//! A JWKS document: every key that is kept may be used, and bounds hold.

#![no_main]

use keyless_core::jwks::KeySet;
use keyless_core::signature::{Algorithm, Crypto as _, Sandbox};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(set) = KeySet::parse(bytes, None) else { return };
    assert!((1..=1000).contains(&set.len()));
    let mut usable = 0;
    for (_, algorithm) in Algorithm::ALL {
        let mut tried = 0;
        for key in set.candidates(None, algorithm) {
            tried += 1;
            assert!(key.fits(algorithm));
            assert_eq!(key.spki().is_empty(), algorithm == Algorithm::EdDsa);
            for length in [0, 63, 64, 65, 96] {
                assert!(!Sandbox.verify(algorithm, key, b"message", &vec![0; length]));
            }
        }
        assert!(tried <= 5, "each try costs a verification");
        usable += tried;
    }
    assert!(usable > 0, "a set without a usable key is none");
});
