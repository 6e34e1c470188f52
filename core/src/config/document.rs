//! The shape of the configuration document: which keys there are, and which must be there.

mod identities;
mod issuers;
mod limits;
mod prices;
mod routes;
mod structure;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::entry::{Entry, NonEmpty};
use super::scalars::{Count, MetadataPath, Parameter, Resource, Scope, StrippedHeader, Text};
use super::{Error, Errors};
use crate::json::Strict;
pub(super) use identities::{
    AppServiceEntry, ClientCredentialsEntry, FileEntry, IdentityEntry, ImdsEntry,
    WorkloadIdentityEntry,
};
pub(super) use issuers::{EntraEntry, IssuerEntry, JwksEntry};
pub(super) use limits::{LedgerEntry, LimitEntry, WhenEntry};
pub(super) use prices::PriceEntry;
pub(super) use routes::{GrantEntry, PassEntry, RouteEntry};

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
    /// what a million tokens cost, by deployment
    /// Default: `{}`
    /// Limits: names are labels
    #[serde(default)]
    pub(super) prices: BTreeMap<String, Entry<PriceEntry>>,
    /// who may use how much; every limit counts that a request falls under
    /// Default: none
    /// Limits: 1 or more
    pub(super) limits: Option<NonEmpty<Entry<LimitEntry>>>,
    /// where the use is counted
    /// Default: `{}`
    pub(super) ledger: Option<Entry<LedgerEntry>>,
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
    /// query parameters, in capitals or not, with or without `-` and `_`
    /// Default: none
    /// Limits: 1 or more of A-Z a-z 0-9 . _ -
    pub(super) query: Option<NonEmpty<Text<Parameter>>>,
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
    /// what the authorization server has before the scopes of grants, such as Entra's
    /// `api://openai-gateway/`: it is put before those in the challenge and the metadata, except where
    /// they have a scheme already
    /// Default: none
    /// Limits: no spaces, quotes or backslashes
    pub(super) scope_prefix: Option<Text<Scope>>,
    /// the scopes in the metadata, in full
    /// Default: all that grants name, with `scope_prefix`
    /// Limits: 1 or more
    pub(super) scopes_supported: Option<NonEmpty<Text<Scope>>>,
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

/// Reads a JSON value in which no object repeats a key, or the same as a `google.protobuf.Struct`.
fn value(bytes: &[u8]) -> Result<Value, Error> {
    if bytes.trim_ascii().is_empty() {
        let expected = "an object with `issuers` and `routes`";
        return Err(Error::new("$", expected, "an empty document"));
    }
    let json = json(bytes);
    match structure::read(bytes) {
        Some(value) if json.is_err() => Ok(value),
        Some(_) | None => json,
    }
}

fn json(bytes: &[u8]) -> Result<Value, Error> {
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
