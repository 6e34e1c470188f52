//! The shape of `ledger` and of an entry of `limits`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::claim_value::ClaimValueEntry;
use crate::config::entry::{NonEmpty, Object};
use crate::config::scalars::{
    Budget, Claim, Count, CountedTokens, CountingOn, Label, LimitKey, Plain, Reserve, Scope,
    ShortWait, Text, WindowLength,
};

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LimitEntry {
    /// in replies and metrics
    /// Required
    /// Limits: a label, unique
    pub(in crate::config) name: Text<Label>,
    /// there is one counter for each: `issuer`, `client`, `subject`, `route`, `deployment`
    /// Default: one counter for all
    /// Limits: 1 or more
    pub(in crate::config) per: Option<NonEmpty<Text<LimitKey>>>,
    /// and for each value of these claims, named as in a grant; an absent claim is a value, too
    /// Default: none
    /// Limits: 1 or more
    pub(in crate::config) per_claims: Option<NonEmpty<Text<Claim>>>,
    /// for whom it is; every condition must hold
    /// Default: everybody
    pub(in crate::config) when: Option<Object<WhenEntry>>,
    /// how many requests may be admitted in a window
    /// Required unless `tokens` or `cost`
    pub(in crate::config) requests: Option<Count>,
    /// how many tokens may be used in a window; counted when an answer is over
    /// Required unless `requests` or `cost`
    /// Limits: needs a route with `usage`
    pub(in crate::config) tokens: Option<Count>,
    /// which tokens count: `total`, `input`, `output`
    /// Default: `"total"`
    /// Limits: with `tokens` only
    pub(in crate::config) count: Option<Text<CountedTokens>>,
    /// how much money may be spent in a window, in units of your currency, by `prices`
    /// Required unless `requests` or `tokens`
    /// Limits: decimal text up to 4294967, up to 6 digits after the point; needs a route with `usage`
    pub(in crate::config) cost: Option<Text<Budget>>,
    /// `1m`, `1h`, `1d`, `7d`, `30d` or `365d`; windows follow each other from 1970 on, in UTC
    /// Required
    pub(in crate::config) window: Text<WindowLength>,
    /// what counts for each request under way in a worker, until its answer is over: a number of
    /// tokens, or decimal text for money
    /// Default: none
    /// Limits: not more than `tokens` or `cost`; not with `requests`
    pub(in crate::config) reserve: Option<Reserve>,
    /// counted and reported, but nobody is refused
    /// Default: `false`
    #[serde(default)]
    pub(in crate::config) report_only: bool,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WhenEntry {
    /// the request is on one of these routes
    /// Default: any
    /// Limits: names of `routes`
    pub(in crate::config) routes: Option<NonEmpty<String>>,
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
    /// Limits: as in a grant
    pub(in crate::config) claims: Option<BTreeMap<String, NonEmpty<ClaimValueEntry>>>,
    /// the deployment is one of these, in capitals or not
    /// Default: any
    /// Limits: 1 or more
    pub(in crate::config) deployments: Option<NonEmpty<Text<Plain>>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LedgerEntry {
    /// the Envoy cluster of a service of Envoy's rate-limit protocol, where several proxies count
    /// together
    /// Default: each proxy counts for itself
    pub(in crate::config) cluster: Option<Text<Plain>>,
    /// what these limits are in that service: its `domain`
    /// Default: `"keyless"`
    /// Limits: a label; with `cluster` only
    pub(in crate::config) domain: Option<Text<Label>>,
    /// how many counters a proxy keeps, in up to 50 bytes each; beyond it, the least used are forgotten
    /// Default: `65536`
    /// Limits: 1024 to 1048576
    pub(in crate::config) entries: Option<Count>,
    /// how often what was used is told, and what the others have used is learnt
    /// Default: `"1s"`
    /// Limits: 100ms to 1m; with `cluster` only
    pub(in crate::config) settle: Option<Text<ShortWait>>,
    /// the timeout of one call; no request waits for it
    /// Default: `"1s"`
    /// Limits: 100ms to 1m; with `cluster` only
    pub(in crate::config) timeout: Option<Text<ShortWait>>,
    /// while the service is away: `count` goes on by what this proxy knows, `refuse` answers 503 after
    /// three settlements that failed
    /// Default: `"count"`
    /// Limits: with `cluster` only
    pub(in crate::config) unavailable: Option<Text<CountingOn>>,
}
