//! The gateway's own identity: the request for a managed-identity token, and its answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::config::{Identity, ImdsSelector};
use crate::http::{Call, FetchError};
use crate::json;
use crate::refresh::{after, spread};
use crate::secret::Secret;

/// Holds an access token of a managed identity and the times that it is good for.
#[derive(Clone, Debug)]
pub struct AccessToken {
    secret: Secret,
    expires: SystemTime,
    refresh_in: Option<Duration>,
}

// A life of two hours and more leaves time enough for a first try half-way (azure-identity, MSAL).
const LONG_LIFE: Duration = Duration::from_hours(2);
// A shorter one is replaced this long before its end (azure-identity, MSAL).
const REFRESH_MARGIN: Duration = Duration::from_mins(5);
// A request may be on its way for a while, and its retries carry the same token.
const SAFETY_MARGIN: Duration = Duration::from_mins(1);

impl AccessToken {
    /// Returns the value of `Authorization` that presents the token.
    pub fn authorization(&self) -> &Secret {
        &self.secret
    }

    /// Returns when the next token should be asked for, if this one came `now`: when Azure says, or
    /// half-way through a long life, or a margin before the end of a short one.
    pub fn refresh_at(&self, now: SystemTime) -> SystemTime {
        let life = self.expires.duration_since(now).unwrap_or_default();
        let half = life.mul_f64(0.5);
        let by_life =
            if life >= LONG_LIFE { half } else { half.max(life.saturating_sub(REFRESH_MARGIN)) };
        let wait = self.refresh_in.map_or(by_life, |wait| wait.min(life));
        after(spread(wait, now), now)
    }

    /// Returns when the token must no longer be sent, if it came `now`: a margin before its end,
    /// which is smaller for a life that is shorter than any that Azure gives.
    pub fn unusable_at(&self, now: SystemTime) -> SystemTime {
        let life = self.expires.duration_since(now).unwrap_or_default();
        let margin = SAFETY_MARGIN.min(life.mul_f64(0.25));
        self.expires.checked_sub(margin).unwrap_or(now)
    }
}

/// IMDS answers at this address alone, and only over plain HTTP.
const IMDS_AUTHORITY: &str = "169.254.169.254";
const IMDS_PATH: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01";

/// How long IMDS may take for one answer.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// RFC 3986's unreserved characters stay as they are.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Limits an access token, in bytes; with the other headers it must fit into Envoy's 60 KiB.
const MAX_TOKEN: usize = 16 * 1024;

/// Returns the call that asks IMDS for a token (Microsoft: "How to use managed identities for
/// Azure resources on an Azure VM to acquire an access token").
pub fn call(identity: &Identity) -> Call {
    let encode = |text| utf8_percent_encode(text, QUERY);
    let selector = match &identity.selector {
        ImdsSelector::System => None,
        ImdsSelector::ClientId(id) => Some(("client_id", id)),
        ImdsSelector::ObjectId(id) => Some(("object_id", id)),
        ImdsSelector::ResourceId(id) => Some(("msi_res_id", id)),
    };
    let selected =
        selector.map_or_else(String::new, |(name, id)| format!("&{name}={}", encode(id)));
    let path = format!("{IMDS_PATH}&resource={}{selected}", encode(&identity.resource));
    Call {
        cluster: identity.cluster.clone(),
        method: "GET",
        authority: IMDS_AUTHORITY.to_owned(),
        path,
        headers: vec![("metadata", "true")],
        timeout: TIMEOUT,
    }
}

/// Reads the answer of IMDS: a JSON object whose numbers may be strings.
///
/// # Errors
///
/// Fails if anything about the token is in doubt: no object, another `token_type` than `Bearer`, a
/// token that is empty, overlong or not printable ASCII, or an expiry that is missing or past.
pub fn parse(body: &[u8], now: SystemTime) -> Result<AccessToken, FetchError> {
    let answer = json::object(body).map_err(|_| FetchError::Malformed("not a JSON object"))?;
    let text = |name| answer.get(name).and_then(Value::as_str);
    if !text("token_type").is_some_and(|name| name.eq_ignore_ascii_case("bearer")) {
        return Err(FetchError::Malformed("token_type is not Bearer"));
    }
    let token = text("access_token").unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(FetchError::Malformed("access_token is not a token"));
    }
    if token.len() > MAX_TOKEN {
        return Err(FetchError::Malformed("access_token is too long"));
    }
    let expires = expiry(&answer, now).ok_or(FetchError::Malformed("no expiry"))?;
    if expires <= now {
        return Err(FetchError::Malformed("the token has expired"));
    }
    let refresh_in = seconds(&answer, "refresh_in");
    Ok(AccessToken { secret: Secret::new(format!("Bearer {token}")), expires, refresh_in })
}

/// `expires_on` is a date and holds however long the answer took; `expires_in` counts from now.
fn expiry(answer: &Map<String, Value>, now: SystemTime) -> Option<SystemTime> {
    let date = seconds(answer, "expires_on").and_then(|date| UNIX_EPOCH.checked_add(date));
    date.or_else(|| now.checked_add(seconds(answer, "expires_in")?))
}

