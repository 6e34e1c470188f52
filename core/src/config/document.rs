//! The shape of the configuration document: which keys there are, and which must be there.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Error;
use super::claims::ClaimValueEntry;
use super::text::{
    Claim, CloudName, Count, Host, KeySetUri, Label, Leeway, MetadataPath, Method, NonEmpty, Path,
    Place, Plain, Resource, Scope, SignatureAlgorithm, TenantId, Text, TokenUri, Type, Variable,
    Wait,
};
use crate::json::Strict;

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) issuers: NonEmpty<Object<IssuerEntry>>,
    #[serde(default)]
    pub(super) identities: BTreeMap<String, Object<IdentityEntry>>,
    pub(super) routes: NonEmpty<Object<RouteEntry>>,
    pub(super) token_cache: Option<Object<TokenCacheEntry>>,
    #[serde(default)]
    pub(super) report_only: bool,
    pub(super) protected_resource: Option<Object<ProtectedResourceEntry>>,
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
    pub(super) allow: Option<NonEmpty<Object<GrantEntry>>>,
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

/// A JSON object, and never a list of an entry's values, which serde would take as well.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

impl Document {
    /// Reads the bytes strictly and then as this shape; every step says where it failed.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.trim_ascii().is_empty() {
            let problem = "found an empty document, wanted an object with `issuers` and `routes`";
            return Err(Error::at("$", problem));
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let Strict(value) = serde_path_to_error::deserialize(&mut reader).map_err(located)?;
        reader.end().map_err(|error| malformed(&error))?;
        let Object(document) = serde_path_to_error::deserialize(&value).map_err(located)?;
        match null("", &value) {
            Some(place) => Err(Error::at(place, "found null, wanted a value or no such key")),
            None => Ok(document),
        }
    }
}

/// The place of the first `null`: it was read as absent, and an absent condition admits everybody.
fn null(place: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(place.to_owned()),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| null(&format!("{place}[{at}]"), item))
        }
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            let dot = if place.is_empty() { "" } else { "." };
            null(&format!("{place}{dot}{name}"), member)
        }),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn located(error: serde_path_to_error::Error<serde_json::Error>) -> Error {
    if !error.inner().is_data() {
        return malformed(error.inner());
    }
    let path = error.path().to_string();
    let place = if path == "." { "$".to_owned() } else { path };
    Error::at(place, error.into_inner().to_string())
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::at("$", format!("found no JSON, wanted one JSON object: {error}"))
}
