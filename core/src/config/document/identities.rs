//! The shape of an entry of `identities`.

use serde::Deserialize;

use crate::config::entry::Object;
use crate::config::scalars::{AuthorityHost, MetadataPath, Plain, Text, TokenUri, Variable};

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct IdentityEntry {
    /// the resource (audience) of the token: `https://cognitiveservices.azure.com` in the public
    /// cloud; other clouds have other values
    /// Required
    pub(in crate::config) resource: Text<Plain>,
    /// Azure's instance metadata service as the source
    /// Required: one of the four sources
    pub(in crate::config) imds: Option<Object<ImdsEntry>>,
    /// the endpoint of App Service or Container Apps as the source; its address and header are in
    /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`
    /// Required: one of the four sources
    pub(in crate::config) app_service: Option<Object<AppServiceEntry>>,
    /// an OAuth 2.0 token endpoint as the source (RFC 6749 §4.4), for gateways outside Azure
    /// Required: one of the four sources
    pub(in crate::config) client_credentials: Option<Object<ClientCredentialsEntry>>,
    /// Entra's token endpoint as the source, in exchange for a token that the platform projects into
    /// a file (AKS workload identity, federated credentials)
    /// Required: one of the four sources
    pub(in crate::config) workload_identity: Option<Object<WorkloadIdentityEntry>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ImdsEntry {
    /// the Envoy cluster that serves it
    /// Required
    pub(in crate::config) cluster: Text<Plain>,
    /// selects a user-assigned identity by its client id
    /// Default: none
    /// Limits: at most one of the three; with none, the system-assigned identity
    pub(in crate::config) client_id: Option<Text<Plain>>,
    /// selects it by its object id
    /// Default: none
    pub(in crate::config) object_id: Option<Text<Plain>>,
    /// selects it by its Azure resource id
    /// Default: none
    pub(in crate::config) msi_res_id: Option<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AppServiceEntry {
    /// the Envoy cluster of the address in `IDENTITY_ENDPOINT`
    /// Required
    pub(in crate::config) cluster: Text<Plain>,
    /// selects a user-assigned identity by its client id
    /// Default: none
    /// Limits: at most one of the three; with none, the system-assigned identity
    pub(in crate::config) client_id: Option<Text<Plain>>,
    /// selects it by its object id
    /// Default: none
    pub(in crate::config) principal_id: Option<Text<Plain>>,
    /// selects it by its Azure resource id
    /// Default: none
    pub(in crate::config) mi_res_id: Option<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClientCredentialsEntry {
    /// the Envoy cluster that serves it
    /// Required
    pub(in crate::config) cluster: Text<Plain>,
    /// its address; gives `:authority` and `:path` of the call
    /// Required
    /// Limits: absolute `http` or `https`, no user information, not link-local
    pub(in crate::config) token_uri: Text<TokenUri>,
    /// the application's client id
    /// Required
    pub(in crate::config) client_id: Text<Plain>,
    /// the environment variable that holds its secret, never the secret itself
    /// Required: this or `client_secret_file`
    /// Limits: up to 128 of `A-Z a-z 0-9 _`, no digit first
    pub(in crate::config) client_secret_env: Option<Variable>,
    /// the file that holds its secret, read for each token
    /// Required: this or `client_secret_env`
    pub(in crate::config) client_secret_file: Option<Object<FileEntry>>,
    /// the requested scope
    /// Default: the resource and `/.default`
    pub(in crate::config) scope: Option<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WorkloadIdentityEntry {
    /// the Envoy cluster of Entra
    /// Required
    pub(in crate::config) cluster: Text<Plain>,
    /// the file that holds the projected token, read for each exchange
    /// Required
    pub(in crate::config) token_file: Object<FileEntry>,
    /// the tenant
    /// Default: the environment variable `AZURE_TENANT_ID`
    pub(in crate::config) tenant_id: Option<Text<Plain>>,
    /// the client id of the managed identity or application that has the federated credential
    /// Default: the environment variable `AZURE_CLIENT_ID`
    pub(in crate::config) client_id: Option<Text<Plain>>,
    /// Entra's address; gives `:authority` of the call, and the beginning of its `:path`
    /// Default: the environment variable `AZURE_AUTHORITY_HOST`, or `https://login.microsoftonline.com/`
    /// Limits: absolute `http` or `https`, no user information, no query, not link-local
    pub(in crate::config) authority_host: Option<Text<AuthorityHost>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct FileEntry {
    /// the Envoy cluster whose endpoint is the internal listener that serves it
    /// Required
    pub(in crate::config) cluster: Text<Plain>,
    /// the path of the listener's route
    /// Default: the root
    /// Limits: A-Z a-z 0-9 . _ ~ - /
    pub(in crate::config) path: Option<Text<MetadataPath>>,
}
