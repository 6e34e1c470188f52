//! Bodies that name a model: the first line is the content type, the rest the body.

#![no_main]

use keyless_core::body::{Format, model};
use keyless_core::request::Head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (kind, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let head = Head::new(vec![("content-type".to_owned(), kind.to_vec())]);
    let Ok(format) = Format::of(&head) else { return };
    let Ok(Some(name)) = model(&format, body) else { return };
    assert!((1..=256).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()));
    match format {
        Format::Form(boundary) => {
            // A form says it as it is.
            let is_in = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(is_in(&name) && is_in(&boundary));
        }
        Format::Json => {
            // What is inside of the other members is not looked at, and may be more than a value can be.
            if let Ok(whole) = serde_json::from_slice::<serde_json::Value>(body) {
                assert_eq!(whole["model"], name.as_str());
            }
        }
    }
});
