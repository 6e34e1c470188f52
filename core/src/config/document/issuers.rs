//! The shape of an entry of `issuers`.

use serde::Deserialize;
use serde_json::Value;

use crate::config::entry::{NonEmpty, Object};
use crate::config::scalars::{
    AudienceClaim, CloudName, KeySetUri, Label, Leeway, Plain, SignatureAlgorithm, TenantId, Text,
    Type, Wait,
};

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct IssuerEntry {
    /// label in logs, counters and grants
    /// Default: the host of `issuer`; with `entra`, `entra`
    /// Limits: a label, unique
    pub(in crate::config) name: Option<Text<Label>>,
    /// the exact `iss`
    /// Required: this or `entra`
    pub(in crate::config) issuer: Option<Text<Plain>>,
    /// Entra tenants in place of `issuer`
    /// Required: this or `issuer`
    pub(in crate::config) entra: Option<Object<EntraEntry>>,
    /// `aud` must name one, compared exactly
    /// Required
    /// Limits: 1 or more
    pub(in crate::config) audiences: NonEmpty<Text<Plain>>,
    /// the claim that names the audience where the issuer's tokens have no `aud`, such as Cognito's
    /// `client_id`: a text, required, equal to one of `audiences`; a token that has `aud` too must
    /// match with both
    /// Default: none
    /// Limits: not `aud` or another registered claim, not with `entra`
    pub(in crate::config) audience_claim: Option<Text<AudienceClaim>>,
    /// where the keys come from
    /// Required
    pub(in crate::config) jwks: Object<JwksEntry>,
    /// accepted `alg`: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, and
    /// `EdDSA`, which is also called Ed25519 (RFC 9864)
    /// Default: `["RS256"]`
    /// Limits: 1 or more
    pub(in crate::config) algorithms: Option<NonEmpty<Text<SignatureAlgorithm>>>,
    /// accepted `typ`, in capitals or not, with or without `application/`; a token without `typ` counts as
    /// `JWT`
    /// Default: `["JWT", "at+jwt"]`
    /// Limits: 1 or more
    pub(in crate::config) token_types: Option<NonEmpty<Text<Type>>>,
    /// the leeway for clock skew in `exp`, `nbf` and `iat`
    /// Default: `"60s"`
    /// Limits: 0s to 5m
    pub(in crate::config) leeway: Option<Text<Leeway>>,
    /// the longest `exp − iat`; with it, `iat` is required
    /// Default: none
    /// Limits: 1ms to 30d
    pub(in crate::config) max_lifetime: Option<Text<Wait>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct EntraEntry {
    /// for each: its issuers of version 1 and 2, `tid` equal to it, its own key set, and of that no
    /// key whose member `issuer` names another issuer
    /// Required
    /// Limits: 1 or more GUIDs
    pub(in crate::config) tenants: NonEmpty<Text<TenantId>>,
    /// whose hosts: `public`, `us-government`, `china`
    /// Default: `"public"`
    pub(in crate::config) cloud: Option<Text<CloudName>>,
    /// the calling applications (`azp`, else `appid`, else `client_id`) that are allowed; any if
    /// empty
    /// Default: `[]`
    #[serde(default)]
    pub(in crate::config) clients: Vec<Text<Plain>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct JwksEntry {
    /// the Envoy cluster that serves them
    /// Required without `inline`
    pub(in crate::config) cluster: Option<Text<Plain>>,
    /// their address; gives `:authority` and `:path` of the call
    /// Required: this, `discovery` or `inline`; none with `entra`, where the tenant gives it
    /// Limits: absolute `http` or `https`, no user information, not link-local
    pub(in crate::config) uri: Option<Text<KeySetUri>>,
    /// fetch the address from `{issuer}/.well-known/openid-configuration` each time keys are
    /// fetched; the document must be of this issuer and the address on its host
    /// Default: `false`
    /// Limits: not with `entra`; `issuer` must be a URL
    #[serde(default)]
    pub(in crate::config) discovery: bool,
    /// an inline JWKS; nothing is fetched
    /// Default: none
    /// Limits: 1 or more usable keys; no other key of `jwks` beside it
    pub(in crate::config) inline: Option<Value>,
    /// the timeout of one call
    /// Default: `"5s"`
    /// Limits: 1ms to 30d
    pub(in crate::config) timeout: Option<Text<Wait>>,
    /// the age at which keys are refreshed, with up to 10 % jitter
    /// Default: `"1h"`
    /// Limits: 1ms to 30d
    pub(in crate::config) refresh: Option<Text<Wait>>,
    /// how long keys are used while no refresh succeeds; `refresh`, if that is longer than the
    /// default
    /// Default: `"24h"`
    /// Limits: 1ms to 30d, not below `refresh`
    pub(in crate::config) max_age: Option<Text<Wait>>,
    /// how often keys are refetched on an unknown `kid` or a signature of no known key, after three
    /// refetches at once
    /// Default: `"30s"`
    /// Limits: 1ms to 30d
    pub(in crate::config) unknown_kid_interval: Option<Text<Wait>>,
}
