//! The one credential of a request: `Authorization: Bearer` (RFC 6750 §2.1, RFC 9110 §11.6.2).

use crate::denial::Denial;

/// Limits a credential, in bytes; longer ones are refused before anything looks at them.
///
/// Entra's largest tokens, with 200 groups, stay below 12 kB.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Takes the credential out of all values of `Authorization` that a request carries, without
/// looking at it.
///
/// ```
/// # use keyless_core::bearer::{credential, token};
/// let credential = credential(&[b"Bearer abc.def.ghi"]).unwrap();
/// assert_eq!(token(credential), Ok("abc.def.ghi"));
/// ```
///
/// # Errors
///
/// - [`Denial::TokenMissing`]: no value, or another scheme than `Bearer`.
/// - [`Denial::AuthorizationAmbiguous`]: two values.
/// - [`Denial::AuthorizationMalformed`]: no scheme at all.
/// - [`Denial::TokenTooLarge`]: longer than [`MAX_TOKEN`].
pub fn credential<'a>(authorization: &[&'a [u8]]) -> Result<&'a [u8], Denial> {
    let value = match authorization {
        [] => return Err(Denial::TokenMissing),
        [value] => *value,
        [_, _, ..] => return Err(Denial::AuthorizationAmbiguous),
    };
    let (scheme, rest) = match value.iter().position(|byte| *byte == b' ') {
        Some(at) => value.split_at(at),
        None => (value, [].as_slice()),
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(other_scheme(scheme, value));
    }
    let start = rest.iter().position(|byte| *byte != b' ');
    let credential = start.and_then(|start| rest.get(start..)).unwrap_or_default();
    if credential.len() > MAX_TOKEN { Err(Denial::TokenTooLarge) } else { Ok(credential) }
}

/// Reads a credential as one token.
///
/// # Errors
///
/// - [`Denial::AuthorizationAmbiguous`]: there is a comma, which is what proxies make of two values.
/// - [`Denial::AuthorizationMalformed`]: not exactly one run of RFC 6750's `b64token`.
pub fn token(credential: &[u8]) -> Result<&str, Denial> {
    match str::from_utf8(credential) {
        Ok(token) if is_b64token(credential) => Ok(token),
        Ok(_) | Err(_) if credential.contains(&b',') => Err(Denial::AuthorizationAmbiguous),
        Ok(_) | Err(_) => Err(Denial::AuthorizationMalformed),
    }
}

/// Another well-formed scheme is no bearer credential; anything else is no credential at all.
fn other_scheme(scheme: &[u8], value: &[u8]) -> Denial {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if value.contains(&b',') {
        Denial::AuthorizationAmbiguous
    } else if !scheme.is_empty() && scheme.iter().all(is_token) {
        Denial::TokenMissing
    } else {
        Denial::AuthorizationMalformed
    }
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750 §2.1).
fn is_b64token(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != b'=');
    let body = end.and_then(|last| bytes.get(..=last)).unwrap_or_default();
    let allowed = |byte: &u8| B64TOKEN.get(usize::from(*byte)).is_some_and(|allowed| *allowed);
    !body.is_empty() && body.iter().all(allowed)
}

/// For each byte, whether it may stand in a `b64token`; a table, because tokens are long.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it")]
static B64TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let allowed = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
    let mut rest = allowed.as_slice();
    while let [byte, tail @ ..] = rest {
        table[*byte as usize] = true;
        rest = tail;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn token<'a>(authorization: &[&'a [u8]]) -> Result<&'a str, Denial> {
        super::token(credential(authorization)?)
    }

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
        let values: [&[u8]; 13] = [
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
            b"Bearer \ta",
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
