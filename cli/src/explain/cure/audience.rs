//! An audience that the issuer's entry does not list.

use keyless_core::jwt::Issuer;
use serde_json::Value;

use super::{Said, kind};

/// The application id of Microsoft Graph, and its address.
const GRAPH: [&str; 3] = [
    "00000003-0000-0000-c000-000000000000",
    "https://graph.microsoft.com",
    "https://graph.microsoft.com/",
];

/// Returns what the token's audience is, and what to do about it.
pub(super) fn cure(issuer: &Issuer, said: &Said) -> Option<String> {
    let entry = format!("issuers[{}]", issuer.entry.0);
    if let Some(claim) = &issuer.audience_claim {
        let listed =
            said.claim(claim).is_some_and(|text| issuer.audiences.iter().any(|a| a == text));
        if !listed {
            let found = kind(said.claims.get(&**claim));
            return Some(format!(
                "{claim}, which is the audience by {entry}.audience_claim, is {found} and none of \
                 {entry}.audiences; an ID token has no such claim: send the access token"
            ));
        }
    }
    let aud = match said.claims.get("aud") {
        None => return Some(absent(&entry, said)),
        Some(Value::String(aud)) => aud.as_str(),
        Some(Value::Array(list)) => list.first().and_then(Value::as_str)?,
        Some(_) => return None,
    };
    if GRAPH.contains(&aud) {
        return Some(
            "aud is Microsoft Graph; have the client ask for a scope of this API, \
             api://…/<scope> or api://…/.default, not for a short name"
                .to_owned(),
        );
    }
    if said.claims.contains_key("nonce") || said.claims.contains_key("at_hash") {
        return Some(
            "this looks like an ID token, which is for the client; send the access token"
                .to_owned(),
        );
    }
    let trimmed = aud.trim_end_matches('/');
    if issuer.audiences.iter().any(|listed| listed.trim_end_matches('/') == trimmed) {
        return Some(format!(
            "aud differs from one of {entry}.audiences by a slash at its end; they are compared exactly"
        ));
    }
    let kinds: Vec<_> = issuer.audiences.iter().map(|listed| sort(listed)).collect();
    let hint = if is_guid(aud) {
        "; Entra's v2.0 tokens have the API's application id there, v1.0 tokens its api:// URI: list \
         both"
    } else if aud.starts_with("api://") {
        "; Entra's v1.0 tokens have the API's api:// URI there, v2.0 tokens its application id: list \
         both"
    } else {
        ""
    };
    let listed = kinds.join(" and ");
    Some(format!("aud is {}, and {entry}.audiences lists {listed}{hint}", sort(aud)))
}

/// A token without `aud`.
fn absent(entry: &str, said: &Said) -> String {
    let claim = ["client_id", "cid", "azp"].into_iter().find(|name| said.claim(name).is_some());
    match claim {
        Some(claim) => format!(
            "aud is absent; if the issuer's access tokens never have one (Amazon Cognito), set \
             {entry}.audience_claim to {claim:?} and list the client's id in {entry}.audiences"
        ),
        None => "aud is absent; have the issuer add the audience of this API".to_owned(),
    }
}

/// What sort of audience this is.
fn sort(audience: &str) -> &'static str {
    if is_guid(audience) {
        "an application id (GUID)"
    } else if audience.starts_with("api://") {
        "an application's URI (api://…)"
    } else if audience.contains("://") {
        "a URL"
    } else {
        "a text"
    }
}

fn is_guid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}
