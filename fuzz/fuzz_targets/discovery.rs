//! An issuer's name on the first line, then its discovery document: no other host is asked.

#![no_main]

use keyless_core::jwks::discovered;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (issuer, document) = text.split_once('\n').unwrap_or(("https://idp.example.com", text));
    let Ok(uri) = discovered(document.as_bytes(), issuer) else { return };
    let rest = issuer.split_once("://").unwrap().1;
    let host = rest.split(['/', '?', '#']).next().unwrap();
    assert!(uri.authority.eq_ignore_ascii_case(host), "{} is not {host}", uri.authority);
    assert!(!uri.authority.is_empty() && !uri.authority.contains('@'));
    assert!(uri.path.starts_with('/') && !uri.path.contains('#'));
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(is_plain(&uri.authority) && is_plain(&uri.path), "it goes into headers");
});
