//! An application with a secret of its own, for gateways that run outside Azure.

use super::source::{ClientCredentials, Identity};
use super::{Environment, TIMEOUT, encode, variable};
use crate::http::{Call, FetchError};
use crate::secret::Secret;

/// Returns the call that asks a token endpoint for a token, with the credentials in the form as
/// Entra documents it (RFC 6749 §4.4.2 and §2.3.1).
///
/// # Errors
///
/// Fails if the variable that should hold the secret does not.
pub(super) fn call(
    identity: &Identity,
    credentials: &ClientCredentials,
    environment: Environment<'_>,
) -> Result<Call, FetchError> {
    let secret = variable(environment, &credentials.client_secret_env)?;
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope={}",
        encode(&credentials.client_id),
        encode(&secret),
        encode(&credentials.scope),
    );
    Ok(Call {
        cluster: identity.cluster.clone(),
        method: "POST",
        authority: credentials.token_uri.authority.clone(),
        path: credentials.token_uri.path.clone(),
        headers: vec![
            ("accept", Secret::new("application/json")),
            ("content-type", Secret::new("application/x-www-form-urlencoded")),
        ],
        body: Some(Secret::new(form)),
        timeout: TIMEOUT,
    })
}
