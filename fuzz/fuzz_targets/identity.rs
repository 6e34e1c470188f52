//! An answer of a source of tokens: an accepted token fits into a header and lives. And a backend's
//! explanation: what is logged of it is one short line.

#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use keyless_core::identity::{explanation, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let line = explanation(bytes).unwrap_or_default();
    assert!(line.len() <= 400 && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    let Ok(token) = parse(bytes, "https://cognitiveservices.azure.com", now) else { return };
    let secret = token.authorization().expose().strip_prefix("Bearer ").unwrap();
    assert!((1..=16 * 1024).contains(&secret.len()));
    assert!(secret.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(token.unusable_at(now) > now, "it has a future");
    assert!(token.refresh_at(now) >= now);
    assert!(!format!("{token:?}").contains(secret) || secret.len() < 24, "it shows");
});
