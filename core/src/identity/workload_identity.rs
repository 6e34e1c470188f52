//! Workload identity: a token that the platform projects into a file is exchanged for an access token.

use super::client_credentials::{Form, token_call};
use super::source::{Identity, WorkloadIdentity};
use super::{Environment, encode, scope, variable};
use crate::http::{Call, FetchError, Uri};

// What the AKS webhook sets in the pod (Microsoft: "Use Microsoft Entra Workload ID with AKS").
const TENANT_ID: &str = "AZURE_TENANT_ID";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";

/// The authority of the public cloud, which Azure's SDKs take if none is set.
const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com/";

/// Returns the call that exchanges a projected token, which is still missing in it (Microsoft: "OAuth
/// 2.0 client credentials flow", access token request with a federated credential; RFC 7523 §2.2).
///
/// # Errors
///
/// Fails if a variable is not set that stands in for what the configuration leaves out, or cannot be
/// what it should be.
pub(super) fn call(
    identity: &Identity,
    workload: &WorkloadIdentity,
    environment: Environment<'_>,
) -> Result<Call, FetchError> {
    let given = |value: &Option<String>, name| {
        value.clone().map_or_else(|| variable(environment, name), Ok)
    };
    let (tenant, client) =
        (given(&workload.tenant_id, TENANT_ID)?, given(&workload.client_id, CLIENT_ID)?);
    let mut uri = authority(workload, environment)?;
    uri.path = format!("{}/{}/oauth2/v2.0/token", uri.path.trim_end_matches('/'), encode(&tenant));
    let form = Form {
        client_id: &client,
        scope: &scope(&identity.resource),
        assertion_type: Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
    };
    Ok(token_call(&identity.cluster, &uri, &form))
}

/// Where Entra is: a path in it stays before the tenant, as that of an AKS token proxy.
fn authority(workload: &WorkloadIdentity, environment: Environment<'_>) -> Result<Uri, FetchError> {
    if let Some(uri) = &workload.authority_host {
        return Ok(uri.clone());
    }
    let unset = || FetchError::Unset(AUTHORITY_HOST.into());
    let text = match environment(AUTHORITY_HOST) {
        None => PUBLIC_AUTHORITY.to_owned(),
        Some(_) => variable(environment, AUTHORITY_HOST)?,
    };
    Uri::parse(&text).filter(|uri| !uri.path.contains('?')).ok_or_else(unset)
}
