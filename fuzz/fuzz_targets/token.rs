//! A token: what parses is the one way to write its parts, and what verifies was published.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyless_core::jwks::KeySet;
use keyless_core::jwt::{KeptClaims, Token};
use keyless_core::signature::Sandbox;
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// The keys of RFC 7515, appendices A.2 and A.3, and of RFC 8037, appendix A.
    static KEYS: KeySet = KeySet::parse(include_bytes!("../corpus/key_set/rfc"), None).unwrap();
}

/// All that these keys ever signed: the payload of RFC 7515, appendix A.
const PUBLISHED: [&str; 2] = [
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
];

fuzz_target!(|text: &str| {
    let Ok(token) = Token::parse(text) else { return };
    let parts: Vec<&str> = text.split('.').collect();
    assert_eq!(parts.len(), 3);
    for part in parts {
        let decoded = URL_SAFE_NO_PAD.decode(part).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(decoded), part, "one way to write it");
    }
    assert!(token.kid().is_none_or(|kid| kid.len() <= 256));
    let brief =
        Token::parse_for(text, &KeptClaims::new([])).expect("it has less to complain about");
    assert_eq!((brief.kid(), brief.issuer()), (token.kid(), token.issuer()));
    KEYS.with(|keys| {
        if let Ok(verified) = token.verify(keys, &Sandbox) {
            let (signed, _) = text.rsplit_once('.').unwrap();
            assert!(PUBLISHED.contains(&signed), "forged");
            assert!(verified.is_signed_by(keys));
            assert_eq!(verified.claims().text("iss"), Some("joe"));
        }
    });
});
