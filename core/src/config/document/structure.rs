//! A configuration that Envoy was given as a `google.protobuf.Struct`.

use prost::Message as _;
use prost_types::{Struct, value::Kind};
use serde_json::{Number, Value};

/// The tag of the one field of a `Struct`: number 1, with a length. In JSON it is a line break.
const FIRST_BYTE: u8 = 0x0a;

/// Reads the serialized message, which is what Envoy passes to a module. Its numbers are doubles; what
/// is no number in JSON becomes null.
pub(super) fn read(bytes: &[u8]) -> Option<Value> {
    if bytes.first() != Some(&FIRST_BYTE) {
        return None;
    }
    Struct::decode(bytes).ok().map(object)
}

fn object(message: Struct) -> Value {
    message.fields.into_iter().map(|(name, value)| (name, json(value))).collect()
}

fn json(message: prost_types::Value) -> Value {
    match message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::NumberValue(number)) => Number::from_f64(number).into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::StructValue(message)) => object(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of the fields `a`, with the number 1, and `b`, with a list of true, null, a text and
    /// an empty object, as Envoy writes it.
    const MESSAGE: [u8; 42] = *b"\x0a\x0e\x0a\x01a\x12\x09\x11\0\0\0\0\0\0\xf0\x3f\
        \x0a\x18\x0a\x01b\x12\x13\x32\x11\x0a\x02\x20\x01\x0a\x02\x08\0\x0a\x03\x1a\x01x\x0a\x02\x2a\0";

    #[test]
    fn a_message_is_the_same_as_its_json() {
        let expected = serde_json::json!({ "a": 1.0, "b": [true, null, "x", {}] });
        assert_eq!(read(&MESSAGE), Some(expected));
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_no_message() {
        for end in [1, 10, 41] {
            assert_eq!(read(MESSAGE.get(..end).unwrap()), None, "{end}");
        }
        for other in [b"".as_slice(), b"{}", b"\n{}", b"\x12\x00"] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
