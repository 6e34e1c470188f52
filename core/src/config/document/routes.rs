//! The shape of an entry of `routes`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::claim_value::ClaimValueEntry;
use crate::config::entry::{Entry, NonEmpty, Object, OneOrMore};
use crate::config::scalars::{
    Claim, Cookie, Counting, Host, Label, Method, PassedHeader, Path, Place, Plain, RouterHeader,
    Scope, Text, TokenPlace,
};

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RouteEntry {
    /// label in logs and counters
    /// Required
    /// Limits: a label, unique
    pub(in crate::config) name: Text<Label>,
    /// which requests the route matches
    /// Required
    #[serde(rename = "match")]
    pub(in crate::config) matching: Object<MatchEntry>,
    /// grants; one that matches is enough
    /// Required unless `public` or `health`
    /// Limits: 1 or more
    pub(in crate::config) allow: Option<NonEmpty<Entry<GrantEntry>>>,
    /// the identity whose token replaces the caller's; without it the caller's is removed and none
    /// is set
    /// Default: none
    /// Limits: a name of `identities`
    pub(in crate::config) identity: Option<String>,
    /// no token is required
    /// Default: `false`
    /// Limits: then without `allow`, `identity`, `forward_claims`
    #[serde(default)]
    pub(in crate::config) public: bool,
    /// answered by the gateway: readiness probe
    /// Default: `false`
    /// Limits: then without `allow`, `identity`, `forward_claims`, `public`
    #[serde(default)]
    pub(in crate::config) health: bool,
    /// CORS preflights for methods of this route are forwarded, without any credential
    /// Default: `false`
    /// Limits: not with `health`
    #[serde(default)]
    pub(in crate::config) cors: bool,
    /// header ← claim, named as in a grant, if that is a string, number or boolean without control
    /// characters
    /// Default: `{}`
    /// Limits: not a credential, `host`, `cookie`, `content-type` or a header that frames the
    /// message
    #[serde(default)]
    pub(in crate::config) forward_claims: BTreeMap<String, Text<Claim>>,
    /// what goes on to the backend on this route, on purpose, although it may be a credential
    /// Default: `{}`
    /// Limits: not with `health`
    pub(in crate::config) pass: Option<Object<PassEntry>>,
    /// where the deployment's name is read: `path` is the segment `{deployment}` of `match.path`,
    /// `body.model` the `model` of the body, `query` the parameter `deployment` or `model` of a
    /// WebSocket of the realtime API
    /// Default: `"path"`
    /// Limits: `body.model` and `query` not on a public route, and not where the path names a
    /// deployment or might, as with `/openai/{*rest}`; `query` with the method GET alone, and not
    /// for `/openai/v1/responses`
    pub(in crate::config) deployment: Option<Text<Place>>,
    /// answers are read for the tokens that they used: `read` as they come, `ask` makes streamed
    /// chats say it
    /// Default: not read
    /// Limits: not with `health`
    pub(in crate::config) usage: Option<Text<Counting>>,
    /// the header that tells Envoy's router the deployment's name; the caller's own of that name is
    /// removed on every route
    /// Default: none
    /// Limits: as in `forward_claims`, and not one of those; where requests name a deployment
    pub(in crate::config) deployment_header: Option<Text<RouterHeader>>,
    /// the deployments that there are; for any other one the reply is 404 `model_not_found`
    /// Default: any
    /// Limits: 1 or more; where requests name a deployment
    pub(in crate::config) deployments: Option<NonEmpty<Text<Plain>>>,
    /// where the token may stand: `authorization`, `api-key` (that header or `x-api-key`),
    /// `subprotocol` (`openai-insecure-api-key.TOKEN` in `sec-websocket-protocol`)
    /// Default: `["authorization"]`
    /// Limits: 1 or more; not on a public route
    pub(in crate::config) credential: Option<NonEmpty<Text<TokenPlace>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PassEntry {
    /// headers that are removed on other routes
    /// Default: none
    /// Limits: 1 or more; not `authorization`, `proxy-authorization` and `cookie`
    pub(in crate::config) headers: Option<NonEmpty<Text<PassedHeader>>>,
    /// cookies by name, compared exactly; all others are removed
    /// Default: none
    /// Limits: 1 or more
    pub(in crate::config) cookies: Option<NonEmpty<Text<Cookie>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct MatchEntry {
    /// compared exactly
    /// Required
    /// Limits: 1 or more, in capitals, not `CONNECT`
    pub(in crate::config) methods: NonEmpty<Text<Method>>,
    /// a pattern of the crate `matchit`, such as `/a/{b}/{*rest}`, for the path without its query;
    /// or a list of them, any of which matches
    /// Required
    /// Limits: begins with `/`; 1 or more
    pub(in crate::config) path: OneOrMore<Text<Path>>,
    /// `api.example.com`, or `*.example.com` for all below; compared without port and case
    /// Default: any
    /// Limits: 1 or more
    pub(in crate::config) hosts: Option<NonEmpty<Text<Host>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct GrantEntry {
    /// the token is of the issuer entry of this name
    /// Default: any
    /// Limits: a name of `issuers`
    pub(in crate::config) issuer: Option<String>,
    /// the calling application is one of these
    /// Default: any
    /// Limits: 1 or more
    pub(in crate::config) clients: Option<NonEmpty<Text<Plain>>>,
    /// the token has all of these in `scp` or `scope`
    /// Default: none required
    /// Limits: 1 or more
    pub(in crate::config) scopes: Option<NonEmpty<Text<Scope>>>,
    /// the token has all of these in `roles`
    /// Default: none required
    /// Limits: 1 or more
    pub(in crate::config) roles: Option<NonEmpty<Text<Plain>>>,
    /// each claim equals, or is a list that contains, one of its values
    /// Default: none required
    /// Limits: 1 or more; strings, booleans, and numbers up to 2⁵³ − 1, which are compared by value
    /// (1 is 1.0)
    pub(in crate::config) claims: Option<BTreeMap<String, NonEmpty<ClaimValueEntry>>>,
    /// the deployment is one of these, compared exactly
    /// Default: any
    /// Limits: 1 or more; the path must have the segment `{deployment}`, or the route
    /// `"deployment": "body.model"` or `"query"`
    pub(in crate::config) deployments: Option<NonEmpty<Text<Plain>>>,
}
