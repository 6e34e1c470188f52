//! The one credential of a request: `Authorization: Bearer` (RFC 6750 §2.1, RFC 9110 §11.6.2), or
//! where else a route lets a token stand.

use crate::credentials::OPENAI_SUBPROTOCOL;
use crate::denial::Denial;
use crate::request::{Head, PROTOCOLS};

/// Limits a credential, in bytes; longer ones are refused before anything looks at them.
///
/// Entra's largest tokens, with 200 groups, stay below 12 kB.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Says where in a request a token may stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialPlace {
    /// In the headers that clients fill from a box for an API key: `api-key` of the Azure OpenAI
    /// SDKs, `x-api-key` of Anthropic's.
    ApiKey,
    /// In `Authorization: Bearer`.
    Authorization,
    /// In the WebSocket subprotocol `openai-insecure-api-key.TOKEN` of OpenAI's realtime clients:
    /// browsers can set no header there.
    Subprotocol,
}

/// The headers of [`CredentialPlace::ApiKey`].
pub const API_KEY_HEADERS: [&str; 2] = ["api-key", "x-api-key"];

impl CredentialPlace {
    /// Returns the word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::Authorization => "authorization",
            Self::Subprotocol => "subprotocol",
        }
    }

    /// Tells a caller how to send a token there.
    fn advice(self) -> &'static str {
        match self {
            Self::ApiKey => "in 'api-key' or 'x-api-key'",
            Self::Authorization => "as 'Authorization: Bearer'",
            Self::Subprotocol => "as the WebSocket subprotocol 'openai-insecure-api-key.TOKEN'",
        }
    }

    /// Returns whatever stands there, be it a token or not.
    fn values(self, head: &Head) -> Vec<&[u8]> {
        match self {
            Self::ApiKey => API_KEY_HEADERS.iter().flat_map(|name| head.values(name)).collect(),
            Self::Authorization => head.authorization(),
            Self::Subprotocol => {
                let items =
                    head.values(PROTOCOLS).flat_map(|value| value.split(|byte| *byte == b','));
                items.filter_map(|item| without_prefix(item.trim_ascii())).collect()
            }
        }
    }
}

/// Returns what follows the name of the subprotocol, in whatever case that is written.
fn without_prefix(item: &[u8]) -> Option<&[u8]> {
    let (name, token) = item.split_at_checked(OPENAI_SUBPROTOCOL.len())?;
    name.eq_ignore_ascii_case(OPENAI_SUBPROTOCOL.as_bytes()).then_some(token)
}

/// Takes the one credential out of the places where it may stand, without looking at it.
///
/// # Errors
///
/// Those of [`credential`]; [`Denial::AuthorizationAmbiguous`] also if there is one in two places,
/// of whatever kind.
pub fn credential_in<'a>(head: &'a Head, places: &[CredentialPlace]) -> Result<&'a [u8], Denial> {
    if let [CredentialPlace::Authorization] = places {
        return credential(&head.authorization());
    }
    let values =
        |place: CredentialPlace| place.values(head).into_iter().map(move |value| (place, value));
    let mut found = places.iter().copied().flat_map(values);
    match (found.next(), found.next()) {
        (None, _) => {
            Err(Denial::TokenMissing { places: places.iter().map(|one| one.advice()).collect() })
        }
        (Some(_), Some(_)) => Err(Denial::AuthorizationAmbiguous),
        (Some((CredentialPlace::Authorization, value)), None) => credential(&[value]),
        (Some((_, value)), None) if value.len() > MAX_TOKEN => Err(Denial::TokenTooLarge),
        (Some((_, value)), None) => Ok(value),
    }
}

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
        [] => return Err(missing()),
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

fn missing() -> Denial {
    Denial::TokenMissing { places: vec![CredentialPlace::Authorization.advice()] }
}

/// Another well-formed scheme is no bearer credential; anything else is no credential at all.
fn other_scheme(scheme: &[u8], value: &[u8]) -> Denial {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if value.contains(&b',') {
        Denial::AuthorizationAmbiguous
    } else if !scheme.is_empty() && scheme.iter().all(is_token) {
        missing()
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
        assert_eq!(token(&[]), Err(missing()));
        for value in ["Basic dXNlcjpwYXNz", "Negotiate", "DPoP abc", "Bearertoken"] {
            assert_eq!(token(&[value.as_bytes()]), Err(missing()), "{value}");
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

    fn head(pairs: &[(&str, &str)]) -> Head {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().into()));
        Head::new(pairs.collect())
    }

    #[test]
    fn a_token_may_stand_in_one_of_several_places() {
        use CredentialPlace::{ApiKey, Authorization, Subprotocol};
        let all = [Authorization, ApiKey, Subprotocol];
        let protocols = "realtime, OpenAI-insecure-api-key.abc ,openai-beta.realtime-v1";
        let rows = [
            ("authorization", "Bearer abc"),
            ("api-key", "abc"),
            ("x-api-key", "abc"),
            (PROTOCOLS, protocols),
        ];
        for (name, value) in rows {
            let head = head(&[(name, value), ("accept", "Bearer x")]);
            assert_eq!(credential_in(&head, &all), Ok(b"abc".as_slice()), "{name}");
            let elsewhere = if name == "authorization" { [ApiKey] } else { [Authorization] };
            let missing = credential_in(&head, &elsewhere);
            assert!(matches!(missing, Err(Denial::TokenMissing { .. })), "{name}");
        }
        for one in rows {
            for other in rows {
                let found = credential_in(&head(&[one, other]), &all).map(<[u8]>::to_vec);
                assert_eq!(found, Err(Denial::AuthorizationAmbiguous), "{one:?} {other:?}");
            }
        }
        let twice = "openai-insecure-api-key.abc, openai-insecure-api-key.abc";
        let found = head(&[(PROTOCOLS, twice)]);
        assert_eq!(credential_in(&found, &[Subprotocol]), Err(Denial::AuthorizationAmbiguous));
        let basic = head(&[("authorization", "Basic abc"), ("api-key", "abc")]);
        assert_eq!(credential_in(&basic, &all), Err(Denial::AuthorizationAmbiguous));
        let long = head(&[("api-key", &"a".repeat(MAX_TOKEN + 1))]);
        assert_eq!(credential_in(&long, &all), Err(Denial::TokenTooLarge));
    }

    #[test]
    fn who_sends_no_token_is_told_where_it_may_stand() {
        let places = [CredentialPlace::ApiKey, CredentialPlace::Subprotocol];
        let Err(Denial::TokenMissing { places }) = credential_in(&head(&[]), &places) else {
            panic!("there is none");
        };
        assert_eq!(places[0], "in 'api-key' or 'x-api-key'");
        assert!(places[1].contains("openai-insecure-api-key.TOKEN"));
    }

    #[test]
    fn a_credential_beyond_the_limit_is_refused_unread() {
        let fits = format!("Bearer {}", "a".repeat(MAX_TOKEN));
        assert!(token(&[fits.as_bytes()]).is_ok());
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        assert_eq!(token(&[long.as_bytes()]), Err(Denial::TokenTooLarge));
    }
}
