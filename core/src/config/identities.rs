//! Identities: whose tokens the backend gets to see, and where they come from.

use super::document::{
    AppServiceEntry, ClientCredentialsEntry, FileEntry, IdentityEntry, ImdsEntry,
    WorkloadIdentityEntry,
};
use super::entry::{Entry, Object};
use super::scalars::{self, Label, Plain, Scalar as _, Text};
use super::{Error, Errors};
use crate::identity::{
    self, ClientCredentials, ClientSecret, File, Identity, Selector, Source, WorkloadIdentity,
};

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
        let expected = "one of `imds`, `app_service`, `client_credentials`, `workload_identity`";
        Err(Error::new(&path, expected, found))
    };
    let IdentityEntry { imds, app_service, client_credentials, workload_identity, .. } = entry;
    let source = match (imds, app_service, client_credentials, workload_identity) {
        (Some(Object(imds)), None, None, None) => imds.source(&path),
        (None, Some(Object(app_service)), None, None) => app_service.source(&path),
        (None, None, Some(Object(credentials)), None) => credentials.source(&path, &resource),
        (None, None, None, Some(Object(workload))) => Ok(workload.source()),
        (None, None, None, None) => wrong("none of them"),
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
    fn source(self, path: &str, resource: &str) -> Result<(String, Source), Error> {
        let client_secret = match (self.client_secret_env, self.client_secret_file) {
            (Some(variable), None) => ClientSecret::Environment(variable.0),
            (None, Some(Object(file))) => ClientSecret::File(file.file()),
            (none, _) => {
                let path = format!("{path}.client_credentials");
                let expected = "one of `client_secret_env`, `client_secret_file`";
                let found = if none.is_none() { "none of them" } else { "both" };
                return Err(Error::new(path, expected, found));
            }
        };
        let credentials = ClientCredentials {
            token_uri: self.token_uri.0,
            client_id: self.client_id.0,
            client_secret,
            scope: self.scope.map_or_else(|| identity::scope(resource), |scope| scope.0),
        };
        Ok((self.cluster.0, Source::ClientCredentials(credentials)))
    }
}

impl WorkloadIdentityEntry {
    fn source(self) -> (String, Source) {
        let workload = WorkloadIdentity {
            token_file: self.token_file.0.file(),
            tenant_id: self.tenant_id.map(|id| id.0),
            client_id: self.client_id.map(|id| id.0),
            authority_host: self.authority_host.map(|uri| uri.0),
        };
        (self.cluster.0, Source::WorkloadIdentity(workload))
    }
}

impl FileEntry {
    fn file(self) -> File {
        let path = self.path.map_or_else(|| "/".to_owned(), |path| path.0);
        File { cluster: self.cluster.0, path }
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
