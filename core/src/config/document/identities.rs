//! The shape of an entry of `identities`.

use serde::Deserialize;

use crate::config::entry::Object;
use crate::config::scalars::{Plain, Text, TokenUri, Variable};

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct IdentityEntry {
    /// the resource (audience) of the token: `https://cognitiveservices.azure.com` in the public
    /// cloud; other clouds have other values
    /// Required
    pub(in crate::config) resource: Text<Plain>,
    /// Azure's instance metadata service as the source
    /// Required: one of the three sources
    pub(in crate::config) imds: Option<Object<ImdsEntry>>,
    /// the endpoint of App Service or Container Apps as the source; its address and header are in
    /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`
    /// Required: one of the three sources
    pub(in crate::config) app_service: Option<Object<AppServiceEntry>>,
    /// an OAuth 2.0 token endpoint as the source (RFC 6749 §4.4), for gateways outside Azure
    /// Required: one of the three sources
    pub(in crate::config) client_credentials: Option<Object<ClientCredentialsEntry>>,
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
    /// Required
    /// Limits: up to 128 of `A-Z a-z 0-9 _`, no digit first
    pub(in crate::config) client_secret_env: Variable,
    /// the requested scope
    /// Default: the resource and `/.default`
    pub(in crate::config) scope: Option<Text<Plain>>,
}
