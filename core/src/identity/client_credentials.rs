//! An application with a secret of its own, for gateways that run outside Azure.

use super::source::{ClientCredentials, Identity};
use super::{TIMEOUT, encode};
use crate::http::{Call, Uri};
use crate::secret::Secret;

/// What the form says, apart from the credential.
pub(super) struct Form<'a> {
    pub(super) client_id: &'a str,
    pub(super) scope: &'a str,
    /// What kind of assertion the credential is, if it is one.
    pub(super) assertion_type: Option<&'static str>,
}

/// Returns the call that asks a token endpoint for a token, with the credentials in the form as
/// Entra documents it (RFC 6749 §4.4.2 and §2.3.1); the secret is still missing in it.
pub(super) fn call(identity: &Identity, credentials: &ClientCredentials) -> Call {
    let ClientCredentials { token_uri, client_id, scope, .. } = credentials;
    token_call(&identity.cluster, token_uri, &Form { client_id, scope, assertion_type: None })
}

/// Returns the call to a token endpoint, without the credential.
pub(super) fn token_call(cluster: &str, uri: &Uri, form: &Form<'_>) -> Call {
    let assertion_type = |kind| format!("&client_assertion_type={}", encode(kind));
    let body = format!(
        "grant_type=client_credentials&client_id={}&scope={}{}",
        encode(form.client_id),
        encode(form.scope),
        form.assertion_type.map_or_else(String::new, assertion_type),
    );
    Call {
        cluster: cluster.to_owned(),
        method: "POST",
        authority: uri.authority.clone(),
        path: uri.path.clone(),
        headers: vec![
            ("accept", Secret::new("application/json")),
            ("content-type", Secret::new("application/x-www-form-urlencoded")),
        ],
        body: Some(Secret::new(body)),
        timeout: TIMEOUT,
    }
}

/// Returns the call with the credential in its form.
pub(super) fn with_credential(call: &Call, name: &str, credential: &Secret) -> Call {
    let form = call.body.as_ref().map_or("", |body| body.expose());
    let body = format!("{form}&{name}={}", encode(credential.expose()));
    Call { body: Some(Secret::new(body)), ..call.clone() }
}
