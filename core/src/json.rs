//! JSON as the whole house reads it: no member may appear twice (RFC 8725 §2.4).

mod marks;

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

pub(crate) use marks::{Mark, Marks, Word};

/// Parses a JSON document that must be an object without repeated members at any depth.
///
/// Nesting beyond `serde_json`'s limit of 128 is an error too.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let Value::Object(members) = serde_json::from_slice::<Strict>(bytes)?.0 else {
        return Err(serde_json::Error::custom("not an object"));
    };
    Ok(members)
}

/// Parses a JSON object and keeps the members that `keep` gives a name to; the others may not be
/// repeated either.
pub(crate) fn members<N: PartialEq>(
    text: &str,
    keep: impl Fn(&str) -> Option<N>,
) -> Result<Vec<(N, Value)>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(SomeVisitor(keep))?;
    reader.end()?;
    Ok(members)
}

/// What an object says under one name.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Found {
    Absent,
    Text(String),
    /// Something else than one text: another reader might find another one.
    Unclear,
}

/// Reads one member of a JSON object, however large the others are, which are not looked into. Names
/// that differ in case only are one: there are readers that take them so.
pub(crate) fn member(text: &str, name: &str) -> Result<Found, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(MemberVisitor(name))?;
    reader.end()?;
    Ok(found)
}

/// A JSON value in which no object repeats a member.
pub(crate) struct Strict(pub(crate) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

/// Reads a member's value into its place; a place that is taken fails here, in the member itself.
struct Member<'a>(Entry<'a>);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Entry::Vacant(place) = self.0 else {
            return Err(D::Error::custom("a repeated key"));
        };
        place.insert(deserializer.deserialize_any(StrictVisitor)?);
        Ok(())
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value_seed(Member(object.entry(name)))?;
        }
        Ok(Value::Object(object))
    }
}

struct SomeVisitor<K>(K);

impl<'de, N: PartialEq, K: Fn(&str) -> Option<N>> Visitor<'de> for SomeVisitor<K> {
    type Value = Vec<(N, Value)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut kept: Self::Value = Vec::new();
        let mut others = Vec::new();
        let repeated = || A::Error::custom("a repeated key");
        while let Some(Name(name)) = members.next_key()? {
            if let Some(name) = self.0(&name) {
                if kept.iter().any(|(known, _)| *known == name) {
                    return Err(repeated());
                }
                kept.push((name, members.next_value::<Strict>()?.0));
            } else {
                members.next_value::<IgnoredAny>()?;
                others.push(name);
            }
        }
        // By length first, which mostly settles it without a look at the bytes.
        others.sort_unstable_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
        let is_repeated = |pair: &[_]| matches!(pair, [one, other] if one == other);
        if others.windows(2).any(is_repeated) { Err(repeated()) } else { Ok(kept) }
    }
}

struct MemberVisitor<'a>(&'a str);

impl<'de> Visitor<'de> for MemberVisitor<'_> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Found, A::Error> {
        let mut found = Found::Absent;
        while let Some(Name(name)) = members.next_key()? {
            if !name.eq_ignore_ascii_case(self.0) {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let Text(text) = members.next_value()?;
            found = match (found, text) {
                (Found::Absent, Some(text)) if name == self.0 => Found::Text(text),
                _ => Found::Unclear,
            };
        }
        Ok(found)
    }
}

/// A JSON value, if it is a text.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// The name of a member, borrowed from the document where it stands there as it is.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor).map(Self)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_appear_once_only_at_every_depth() {
        assert!(object(br#"{"a": {"b": 1, "c": [1, 2.5, null, true, "x"]}}"#).is_ok());
        assert!(object(br#"{"a": 1, "a": 1}"#).is_err());
        assert!(object(br#"{"a": [{"b": 1, "b": 2}]}"#).is_err());
        assert!(object(br#"{"a": 1, "\u0061": 1}"#).is_err(), "the same name, written otherwise");
    }

    #[test]
    fn unwanted_members_are_left_out_and_may_not_be_repeated_either() {
        let text = r#"{"b": {"c": 1}, "a": 1, "d": [1, {}], "\u0065": 2}"#;
        let kept = members(text, |name| ["a", "e"].into_iter().find(|known| *known == name));
        assert_eq!(kept.unwrap(), [("a", 1.into()), ("e", 2.into())]);
        for repeated in
            [r#"{"a": 1, "a": 1}"#, r#"{"b": 1, "c": 2, "b": 3}"#, r#"{"b":1,"\u0062":1}"#]
        {
            assert!(members(repeated, |name| (name == "a").then_some(())).is_err(), "{repeated}");
        }
        for text in ["", "[]", "1", "null", "{} {}", "{\"a\":1", "{\"b\":}"] {
            assert!(members(text, |name| Some(name.to_owned())).is_err(), "{text}");
        }
    }

    #[test]
    fn only_an_object_is_an_object() {
        for text in ["", "[]", "1", "\"a\"", "null", "{} {}", "{\"a\":1"] {
            assert!(object(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(object(deep.as_bytes()).is_err());
    }
}
