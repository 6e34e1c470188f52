//! The entry that describes the gateway to clients (RFC 9728).

use super::document::ProtectedResourceEntry;
use super::entry::NonEmpty;
use super::scalars::Identifier;
use crate::jwt::Issuer;
use crate::metadata::{ProtectedResource, in_full};
use crate::policy::{Access, Route};

/// Converts the entry; what it leaves out follows from the issuers and the routes.
pub(super) fn protected_resource(
    entry: ProtectedResourceEntry,
    issuers: &[Issuer],
    routes: &[Route],
) -> ProtectedResource {
    let Identifier { text, uri } = entry.resource.0;
    let prefix = entry.scope_prefix.map_or_else(String::new, |prefix| prefix.0);
    let scopes = entry.scopes_supported.map_or_else(
        || scopes(routes).iter().map(|scope| in_full(&prefix, scope)).collect(),
        NonEmpty::into_values,
    );
    let path = entry.path.map(|path| path.0);
    ProtectedResource::new(&text, &uri, path, &authorization_servers(issuers), &scopes)
        .with_scope_prefix(prefix)
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
    let mut scopes: Vec<&str> =
        grants.flat_map(|grant| &grant.scopes).map(String::as_str).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.into_iter().map(str::to_owned).collect()
}
