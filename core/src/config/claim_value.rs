//! The values that the configuration expects of claims.

use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use serde_json::Value;

use super::scalars::{PLAIN, plain};
use crate::jwt::ClaimValue;

/// A value of a claim in the document.
pub(super) struct ClaimValueEntry(pub(super) ClaimValue);

/// 2⁵³ − 1; from there on two whole numbers may be one float (RFC 7493 §2.2).
const MAX_NUMBER: f64 = 9_007_199_254_740_991.0;

impl<'de> Deserialize<'de> for ClaimValueEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |found, expected: &str| Err(D::Error::invalid_value(found, &expected));
        let kinds = "a text, a number or a boolean";
        match Value::deserialize(deserializer)? {
            Value::Array(_) => wrong(Unexpected::Seq, kinds),
            Value::Bool(value) => Ok(Self(ClaimValue::Bool(value))),
            Value::Null => wrong(Unexpected::Unit, kinds),
            Value::Number(number) => match number.as_f64() {
                Some(value) if value.abs() <= MAX_NUMBER => Ok(Self(ClaimValue::Number(value))),
                Some(_) | None => wrong(
                    Unexpected::Other(&number.to_string()),
                    "a number from -9007199254740991 to 9007199254740991 (RFC 7493)",
                ),
            },
            Value::Object(_) => wrong(Unexpected::Map, kinds),
            Value::String(text) => match plain(&text) {
                Some(text) => Ok(Self(ClaimValue::Text(text))),
                None => wrong(Unexpected::Str(&text), PLAIN),
            },
        }
    }
}
