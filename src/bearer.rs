//! The one credential of a request: `Authorization: Bearer` (RFC 6750 §2.1, RFC 9110 §11.6.2).

use crate::denial::Denial;

/// Limits a credential, in bytes; longer ones are refused before anything looks at them.
///
/// Entra's largest tokens, with 200 groups, stay below 12 kB.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Takes the token out of all values of `Authorization` that a request carries.
///
/// ```
/// # use keyless::bearer::token;
/// assert_eq!(token(&[b"Bearer abc.def.ghi"]), Ok("abc.def.ghi"));
/// ```
///
/// # Errors
///
/// - [`Denial::TokenMissing`]: no value, or another scheme than `Bearer`.
/// - [`Denial::AuthorizationAmbiguous`]: two values, or one with a comma, which is what proxies
///   make of two.
/// - [`Denial::AuthorizationMalformed`]: not exactly one run of RFC 6750's `b64token`.
/// - [`Denial::TokenTooLarge`]: longer than [`MAX_TOKEN`].
pub fn token<'a>(authorization: &[&'a [u8]]) -> Result<&'a str, Denial> {
    let value = match authorization {
        [] => return Err(Denial::TokenMissing),
        [value] => *value,
        [_, _, ..] => return Err(Denial::AuthorizationAmbiguous),
    };
    if value.contains(&b',') {
        return Err(Denial::AuthorizationAmbiguous);
    }
    let text = str::from_utf8(value).map_err(|_| Denial::AuthorizationMalformed)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(other_scheme(scheme));
    }
    let token = rest.trim_start_matches(' ');
    if token.len() > MAX_TOKEN {
        return Err(Denial::TokenTooLarge);
    }
    if is_b64token(token) { Ok(token) } else { Err(Denial::AuthorizationMalformed) }
}

/// Another well-formed scheme is no bearer credential; anything else is no credential at all.
fn other_scheme(scheme: &str) -> Denial {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !scheme.is_empty() && scheme.bytes().all(is_token) {
        Denial::TokenMissing
    } else {
        Denial::AuthorizationMalformed
    }
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750 §2.1).
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_case_insensitive_and_may_be_followed_by_more_spaces() {
        for value in ["Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc"] {
            assert_eq!(token(&[value.as_bytes()]), Ok("abc"), "{value}");
        }
    }

    #[test]
    fn no_header_and_another_scheme_are_a_missing_token() {
        assert_eq!(token(&[]), Err(Denial::TokenMissing));
        for value in ["Basic dXNlcjpwYXNz", "Negotiate", "DPoP abc", "Bearertoken"] {
            assert_eq!(token(&[value.as_bytes()]), Err(Denial::TokenMissing), "{value}");
        }
    }

    #[test]
    fn two_credentials_are_ambiguous_however_they_come() {
        assert_eq!(token(&[b"Bearer a", b"Bearer a"]), Err(Denial::AuthorizationAmbiguous));
        assert_eq!(token(&[b"Bearer a,Bearer b"]), Err(Denial::AuthorizationAmbiguous));
        assert_eq!(token(&[b"Basic a, Bearer b"]), Err(Denial::AuthorizationAmbiguous));
        assert_eq!(token(&[b"Bearer a,"]), Err(Denial::AuthorizationAmbiguous));
    }

    #[test]
    fn anything_but_one_b64token_is_malformed() {
        let values: [&[u8]; 12] = [
            b"",
            b" ",
            b"Bearer",
            b"Bearer ",
            b"Bearer a b",
            b"Bearer a ",
            b"Bearer \"a\"",
            b"Bearer =",
            b"Bearer a=b",
            b"Bearer\ta",
            b"Bearer \xff\xfe",
            b"\xc3\x28 abc",
        ];
        for value in values {
            assert_eq!(token(&[value]), Err(Denial::AuthorizationMalformed), "{value:?}");
        }
    }

    #[test]
    fn a_credential_beyond_the_limit_is_refused_unread() {
        let fits = format!("Bearer {}", "a".repeat(MAX_TOKEN));
        assert!(token(&[fits.as_bytes()]).is_ok());
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        assert_eq!(token(&[long.as_bytes()]), Err(Denial::TokenTooLarge));
    }
}
