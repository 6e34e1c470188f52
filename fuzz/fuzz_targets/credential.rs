//! Values of `Authorization`, one a line: what is taken for a token is one, and whole.

#![no_main]

use keyless_core::bearer::{MAX_TOKEN, credential, token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let values: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let Ok(credential) = credential(&values) else { return };
    assert_eq!(values.len(), 1, "two values are ambiguous");
    assert!(values[0].to_ascii_lowercase().starts_with(b"bearer"));
    assert!(values[0].ends_with(credential) && credential.len() <= MAX_TOKEN);
    let Ok(token) = token(credential) else { return };
    assert_eq!(token.as_bytes(), credential);
    // RFC 6750 §2.1
    let body = token.trim_end_matches('=');
    assert!(body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)));
    assert!(!body.is_empty());
});
