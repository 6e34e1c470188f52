//! Reads a token request, and refuses what the real IMDS refuses.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode};
use uuid::Uuid;

use super::Refusal;

/// Asks for a token of one identity for one resource.
#[derive(Debug)]
pub(super) struct TokenRequest {
    pub(super) client_id: String,
    pub(super) resource: String,
}

impl TokenRequest {
    pub(super) fn parse(
        headers: &HeaderMap,
        query: Vec<(String, String)>,
    ) -> Result<Self, Refusal> {
        check_headers(headers)?;
        let query = unrepeated(query)?;
        check_api_version(&query)?;
        let resource = query.get("resource").filter(|resource| !resource.is_empty());
        let resource = resource.ok_or_else(|| missing("resource"))?.clone();
        Ok(Self { client_id: client_id(&query)?, resource })
    }
}

type Parameters = BTreeMap<String, String>;

/// Demands what keeps server-side request forgery and proxies out.
fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut metadata = headers.get_all("metadata").iter();
    if !matches!((metadata.next(), metadata.next()), (Some(value), None) if value == "true") {
        return Err(bad_request("bad_request_102", "Required metadata header not specified"));
    }
    if headers.contains_key("x-forwarded-for") {
        return Err(bad_request("invalid_request", "X-Forwarded-For header is not allowed"));
    }
    Ok(())
}

fn unrepeated(query: Vec<(String, String)>) -> Result<Parameters, Refusal> {
    let mut parameters = Parameters::new();
    for (name, value) in query {
        if parameters.contains_key(&name) {
            let description = format!("Query variable '{name}' is specified more than once");
            return Err(bad_request("invalid_request", description));
        }
        parameters.insert(name, value);
    }
    Ok(parameters)
}

fn check_api_version(query: &Parameters) -> Result<(), Refusal> {
    match query.get("api-version").map(String::as_str) {
        Some("2018-02-01" | "2019-08-01") => Ok(()),
        Some(_) => Err(bad_request("invalid_request", "The api-version is not supported")),
        None => Err(missing("api-version")),
    }
}

/// Finds the client id of the identity that the request selects, if it selects one.
///
/// Any well-formed identity exists here; whoever selects by something else gets the same one.
fn client_id(query: &Parameters) -> Result<String, Refusal> {
    let named = |name| query.get(name).map(String::as_str);
    match (named("client_id"), named("object_id"), named("msi_res_id")) {
        (None, None, None) => Ok(SYSTEM_ASSIGNED.into()),
        (Some(id), None, None) if is_guid(id) => Ok(id.into()),
        (None, Some(id), None) if is_guid(id) => Ok(USER_ASSIGNED.into()),
        (None, None, Some(id)) if id.starts_with("/subscriptions/") => Ok(USER_ASSIGNED.into()),
        (Some(_), None, None) | (None, Some(_), None) | (None, None, Some(_)) => {
            Err(bad_request("invalid_request", "Identity not found"))
        }
        _ => {
            let description = "Only one of client_id, object_id and msi_res_id may be specified";
            Err(bad_request("invalid_request", description))
        }
    }
}

fn is_guid(id: &str) -> bool {
    Uuid::try_parse(id).is_ok_and(|guid| guid.to_string().eq_ignore_ascii_case(id))
}

fn missing(name: &str) -> Refusal {
    bad_request("invalid_request", format!("Required query variable '{name}' is missing"))
}

fn bad_request(error: &'static str, description: impl Into<String>) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, error, description: description.into() }
}

const SYSTEM_ASSIGNED: &str = "8f1d7c36-2b49-4e05-a7c8-90d3e5f6b124";
const USER_ASSIGNED: &str = "3e9a4d70-6c5b-4182-b0f9-27a1c8d4e653";