/// Azure's hosts send whole numbers as numbers or as strings.
fn seconds(answer: &Map<String, Value>, name: &str) -> Option<Duration> {
    let value = answer.get(name)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RESOURCE: &str = "https://cognitiveservices.azure.com";

    fn identity(selector: ImdsSelector) -> Identity {
        Identity {
            name: "openai".to_owned(),
            resource: RESOURCE.to_owned(),
            cluster: "imds".to_owned(),
            selector,
        }
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// A good answer with some members replaced; `null` leaves one out.
    fn answer(changes: Value) -> Result<AccessToken, FetchError> {
        let mut answer = json!({
            "access_token": "eyJ0.e30.c2ln", "refresh_token": "", "expires_in": "3599",
            "expires_on": "1700003599", "not_before": "1699999700", "resource": RESOURCE,
            "token_type": "Bearer"
        });
        let members = answer.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            members.insert(name.clone(), value.clone());
        }
        members.retain(|_, value| !value.is_null());
        parse(answer.to_string().as_bytes(), now())
    }

    #[test]
    fn the_request_is_the_documented_one_byte_for_byte() {
        let call = call(&identity(ImdsSelector::System));
        assert_eq!(
            (call.method, call.authority.as_str(), call.path.as_str()),
            (
                "GET",
                "169.254.169.254",
                "/metadata/identity/oauth2/token?api-version=2018-02-01\
                 &resource=https%3A%2F%2Fcognitiveservices.azure.com"
            )
        );
        assert_eq!(call.headers, [("metadata", "true")]);
    }

    #[test]
    fn a_user_assigned_identity_is_selected_by_exactly_one_parameter() {
        let id = "/subscriptions/a b/x&y=z".to_owned();
        let encoded = "%2Fsubscriptions%2Fa%20b%2Fx%26y%3Dz";
        for (selector, name) in [
            (ImdsSelector::ClientId(id.clone()), "client_id"),
            (ImdsSelector::ObjectId(id.clone()), "object_id"),
            (ImdsSelector::ResourceId(id.clone()), "msi_res_id"),
        ] {
            let path = call(&identity(selector)).path;
            assert!(path.ends_with(&format!("azure.com&{name}={encoded}")), "{path}");
        }
    }

    #[test]
    fn numbers_are_read_as_strings_and_as_numbers() {
        let as_strings = answer(json!({})).unwrap();
        let as_numbers = answer(json!({"expires_on": 1_700_003_599, "expires_in": 3599})).unwrap();
        assert_eq!(as_strings.expires, at(1_700_003_599));
        assert_eq!(as_numbers.expires, as_strings.expires);
        assert_eq!(as_strings.authorization().expose(), "Bearer eyJ0.e30.c2ln");
    }

    #[test]
    fn without_expires_on_the_token_lives_from_now() {
        let token = answer(json!({"expires_on": null})).unwrap();
        assert_eq!(token.expires, at(1_700_003_599));
    }

    #[test]
    fn a_token_is_replaced_when_azure_says_or_in_good_time() {
        let lives = |life: u64, refresh_in: Value| {
            let expires_on = (1_700_000_000 + life).to_string();
            let changes = json!({"expires_on": expires_on, "refresh_in": refresh_in});
            let token = answer(changes).unwrap();
            let since = |time: SystemTime| time.duration_since(now()).unwrap().as_secs();
            (since(token.refresh_at(now())), since(token.unusable_at(now())))
        };
        assert_eq!(lives(86_400, json!(null)), (43_200, 86_340), "half of a long life");
        assert_eq!(lives(3600, json!(null)), (3300, 3540), "five minutes before the end");
        assert_eq!(lives(60, json!(null)), (30, 45), "half of a very short life");
        assert_eq!(lives(86_400, json!("1800")), (1800, 86_340), "Azure says so");
        assert_eq!(lives(3600, json!(86_400)), (3600, 3540), "Azure says nonsense");
    }

    #[test]
    fn a_bad_answer_is_not_a_token() {
        let bad = [
            json!({"token_type": "pop"}),
            json!({"token_type": null}),
            json!({"access_token": null}),
            json!({"access_token": ""}),
            json!({"access_token": "to ken"}),
            json!({"access_token": "t\u{f6}ken"}),
            json!({"access_token": "t\r\nx: y"}),
            json!({"access_token": 1}),
            json!({"access_token": "a".repeat(MAX_TOKEN + 1)}),
            json!({"expires_on": null, "expires_in": null}),
            json!({"expires_on": "06/20/2017 02:57:58", "expires_in": null}),
            json!({"expires_on": -5, "expires_in": null}),
            json!({"expires_on": "1700000000"}),
            json!({"expires_on": null, "expires_in": "0"}),
            json!({"expires_on": u64::MAX, "expires_in": u64::MAX}),
        ];
        for changes in bad {
            assert!(matches!(answer(changes.clone()), Err(FetchError::Malformed(_))), "{changes}");
        }
        for body in ["", "<html>", "[]", "{", r#"{"a":1,"a":2}"#] {
            assert!(parse(body.as_bytes(), now()).is_err(), "{body}");
        }
    }
}
