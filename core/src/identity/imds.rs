//! Azure's instance metadata service: virtual machines, scale sets, the nodes of AKS, and whatever
//! speaks its protocol.

use super::source::{Identity, Selector};
use super::{TIMEOUT, encode, selected};
use crate::http::Call;
use crate::secret::Secret;

/// IMDS answers at this address alone, and only over plain HTTP.
const AUTHORITY: &str = "169.254.169.254";
const PATH: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01";

/// Returns the call that asks IMDS for a token (Microsoft: "How to use managed identities for
/// Azure resources on an Azure VM to acquire an access token").
pub(super) fn call(identity: &Identity, selector: &Selector) -> Call {
    let resource = encode(&identity.resource);
    let selected = selected(selector, ["client_id", "object_id", "msi_res_id"]);
    Call {
        cluster: identity.cluster.clone(),
        method: "GET",
        authority: AUTHORITY.to_owned(),
        path: format!("{PATH}&resource={resource}{selected}"),
        headers: vec![("metadata", Secret::new("true"))],
        body: None,
        timeout: TIMEOUT,
    }
}
