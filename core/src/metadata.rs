//! The gateway's metadata as an OAuth protected resource, for clients that look for its issuer
//! (RFC 9728).

use serde_json::json;

use crate::denial::Denial;
use crate::http::{Reply, Uri};

/// Describes the gateway to clients that do not know it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProtectedResource {
    /// The path of the metadata.
    pub path: String,
    /// Their full address, which challenges name; it may stand in a quoted string.
    pub url: String,
    /// The metadata, as JSON.
    pub metadata: String,
    /// What the authorization server has before the scopes of grants.
    pub scope_prefix: String,
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
        Self { path, url, metadata: metadata.to_string(), scope_prefix: String::new() }
    }

    /// Puts this before the scopes in challenges.
    #[must_use]
    pub fn with_scope_prefix(self, scope_prefix: String) -> Self {
        Self { scope_prefix, ..self }
    }

    /// Returns the reply to a denial, whose challenge tells clients where to learn who issues tokens
    /// and which scopes to ask for (RFC 9728 §5.1).
    pub fn reply(&self, denial: &Denial) -> Reply {
        let reply = if let Denial::ScopeMissing { scopes } = denial {
            let scopes = scopes.iter().map(|scope| in_full(&self.scope_prefix, scope)).collect();
            Denial::ScopeMissing { scopes }.reply()
        } else {
            denial.reply()
        };
        reply.pointing_to(&self.url)
    }
}

/// Returns a scope as its authorization server knows it. Entra's tokens have the short name in `scp`,
/// and its clients must ask for the whole one, or they ask Microsoft Graph.
pub(crate) fn in_full(prefix: &str, scope: &str) -> String {
    if scope.contains("://") { scope.to_owned() } else { format!("{prefix}{scope}") }
}
