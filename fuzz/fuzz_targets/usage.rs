//! Answers in pieces: the first byte is the length of the pieces, the rest the body. What is read in
//! passing is what `serde_json` reads of the whole.

#![no_main]

use std::fmt;

use keyless_core::usage::{Basis, End, Reader};
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Some((length, body)) = bytes.split_first() else { return };
    let length = usize::from(*length).max(1);
    let end = End::Whole { is_asked: false };
    for mut reader in [Reader::for_plain(), Reader::for_stream()] {
        body.chunks(length).for_each(|piece| reader.read(piece));
        let is_plain = !reader.is_stream();
        let counted = reader.finish(end, || 4);
        let mut document = serde_json::Deserializer::from_slice(body);
        let Ok(Last(last)) = Last::deserialize(&mut document) else { continue };
        if is_plain && document.end().is_ok() {
            let said = last.as_ref().and_then(|usage| said(usage, usage.to_string().len()));
            assert_eq!(said.is_some(), counted.basis == Basis::Exact, "{last:?}");
            let (input, output) = said.unwrap_or_default();
            assert_eq!(output, counted.usage.output);
            assert!(input <= counted.usage.input);
        }
    }
});

/// The tokens of the request and of the answer, if the object counts any.
fn said(usage: &Value, length: usize) -> Option<(u64, u64)> {
    // Blanks count towards the longest that is read, and are not here any more.
    let members = usage.as_object().filter(|_| length < 512)?;
    let count = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_u64().map(Some),
    };
    let either = |one: &str, other: &str| {
        Some(count(members.get(one))?.or(count(members.get(other))?))
    };
    let (input, output) = (
        either("prompt_tokens", "input_tokens")?,
        either("completion_tokens", "output_tokens")?,
    );
    for name in ["cache_read_input_tokens", "cache_creation_input_tokens"] {
        count(members.get(name))?;
    }
    let parts: [(&[&str], &[&str]); 2] = [
        (
            &["prompt_tokens_details", "input_tokens_details", "input_token_details"],
            &["cached_tokens", "cache_write_tokens", "audio_tokens"],
        ),
        (
            &["completion_tokens_details", "output_tokens_details"],
            &["reasoning_tokens", "audio_tokens"],
        ),
    ];
    for (objects, names) in parts {
        let details = objects.iter().find_map(|object| members.get(*object)?.as_object());
        for name in details.iter().flat_map(|details| names.iter().map(|name| details.get(*name))) {
            count(name)?;
        }
    }
    (input.is_some() || output.is_some()).then(|| (input.unwrap_or(0), output.unwrap_or(0)))
}

/// The last `usage` in the order of the text: at the top, or in `response` or `message`.
struct Last(Option<Value>);

struct Object {
    is_inner: bool,
}

impl<'de> Deserialize<'de> for Last {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Object { is_inner: false }).map(|found| Self(found.flatten()))
    }
}

impl<'de> DeserializeSeed<'de> for Object {
    type Value = Option<Option<Value>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! nothing {
    ($($visit:ident: $type:ty)*) => { $(
        fn $visit<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok(None)
        }
    )* };
}

impl<'de> Visitor<'de> for Object {
    /// The outer is there if there is a `usage`, the inner if it is an object.
    type Value = Option<Option<Value>>;

    nothing! { visit_bool: bool visit_i64: i64 visit_u64: u64 visit_f64: f64 visit_str: &str }

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "usage" => found = Some(Some(members.next_value()?).filter(Value::is_object)),
                "response" | "message" if !self.is_inner => {
                    found = members.next_value_seed(Self { is_inner: true })?.or(found);
                }
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}
