//! The shape of an entry of `prices`.

use serde::Deserialize;

use crate::config::scalars::{Money, Text};

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PriceEntry {
    /// tokens of requests, in units of your currency for a million
    /// Required
    /// Limits: decimal text below 10000000, up to 6 digits after the point
    pub(in crate::config) input: Text<Money>,
    /// those of them that the backend had in its cache
    /// Default: the price of `input`
    pub(in crate::config) cached_input: Option<Text<Money>>,
    /// those that the backend wrote to its cache
    /// Default: the price of `input`
    pub(in crate::config) cache_write: Option<Text<Money>>,
    /// those that are audio
    /// Default: the price of `input`
    pub(in crate::config) audio_input: Option<Text<Money>>,
    /// tokens of answers, with those that the model used to think
    /// Required
    pub(in crate::config) output: Text<Money>,
    /// those of them that are audio
    /// Default: the price of `output`
    pub(in crate::config) audio_output: Option<Text<Money>>,
}
