//! The gateway as a protected resource of OAuth's, for clients that look for the issuer (RFC 9728).

use std::collections::BTreeSet;

use serde_json::json;

use super::document::{Object, ProtectedResourceEntry};
use super::text::{NonEmpty, Uri};
use super::{Access, Issuer, Route};

/// Describes the gateway to clients that do not know it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProtectedResource {
    /// The path of the metadata.
    pub path: String,
    /// Their full address, which challenges name; it may stand in a quoted string.
    pub url: String,
    /// The metadata, as JSON.
    pub metadata: String,
}

/// A resource identifier: an `https` URL, and its parts.
pub(super) struct Identifier {
    pub(super) text: String,
    pub(super) uri: Uri,
}

/// What stands between the host and the path of a resource (RFC 9728 §3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

impl ProtectedResource {
    pub(super) fn from_entry(
        Object(entry): Object<ProtectedResourceEntry>,
        issuers: &[Issuer],
        routes: &[Route],
    ) -> Self {
        let Identifier { text: resource, uri } = entry.resource.0;
        // A slash that ends the host is none of the path.
        let own = if uri.path == "/" { "" } else { &uri.path };
        let path = entry.path.map_or_else(|| format!("{WELL_KNOWN}{own}"), |path| path.0);
        let scopes = entry.scopes_supported.map_or_else(|| scopes(routes), NonEmpty::into_values);
        let metadata = json!({
            "resource": resource,
            "authorization_servers": authorization_servers(issuers),
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
        });
        let url = format!("https://{}{path}", uri.authority);
        Self { path, url, metadata: metadata.to_string() }
    }
}

/// The issuers that are URLs; of a tenant of Entra the newer one of its two.
fn authorization_servers(issuers: &[Issuer]) -> Vec<&str> {
    let names = issuers.iter().filter_map(|issuer| issuer.accepted.first());
    names.map(String::as_str).filter(|iss| iss.starts_with("https://")).collect()
}

/// Every scope that a grant asks for.
fn scopes(routes: &[Route]) -> Vec<String> {
    let grants = routes.iter().flat_map(|route| match &route.access {
        Access::Granted { grants, .. } => grants.as_slice(),
        Access::Health | Access::Public => &[],
    });
    let scopes: BTreeSet<_> = grants.flat_map(|grant| &grant.scopes).cloned().collect();
    scopes.into_iter().collect()
}
