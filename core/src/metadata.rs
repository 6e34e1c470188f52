//! The gateway's metadata as an OAuth protected resource, for clients that look for its issuer
//! (RFC 9728).

use serde_json::json;

use crate::http::Uri;

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

/// What stands between the host and the path of a resource (RFC 9728 §3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

impl ProtectedResource {
    /// Describes the resource of this identifier, whose parts are `uri`; without a `path` the
    /// metadata lie where RFC 9728 §3.1 looks for them.
    pub fn new(
        identifier: &str,
        uri: &Uri,
        path: Option<String>,
        authorization_servers: &[&str],
        scopes: &[String],
    ) -> Self {
        // A slash that ends the host is none of the path.
        let own = if uri.path == "/" { "" } else { &uri.path };
        let path = path.unwrap_or_else(|| format!("{WELL_KNOWN}{own}"));
        let metadata = json!({
            "resource": identifier,
            "authorization_servers": authorization_servers,
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
        });
        let url = format!("https://{}{path}", uri.authority);
        Self { path, url, metadata: metadata.to_string() }
    }
}
