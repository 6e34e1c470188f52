//! The shape of the configuration document: which keys there are, and which must be there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::claim_value::ClaimValueEntry;
use super::entry::{Entry, NonEmpty, Object};
use super::scalars::{
    Claim, CloudName, Count, Host, KeySetUri, Label, Leeway, MetadataPath, Method, Path, Place,
    Plain, Resource, Scope, SignatureAlgorithm, TenantId, Text, TokenUri, Type, Variable, Wait,
};
use super::{Error, Errors};
use crate::json::Strict;

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Required, as `routes` is; but if one is missing, the other is read all the same.
    pub(super) issuers: Option<NonEmpty<Entry<IssuerEntry>>>,
    #[serde(default)]
    pub(super) identities: BTreeMap<String, Entry<IdentityEntry>>,
    pub(super) routes: Option<NonEmpty<Entry<RouteEntry>>>,
    pub(super) token_cache: Option<Entry<TokenCacheEntry>>,
    #[serde(default)]
    pub(super) report_only: bool,
    pub(super) protected_resource: Option<Entry<ProtectedResourceEntry>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ProtectedResourceEntry {
    pub(super) resource: Text<Resource>,
    pub(super) path: Option<Text<MetadataPath>>,
    pub(super) scopes_supported: Option<NonEmpty<Text<Scope>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerEntry {
    pub(super) name: Option<Text<Label>>,
    pub(super) issuer: Option<Text<Plain>>,
    pub(super) entra: Option<Object<EntraEntry>>,
    pub(super) audiences: NonEmpty<Text<Plain>>,
    pub(super) jwks: Object<JwksEntry>,
    pub(super) algorithms: Option<NonEmpty<Text<SignatureAlgorithm>>>,
    pub(super) token_types: Option<NonEmpty<Text<Type>>>,
    pub(super) leeway: Option<Text<Leeway>>,
    pub(super) max_lifetime: Option<Text<Wait>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct EntraEntry {
    pub(super) tenants: NonEmpty<Text<TenantId>>,
    pub(super) cloud: Option<Text<CloudName>>,
    #[serde(default)]
    pub(super) clients: Vec<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct TokenCacheEntry {
    pub(super) max_entries: Option<Count>,
    pub(super) max_bytes: Option<Count>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct JwksEntry {
    pub(super) cluster: Option<Text<Plain>>,
    pub(super) uri: Option<Text<KeySetUri>>,
    #[serde(default)]
    pub(super) discovery: bool,
    pub(super) inline: Option<Value>,
    pub(super) timeout: Option<Text<Wait>>,
    pub(super) refresh: Option<Text<Wait>>,
    pub(super) max_age: Option<Text<Wait>>,
    pub(super) unknown_kid_interval: Option<Text<Wait>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityEntry {
    pub(super) resource: Text<Plain>,
    pub(super) imds: Option<Object<ImdsEntry>>,
    pub(super) app_service: Option<Object<AppServiceEntry>>,
    pub(super) client_credentials: Option<Object<ClientCredentialsEntry>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ImdsEntry {
    pub(super) cluster: Text<Plain>,
    pub(super) client_id: Option<Text<Plain>>,
    pub(super) object_id: Option<Text<Plain>>,
    pub(super) msi_res_id: Option<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct AppServiceEntry {
    pub(super) cluster: Text<Plain>,
    pub(super) client_id: Option<Text<Plain>>,
    pub(super) principal_id: Option<Text<Plain>>,
    pub(super) mi_res_id: Option<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ClientCredentialsEntry {
    pub(super) cluster: Text<Plain>,
    pub(super) token_uri: Text<TokenUri>,
    pub(super) client_id: Text<Plain>,
    pub(super) client_secret_env: Variable,
    pub(super) scope: Option<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RouteEntry {
    pub(super) name: Text<Label>,
    #[serde(rename = "match")]
    pub(super) matching: Object<MatchEntry>,
    pub(super) allow: Option<NonEmpty<Entry<GrantEntry>>>,
    pub(super) identity: Option<String>,
    #[serde(default)]
    pub(super) public: bool,
    #[serde(default)]
    pub(super) health: bool,
    #[serde(default)]
    pub(super) cors: bool,
    #[serde(default)]
    pub(super) forward_claims: BTreeMap<String, Text<Claim>>,
    pub(super) deployment: Option<Text<Place>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct MatchEntry {
    pub(super) methods: NonEmpty<Text<Method>>,
    pub(super) path: Text<Path>,
    pub(super) hosts: Option<NonEmpty<Text<Host>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct GrantEntry {
    pub(super) issuer: Option<String>,
    pub(super) clients: Option<NonEmpty<Text<Plain>>>,
    pub(super) scopes: Option<NonEmpty<Text<Scope>>>,
    pub(super) roles: Option<NonEmpty<Text<Plain>>>,
    pub(super) claims: Option<BTreeMap<String, NonEmpty<ClaimValueEntry>>>,
    pub(super) deployments: Option<NonEmpty<Text<Plain>>>,
}

impl Document {
    /// Reads the bytes strictly and then as this shape, but not yet its entries. Also tells which
    /// keys have wrong values, and are left out.
    pub(super) fn parse(bytes: &[u8], errors: &mut Errors) -> Option<(Self, Vec<String>)> {
        let value = errors.check(value(bytes))?;
        let (document, wrong) = Entry::<Self>::new(value).read_rest("", errors);
        let (document, wrong) = (document?, wrong.concat());
        let required =
            [("issuers", document.issuers.is_none()), ("routes", document.routes.is_none())];
        for (key, _) in required.into_iter().filter(|(_, is_missing)| *is_missing) {
            if !wrong.iter().any(|wrong| wrong == key) {
                errors.add(Error::new("$", format_args!("the key `{key}`"), "none"));
            }
        }
        Some((document, wrong))
    }
}

/// Reads a JSON value in which no object repeats a key.
fn value(bytes: &[u8]) -> Result<Value, Error> {
    if bytes.trim_ascii().is_empty() {
        let expected = "an object with `issuers` and `routes`";
        return Err(Error::new("$", expected, "an empty document"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let Strict(value) = serde_path_to_error::deserialize(&mut reader).map_err(located)?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn located(error: serde_path_to_error::Error<serde_json::Error>) -> Error {
    if !error.inner().is_data() {
        return malformed(error.inner());
    }
    let path = error.path().to_string();
    let path = if path == "." { "$".to_owned() } else { path };
    Error::new(path, "each key once", error.into_inner())
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::new("$", "a JSON object", format_args!("invalid JSON: {error}"))
}
