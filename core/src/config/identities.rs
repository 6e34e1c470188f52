//! Identities: whose tokens the backend gets to see, and where they come from.

use super::Error;
use super::document::{AppServiceEntry, ClientCredentialsEntry, IdentityEntry, ImdsEntry, Object};
use super::text::{self, Plain, Text};
use crate::identity::{ClientCredentials, Identity, Selector, Source};

/// Converts an entry of `identities`.
pub(super) fn identity(
    (name, Object(entry)): (String, Object<IdentityEntry>),
) -> Result<Identity, Error> {
    let place = format!("identities.{name}");
    if !text::is_label(&name) {
        let problem = format!("found the name {name:?}, wanted {}", text::LABEL);
        return Err(Error::at(place, problem));
    }
    let resource = entry.resource.0;
    let (cluster, source) = match (entry.imds, entry.app_service, entry.client_credentials) {
        (Some(Object(imds)), None, None) => imds.source(&place)?,
        (None, Some(Object(app_service)), None) => app_service.source(&place)?,
        (None, None, Some(Object(credentials))) => credentials.source(&resource),
        (None, None, None) => {
            let problem = "missing field `imds`, or `app_service` or \
                               `client_credentials` in its place";
            return Err(Error::at(place, problem));
        }
        _ => {
            let problem = "found several of imds, app_service, client_credentials, \
                               wanted one of them";
            return Err(Error::at(place, problem));
        }
    };
    Ok(Identity { name, resource, cluster, source })
}

impl ImdsEntry {
    fn source(self, place: &str) -> Result<(String, Source), Error> {
        let place = format!("{place}.imds");
        let ids = [self.client_id, self.object_id, self.msi_res_id];
        let selector = selector(&place, ids, "client_id, object_id, msi_res_id")?;
        Ok((self.cluster.0, Source::Imds(selector)))
    }
}

impl AppServiceEntry {
    fn source(self, place: &str) -> Result<(String, Source), Error> {
        let place = format!("{place}.app_service");
        let ids = [self.client_id, self.principal_id, self.mi_res_id];
        let selector = selector(&place, ids, "client_id, principal_id, mi_res_id")?;
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
    place: &str,
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
        let problem = format!("found several of {names}, wanted at most one");
        return Err(Error::at(place, problem));
    }
    Ok(selector)
}
