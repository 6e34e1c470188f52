//! Where an identity's tokens come from.

use super::file::File;
use crate::http::Uri;

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
    /// At Entra's token endpoint, in exchange for a token that the platform projects into a file.
    WorkloadIdentity(WorkloadIdentity),
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
    /// Where its secret is.
    pub client_secret: ClientSecret,
    /// What to ask for.
    pub scope: String,
}

/// Says where the secret of an application is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientSecret {
    /// In the environment variable of this name, read once.
    Environment(String),
    /// In a file, read for each token.
    File(File),
}

/// Describes a client of Entra that trusts the tokens of another issuer: a federated credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkloadIdentity {
    /// Where the projected token is.
    pub token_file: File,
    /// The tenant, or what `AZURE_TENANT_ID` says.
    pub tenant_id: Option<String>,
    /// The client id, or what `AZURE_CLIENT_ID` says.
    pub client_id: Option<String>,
    /// Where Entra is, or what `AZURE_AUTHORITY_HOST` says, or the public cloud.
    pub authority_host: Option<Uri>,
}
