//! The endpoint of App Service and Container Apps, which the platform names in the environment.

use super::source::{Identity, Selector};
use super::{Environment, TIMEOUT, encode, selected, variable};
use crate::http::{Call, FetchError, Uri};
use crate::secret::Secret;

/// Where the platform says its endpoint is.
const ENDPOINT: &str = "IDENTITY_ENDPOINT";
/// Where the platform says what proves that a request comes from within.
const HEADER: &str = "IDENTITY_HEADER";

/// Returns the call that asks the platform for a token (Microsoft: "How to use managed identities
/// for App Service and Azure Functions", REST endpoint reference).
///
/// # Errors
///
/// Fails if one of the two variables is not set, or cannot be what it should be.
pub(super) fn call(
    identity: &Identity,
    selector: &Selector,
    environment: Environment<'_>,
) -> Result<Call, FetchError> {
    let endpoint = variable(environment, ENDPOINT)?;
    let endpoint = Uri::parse_anywhere(&endpoint);
    let Uri { authority, path } = endpoint.ok_or_else(|| FetchError::Unset(ENDPOINT.into()))?;
    let header = Secret::new(variable(environment, HEADER)?);
    let mark = if path.contains('?') { '&' } else { '?' };
    let resource = encode(&identity.resource);
    let selected = selected(selector, ["client_id", "principal_id", "mi_res_id"]);
    Ok(Call {
        cluster: identity.cluster.clone(),
        method: "GET",
        authority,
        path: format!("{path}{mark}resource={resource}&api-version=2019-08-01{selected}"),
        headers: vec![("x-identity-header", header)],
        body: None,
        timeout: TIMEOUT,
    })
}
