//! The shape of the configuration document: which keys there are, and which must be there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::claim_value::ClaimValueEntry;
use super::entry::{Entry, NonEmpty, Object};
use super::scalars::{
    Claim, CloudName, Cookie, Count, Host, KeySetUri, Label, Leeway, MetadataPath, Method,
    Parameter, PassedHeader, Path, Place, Plain, Resource, Scope, SignatureAlgorithm,
    StrippedHeader, TenantId, Text, TokenUri, Type, Variable, Wait,
};
use super::{Error, Errors};
use crate::json::Strict;

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    // Required, as `routes` is; but if one is missing, the other is still read.
    /// who is trusted; a token's `iss` selects one entry, whose keys alone count
    /// Required
    /// Limits: 1 or more; no `iss` twice
    pub(super) issuers: Option<NonEmpty<Entry<IssuerEntry>>>,
    /// managed identities by name
    /// Default: `{}`
    /// Limits: names are labels
    #[serde(default)]
    pub(super) identities: BTreeMap<String, Entry<IdentityEntry>>,
    /// what may be called; the first that matches decides, and no match is 404
    /// Required
    /// Limits: 1 or more
    pub(super) routes: Option<NonEmpty<Entry<RouteEntry>>>,
    /// the size of each worker's cache of verified tokens
    /// Default: `{}`
    pub(super) token_cache: Option<Entry<TokenCacheEntry>>,
    /// what is removed from every request beside every credential
    /// Default: `{}`
    pub(super) strip: Option<Entry<StripEntry>>,
    /// dry run: decisions are logged and counted but not enforced
    /// Default: `false`
    #[serde(default)]
    pub(super) report_only: bool,
    /// protected resource metadata for clients that discover the issuer (RFC 9728)
    /// Default: none
    pub(super) protected_resource: Option<Entry<ProtectedResourceEntry>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct StripEntry {
    /// headers and trailers
    /// Default: none
    /// Limits: 1 or more; none that frames the message, nor `host` and `content-type`
    pub(super) headers: Option<NonEmpty<Text<StrippedHeader>>>,
    /// query parameters, in any case, with or without `-` and `_`
    /// Default: none
    /// Limits: 1 or more of A-Z a-z 0-9 . _ -
    pub(super) query: Option<NonEmpty<Text<Parameter>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct PassEntry {
    /// headers that are removed on other routes
    /// Default: none
    /// Limits: 1 or more; not `authorization`, `proxy-authorization` and `cookie`
    pub(super) headers: Option<NonEmpty<Text<PassedHeader>>>,
    /// cookies by name, compared exactly; all others are removed
    /// Default: none
    /// Limits: 1 or more
    pub(super) cookies: Option<NonEmpty<Text<Cookie>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ProtectedResourceEntry {
    /// the gateway's URL as its clients use it
    /// Required
    /// Limits: `https`, without query and fragment
    pub(super) resource: Text<Resource>,
    /// the path of the metadata
    /// Default: `/.well-known/oauth-protected-resource` and the path of `resource`
    /// Limits: A-Z a-z 0-9 . _ ~ - /
    pub(super) path: Option<Text<MetadataPath>>,
    /// the scopes in the metadata
    /// Default: all that grants name
    /// Limits: 1 or more
    pub(super) scopes_supported: Option<NonEmpty<Text<Scope>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerEntry {
    /// label in logs, counters and grants
    /// Default: the host of `issuer`; with `entra`, `entra`
    /// Limits: a label, unique
    pub(super) name: Option<Text<Label>>,
    /// the exact `iss`
    /// Required: this or `entra`
    pub(super) issuer: Option<Text<Plain>>,
    /// Entra tenants in place of `issuer`
    /// Required: this or `issuer`
    pub(super) entra: Option<Object<EntraEntry>>,
    /// `aud` must name one, compared exactly
    /// Required
    /// Limits: 1 or more
    pub(super) audiences: NonEmpty<Text<Plain>>,
    /// where the keys come from
    /// Required
    pub(super) jwks: Object<JwksEntry>,
    /// accepted `alg`: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, and
    /// `EdDSA`, which is also called Ed25519 (RFC 9864)
    /// Default: `["RS256"]`
    /// Limits: 1 or more
    pub(super) algorithms: Option<NonEmpty<Text<SignatureAlgorithm>>>,
    /// accepted `typ`, in any case, with or without `application/`; a token without `typ` counts as
    /// `JWT`
    /// Default: `["JWT", "at+jwt"]`
    /// Limits: 1 or more
    pub(super) token_types: Option<NonEmpty<Text<Type>>>,
    /// the leeway for clock skew in `exp`, `nbf` and `iat`
    /// Default: `"60s"`
    /// Limits: 0s to 5m
    pub(super) leeway: Option<Text<Leeway>>,
    /// the longest `exp − iat`; with it, `iat` is required
    /// Default: none
    /// Limits: 1ms to 30d
    pub(super) max_lifetime: Option<Text<Wait>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct EntraEntry {
    /// for each: its issuers of version 1 and 2, `tid` equal to it, its own key set, and of that no
    /// key whose member `issuer` names another issuer
    /// Required
    /// Limits: 1 or more GUIDs
    pub(super) tenants: NonEmpty<Text<TenantId>>,
    /// whose hosts: `public`, `us-government`, `china`
    /// Default: `"public"`
    pub(super) cloud: Option<Text<CloudName>>,
    /// the calling applications (`azp`, else `appid`, else `client_id`) that are allowed; any if
    /// empty
    /// Default: `[]`
    #[serde(default)]
    pub(super) clients: Vec<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct TokenCacheEntry {
    /// the maximum number of tokens
    /// Default: `4096`
    /// Limits: 1 to 4294967295
    pub(super) max_entries: Option<Count>,
    /// the maximum memory, where a token counts as four times its length
    /// Default: `33554432`
    /// Limits: 1 to 4294967295
    pub(super) max_bytes: Option<Count>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct JwksEntry {
    /// the Envoy cluster that serves them
    /// Required without `inline`
    pub(super) cluster: Option<Text<Plain>>,
    /// their address; gives `:authority` and `:path` of the call
    /// Required: this, `discovery` or `inline`; none with `entra`, where the tenant gives it
    /// Limits: absolute `http` or `https`, no user information, not link-local
    pub(super) uri: Option<Text<KeySetUri>>,
    /// fetch the address from `{issuer}/.well-known/openid-configuration` each time keys are
    /// fetched; the document must be of this issuer and the address on its host
    /// Default: `false`
    /// Limits: not with `entra`; `issuer` must be a URL
    #[serde(default)]
    pub(super) discovery: bool,
    /// an inline JWKS; nothing is fetched
    /// Default: none
    /// Limits: 1 or more usable keys; no other key of `jwks` beside it
    pub(super) inline: Option<Value>,
    /// the timeout of one call
    /// Default: `"5s"`
    /// Limits: 1ms to 30d
    pub(super) timeout: Option<Text<Wait>>,
    /// the age at which keys are refreshed, with up to 10 % jitter
    /// Default: `"1h"`
    /// Limits: 1ms to 30d
    pub(super) refresh: Option<Text<Wait>>,
    /// how long keys are used while no refresh succeeds; `refresh`, if that is longer than the
    /// default
    /// Default: `"24h"`
    /// Limits: 1ms to 30d, not below `refresh`
    pub(super) max_age: Option<Text<Wait>>,
    /// how often keys are refetched on unknown `kid`, after three refetches at once
    /// Default: `"30s"`
    /// Limits: 1ms to 30d
    pub(super) unknown_kid_interval: Option<Text<Wait>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityEntry {
    /// the resource (audience) of the token: `https://cognitiveservices.azure.com` in the public
    /// cloud; other clouds have other values
    /// Required
    pub(super) resource: Text<Plain>,
    /// Azure's instance metadata service as the source
    /// Required: one of the three sources
    pub(super) imds: Option<Object<ImdsEntry>>,
    /// the endpoint of App Service or Container Apps as the source; its address and header are in
    /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`
    /// Required: one of the three sources
    pub(super) app_service: Option<Object<AppServiceEntry>>,
    /// an OAuth 2.0 token endpoint as the source (RFC 6749 §4.4), for gateways outside Azure
    /// Required: one of the three sources
    pub(super) client_credentials: Option<Object<ClientCredentialsEntry>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ImdsEntry {
    /// the Envoy cluster that serves it
    /// Required
    pub(super) cluster: Text<Plain>,
    /// selects a user-assigned identity by its client id
    /// Default: none
    /// Limits: at most one of the three; with none, the system-assigned identity
    pub(super) client_id: Option<Text<Plain>>,
    /// selects it by its object id
    /// Default: none
    pub(super) object_id: Option<Text<Plain>>,
    /// selects it by its Azure resource id
    /// Default: none
    pub(super) msi_res_id: Option<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct AppServiceEntry {
    /// the Envoy cluster of the address in `IDENTITY_ENDPOINT`
    /// Required
    pub(super) cluster: Text<Plain>,
    /// selects a user-assigned identity by its client id
    /// Default: none
    /// Limits: at most one of the three; with none, the system-assigned identity
    pub(super) client_id: Option<Text<Plain>>,
    /// selects it by its object id
    /// Default: none
    pub(super) principal_id: Option<Text<Plain>>,
    /// selects it by its Azure resource id
    /// Default: none
    pub(super) mi_res_id: Option<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ClientCredentialsEntry {
    /// the Envoy cluster that serves it
    /// Required
    pub(super) cluster: Text<Plain>,
    /// its address; gives `:authority` and `:path` of the call
    /// Required
    /// Limits: absolute `http` or `https`, no user information, not link-local
    pub(super) token_uri: Text<TokenUri>,
    /// the application's client id
    /// Required
    pub(super) client_id: Text<Plain>,
    /// the environment variable that holds its secret, never the secret itself
    /// Required
    /// Limits: up to 128 of `A-Z a-z 0-9 _`, no digit first
    pub(super) client_secret_env: Variable,
    /// the requested scope
    /// Default: the resource and `/.default`
    pub(super) scope: Option<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RouteEntry {
    /// label in logs and counters
    /// Required
    /// Limits: a label, unique
    pub(super) name: Text<Label>,
    /// which requests the route matches
    /// Required
    #[serde(rename = "match")]
    pub(super) matching: Object<MatchEntry>,
    /// grants; one that matches is enough
    /// Required unless `public` or `health`
    /// Limits: 1 or more
    pub(super) allow: Option<NonEmpty<Entry<GrantEntry>>>,
    /// the identity whose token replaces the caller's; without it the caller's is removed and none
    /// is set
    /// Default: none
    /// Limits: a name of `identities`
    pub(super) identity: Option<String>,
    /// no token is required
    /// Default: `false`
    /// Limits: then without `allow`, `identity`, `forward_claims`
    #[serde(default)]
    pub(super) public: bool,
    /// answered by the gateway: readiness probe
    /// Default: `false`
    /// Limits: then without `allow`, `identity`, `forward_claims`, `public`
    #[serde(default)]
    pub(super) health: bool,
    /// CORS preflights for methods of this route are forwarded, without any credential
    /// Default: `false`
    /// Limits: not with `health`
    #[serde(default)]
    pub(super) cors: bool,
    /// header ← claim, named as in a grant, if that is a string, number or boolean without control
    /// characters
    /// Default: `{}`
    /// Limits: not a credential, `host`, `cookie`, `content-type` or a header that frames the
    /// message
    #[serde(default)]
    pub(super) forward_claims: BTreeMap<String, Text<Claim>>,
    /// what goes on to the backend on this route, on purpose, although it may be a credential
    /// Default: `{}`
    /// Limits: not with `health`
    pub(super) pass: Option<Object<PassEntry>>,
    /// where the deployment's name is read: `path` is the segment `{deployment}` of `match.path`,
    /// `body.model` the `model` of the body
    /// Default: `"path"`
    /// Limits: `body.model` not on a public route, and not where the path names a deployment or
    /// might, as with `/openai/{*rest}`
    pub(super) deployment: Option<Text<Place>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct MatchEntry {
    /// compared exactly
    /// Required
    /// Limits: 1 or more, in capitals, not `CONNECT`
    pub(super) methods: NonEmpty<Text<Method>>,
    /// a pattern of the crate `matchit`, such as `/a/{b}/{*rest}`, for the path without its query
    /// Required
    /// Limits: begins with `/`
    pub(super) path: Text<Path>,
    /// `api.example.com`, or `*.example.com` for all below; compared without port and case
    /// Default: any
    /// Limits: 1 or more
    pub(super) hosts: Option<NonEmpty<Text<Host>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct GrantEntry {
    /// the token is of the issuer entry of this name
    /// Default: any
    /// Limits: a name of `issuers`
    pub(super) issuer: Option<String>,
    /// the calling application is one of these
    /// Default: any
    /// Limits: 1 or more
    pub(super) clients: Option<NonEmpty<Text<Plain>>>,
    /// the token has all of these in `scp` or `scope`
    /// Default: none required
    /// Limits: 1 or more
    pub(super) scopes: Option<NonEmpty<Text<Scope>>>,
    /// the token has all of these in `roles`
    /// Default: none required
    /// Limits: 1 or more
    pub(super) roles: Option<NonEmpty<Text<Plain>>>,
    /// each claim equals, or is a list that contains, one of its values
    /// Default: none required
    /// Limits: 1 or more; strings, booleans, and numbers up to 2⁵³ − 1, which are compared by value
    /// (1 is 1.0)
    pub(super) claims: Option<BTreeMap<String, NonEmpty<ClaimValueEntry>>>,
    /// the deployment is one of these, compared exactly
    /// Default: any
    /// Limits: 1 or more; the path must have the segment `{deployment}`, or the route
    /// `"deployment": "body.model"`
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
