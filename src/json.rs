//! JSON as the whole house reads it: no member may appear twice (RFC 8725 §2.4).

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// Parses a JSON document that must be an object without repeated members at any depth.
///
/// Nesting beyond `serde_json`'s limit of 128 is an error too.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let Value::Object(members) = serde_json::from_slice::<Strict>(bytes)?.0 else {
        return Err(serde_json::Error::custom("not an object"));
    };
    Ok(members)
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
            return Err(D::Error::custom("wanted the key once, found it again"));
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
