//! Identities: whose tokens the backend gets to see, and where they come from.

use super::document::{AppServiceEntry, ClientCredentialsEntry, IdentityEntry, ImdsEntry};
use super::entry::{Entry, Object};
use super::scalars::{self, Label, Plain, Scalar as _, Text};
use super::{Error, Errors};
use crate::identity::{ClientCredentials, Identity, Selector, Source};

/// Converts an entry of `identities`.
pub(super) fn identity(
    (name, entry): (String, Entry<IdentityEntry>),
    errors: &mut Errors,
) -> Option<Identity> {
    let path = format!("identities.{name}");
    if !scalars::is_label(&name) {
        errors.add(Error::new(&path, Label::EXPECTED, format_args!("the name {name:?}")));
    }
    let entry = entry.read(&path, errors)?;
    let resource = entry.resource.0;
    let wrong = |found| {
        let expected = "one of `imds`, `app_service`, `client_credentials`";
        Err(Error::new(&path, expected, found))
    };
    let source = match (entry.imds, entry.app_service, entry.client_credentials) {
        (Some(Object(imds)), None, None) => imds.source(&path),
        (None, Some(Object(app_service)), None) => app_service.source(&path),
        (None, None, Some(Object(credentials))) => Ok(credentials.source(&resource)),
        (None, None, None) => wrong("none of them"),
        _ => wrong("several"),
    };
    let (cluster, source) = errors.check(source)?;
    Some(Identity { name, resource, cluster, source })
}

impl ImdsEntry {
    fn source(self, path: &str) -> Result<(String, Source), Error> {
        let ids = [self.client_id, self.object_id, self.msi_res_id];
        let names = "`client_id`, `object_id`, `msi_res_id`";
        let selector = selector(&format!("{path}.imds"), ids, names)?;
        Ok((self.cluster.0, Source::Imds(selector)))
    }
}

impl AppServiceEntry {
    fn source(self, path: &str) -> Result<(String, Source), Error> {
        let ids = [self.client_id, self.principal_id, self.mi_res_id];
        let names = "`client_id`, `principal_id`, `mi_res_id`";
        let selector = selector(&format!("{path}.app_service"), ids, names)?;
        Ok((self.cluster.0, Source::AppService(selector)))
    }
}

impl ClientCredentialsEntry {
    fn source(self, resource: &str) -> (String, Source) {
        let credentials = ClientCredentials {
            token_uri: self.token_uri.0,
            client_id: self.client_id.0,
            client_secret_env: self.client_secret_env.0,
            scope: self.scope.map_or_else(|| format!("{resource}/.default"), |scope| scope.0),
        };
        (self.cluster.0, Source::ClientCredentials(credentials))
    }
}

/// The identity that is selected by its client id, its object id or its resource id, if by any.
fn selector(
    path: &str,
    [client, object, resource]: [Option<Text<Plain>>; 3],
    names: &str,
) -> Result<Selector, Error> {
    let selectors = [
        client.map(|id| Selector::ClientId(id.0)),
        object.map(|id| Selector::ObjectId(id.0)),
        resource.map(|id| Selector::ResourceId(id.0)),
    ];
    let mut chosen = selectors.into_iter().flatten();
    let selector = chosen.next().unwrap_or(Selector::System);
    if chosen.next().is_some() {
        return Err(Error::new(path, format_args!("at most one of {names}"), "several"));
    }
    Ok(selector)
}
