//! `jwt_verify_lib` takes audiences for one another; we compare them exactly (RFC 7519 §4.1.3).

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyless_core::config::Config;
use keyless_core::jwt::Token;
use serde::Deserialize;
use serde_json::json;

use crate::row::{code, document, issuer};
use crate::rows;

/// Audiences that are configured and audiences that a token names; the source accepts every row.
#[derive(Deserialize)]
struct Row {
    configured: Vec<String>,
    token_aud: Vec<String>,
}

/// What this project says: the code of the configuration's check or of the token's.
fn outcome(row: &Row) -> &'static str {
    let entry = json!({ "issuer": "https://idp.example.com/", "audiences": row.configured });
    if Config::parse(document(entry.clone()).to_string().as_bytes()).is_err() {
        return "configuration refused";
    }
    let claims = json!({ "iss": "https://idp.example.com/", "exp": 60, "aud": row.token_aud });
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    let text = format!("{}.{payload}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#));
    let now = UNIX_EPOCH + Duration::from_secs(30);
    code(Token::parse(&text).unwrap().check(&issuer(entry), now))
}

/// Differs in scheme or trailing slash alone, which that library leaves out of the comparison.
fn is_loose(row: &Row) -> bool {
    let bare = |text: &String| {
        let text = text.trim_start_matches("https://").trim_start_matches("http://");
        text.trim_end_matches('/').to_owned()
    };
    let exact = row.token_aud.iter().any(|audience| row.configured.contains(audience));
    let configured: Vec<_> = row.configured.iter().map(bare).collect();
    !exact && row.token_aud.iter().map(bare).any(|audience| configured.contains(&audience))
}

#[test]
fn audiences_are_compared_exactly() {
    let rows: Vec<Row> = rows("audience.json");
    assert_eq!(rows.len(), 35);
    let (loose, rest): (Vec<_>, Vec<_>) = rows.iter().partition(|row| is_loose(row));
    assert_eq!(loose.len(), 30);
    for row in loose {
        let pair = (&row.configured, &row.token_aud);
        assert_eq!(outcome(row), "audience_mismatch", "{pair:?}: scheme and slash count");
    }
    let rest: Vec<_> = rest.iter().map(|row| (row.configured.join(" "), outcome(row))).collect();
    let expected = [
        ("", "configuration refused"), // Without an audience, every one would do.
        ("bar quux foo", "ok"),
        ("bar quux foo", "ok"),
        ("bar ", "configuration refused"), // So would an empty one, for whoever forgets it.
        ("bar ", "configuration refused"),
    ];
    assert_eq!(rest, expected.map(|(configured, outcome)| (configured.to_owned(), outcome)));
}
