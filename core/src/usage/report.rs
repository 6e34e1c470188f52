//! The object `usage` of an answer, as the interfaces write it.

use serde_json::{Map, Value};

use super::Usage;

/// What one `usage` object says; what it does not mention is not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Report {
    input: Option<u64>,
    output: Option<u64>,
    cached: Option<u64>,
    cache_write: Option<u64>,
    audio_input: Option<u64>,
    reasoning: Option<u64>,
    audio_output: Option<u64>,
    /// The cached tokens are not among those of the input, as in Anthropic's messages.
    is_cache_apart: bool,
}

/// Says that a count is no whole number from 0 to 2⁶⁴ − 1.
struct Unsound;

impl Report {
    /// Reads an object. There is none if one of its counts is no count, or if it counts nothing: a
    /// transcription may be paid by the second.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let Value::Object(members) = serde_json::from_slice(bytes).ok()? else { return None };
        Self::of(&members).ok().flatten()
    }

    fn of(usage: &Map<String, Value>) -> Result<Option<Self>, Unsound> {
        let input = either(usage, ["prompt_tokens", "input_tokens"])?;
        let output = either(usage, ["completion_tokens", "output_tokens"])?;
        if input.is_none() && output.is_none() {
            return Ok(None);
        }
        let of_input = ["prompt_tokens_details", "input_tokens_details", "input_token_details"];
        let of_output = ["completion_tokens_details", "output_tokens_details"];
        let read = count(usage, "cache_read_input_tokens")?;
        let written = count(usage, "cache_creation_input_tokens")?;
        Ok(Some(Self {
            input,
            output,
            cached: read.or(part(usage, &of_input, "cached_tokens")?),
            cache_write: written.or(part(usage, &of_input, "cache_write_tokens")?),
            audio_input: part(usage, &of_input, "audio_tokens")?,
            reasoning: part(usage, &of_output, "reasoning_tokens")?,
            audio_output: part(usage, &of_output, "audio_tokens")?,
            is_cache_apart: read.is_some() || written.is_some(),
        }))
    }

    /// Returns this report, and of what it does not mention, what an earlier one said.
    pub(super) fn after(self, earlier: Self) -> Self {
        Self {
            input: self.input.or(earlier.input),
            output: self.output.or(earlier.output),
            cached: self.cached.or(earlier.cached),
            cache_write: self.cache_write.or(earlier.cache_write),
            audio_input: self.audio_input.or(earlier.audio_input),
            reasoning: self.reasoning.or(earlier.reasoning),
            audio_output: self.audio_output.or(earlier.audio_output),
            is_cache_apart: self.is_cache_apart || earlier.is_cache_apart,
        }
    }

    /// Returns true if it says how many tokens the request had.
    pub(super) fn has_input(&self) -> bool {
        self.input.is_some()
    }

    pub(super) fn usage(&self) -> Usage {
        let or_none = Option::unwrap_or_default;
        let (cached, cache_write) = (or_none(self.cached), or_none(self.cache_write));
        let apart = if self.is_cache_apart { cached.saturating_add(cache_write) } else { 0 };
        Usage {
            input: or_none(self.input).saturating_add(apart),
            output: or_none(self.output),
            cached,
            cache_write,
            audio_input: or_none(self.audio_input),
            reasoning: or_none(self.reasoning),
            audio_output: or_none(self.audio_output),
        }
    }
}

/// Reads a count, if it is there.
fn count(members: &Map<String, Value>, name: &str) -> Result<Option<u64>, Unsound> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(Unsound),
    }
}

fn either(members: &Map<String, Value>, names: [&str; 2]) -> Result<Option<u64>, Unsound> {
    let [first, second] = names;
    Ok(count(members, first)?.or(count(members, second)?))
}

/// Reads a count that is in one of these objects.
fn part(usage: &Map<String, Value>, objects: &[&str], name: &str) -> Result<Option<u64>, Unsound> {
    let details = objects.iter().find_map(|object| usage.get(*object)?.as_object());
    details.map_or(Ok(None), |details| count(details, name))
}
