//! Identities: whose tokens the backend gets to see, and where they come from.

use super::Error;
use super::document::{AppServiceEntry, ClientCredentialsEntry, IdentityEntry, ImdsEntry, Object};
use super::text::{self, Plain, Text, Uri};

/// Describes one of the gateway's identities and where its tokens come from.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The label in logs and metrics, and what routes call it.
    pub name: String,
    /// The resource that the token is for.
    pub resource: String,
    /// Envoy's cluster that leads to the source.
    pub cluster: String,
    /// What kind of source that is.
    pub source: Source,
}

/// Says how tokens are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// At the endpoint that App Service and Container Apps name in the environment.
    AppService(Selector),
    /// At an OAuth 2.0 token endpoint, with a secret (RFC 6749 §4.4).
    ClientCredentials(ClientCredentials),
    /// At Azure's instance metadata service.
    Imds(Selector),
}

/// Selects one of the managed identities that a machine or an application has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selector {
    /// A user-assigned one, by its client id.
    ClientId(String),
    /// A user-assigned one, by its object id, which App Service calls the principal's.
    ObjectId(String),
    /// A user-assigned one, by its Azure resource id.
    ResourceId(String),
    /// The system-assigned one.
    System,
}

/// Describes an application that has a secret of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCredentials {
    /// Where to ask.
    pub token_uri: Uri,
    /// The application's id.
    pub client_id: String,
    /// The environment variable that holds its secret.
    pub client_secret_env: String,
    /// What to ask for.
    pub scope: String,
}

impl Identity {
    pub(super) fn from_entry(
        (name, Object(entry)): (String, Object<IdentityEntry>),
    ) -> Result<Self, Error> {
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
        Ok(Self { name, resource, cluster, source })
    }
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
