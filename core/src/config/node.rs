//! A JSON value as serde reads it, with mistakes in the words of a configuration's errors.

use std::{fmt, iter, slice};

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value, map};

/// A value to be read. A `null` is no absent value: an absent condition admits everybody.
#[derive(Clone, Copy)]
pub(super) struct Node<'de, 'parent> {
    value: &'de Value,
    /// What it is in, and where in that; `None` for the entry itself.
    parent: Option<(&'parent Self, Step<&'de str>)>,
}

/// Leads from a value into one that it holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<Text> {
    Item(usize),
    Key(Text),
}

/// Says what is wrong with a value. In a box, since each key of the document passes it on.
#[derive(Debug)]
pub(super) struct Mistake(Box<Details>);

#[derive(Debug)]
pub(super) struct Details {
    /// The steps that lead there from the entry.
    pub(super) place: Vec<Step<String>>,
    pub(super) expected: String,
    pub(super) found: String,
    /// The key that an object lacks, if it is that.
    pub(super) missing: Option<&'static str>,
}

impl Mistake {
    fn new(expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self(Box::new(Details { place: Vec::new(), expected, found, missing: None }))
    }

    pub(super) fn details(self) -> Details {
        *self.0
    }

    /// Puts the mistake at this value, unless it is in one that this one holds.
    #[cold]
    fn at(mut self, node: Node<'_, '_>) -> Self {
        if self.0.place.is_empty() {
            let up = iter::successors(node.parent, |(parent, _)| parent.parent);
            self.0.place = up.map(|(_, step)| step.into_owned()).collect();
            self.0.place.reverse();
        }
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "expected {}, found {}", self.0.expected, self.0.found)
    }
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("a value that can be read", message)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        // serde's words for them are those of Rust.
        let expected = match expected.to_string().as_str() {
            "a JSON number" => "a number".to_owned(),
            "a map" => "an object".to_owned(),
            "a sequence" => "a list".to_owned(),
            "a string" => "a text".to_owned(),
            other => other.to_owned(),
        };
        Self::new(expected, in_json(found))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(expected, in_json(found))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        let keys: Vec<_> = expected.iter().map(|key| format!("`{key}`")).collect();
        Self::new(format_args!("one of {}", keys.join(", ")), "an unknown key")
    }

    fn missing_field(key: &'static str) -> Self {
        let mut mistake = Self::new(format_args!("the key `{key}`"), "none");
        mistake.0.missing = Some(key);
        mistake
    }
}

fn in_json(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Map => "an object".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Other(words) => words.to_owned(),
        Unexpected::Bytes(_)
        | Unexpected::Char(_)
        | Unexpected::Enum
        | Unexpected::NewtypeStruct
        | Unexpected::NewtypeVariant
        | Unexpected::Option
        | Unexpected::StructVariant
        | Unexpected::TupleVariant
        | Unexpected::UnitVariant => found.to_string(),
    }
}

impl Step<&str> {
    fn into_owned(self) -> Step<String> {
        match self {
            Self::Item(index) => Step::Item(index),
            Self::Key(key) => Step::Key(key.to_owned()),
        }
    }
}

impl<'de, 'parent> Node<'de, 'parent> {
    /// Starts at the entry itself.
    pub(super) fn entry(value: &'de Value) -> Self {
        Self { value, parent: None }
    }

    fn items(&'parent self, items: &'de [Value]) -> Items<'de, 'parent> {
        Items { list: self, rest: items.iter().enumerate() }
    }

    fn members(&'parent self, members: &'de Map<String, Value>) -> Members<'de, 'parent> {
        Members { object: self, rest: members.iter(), value: None }
    }

    fn read<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Mistake> {
        seed.deserialize(self).map_err(|mistake| mistake.at(self))
    }
}

/// The items of a list that are still to be read.
struct Items<'de, 'parent> {
    list: &'parent Node<'de, 'parent>,
    rest: iter::Enumerate<slice::Iter<'de, Value>>,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = Mistake;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mistake> {
        let next = self.rest.next();
        next.map(|(index, value)| {
            Node { value, parent: Some((self.list, Step::Item(index))) }.read(seed)
        })
        .transpose()
    }
}

/// The members of an object that are still to be read.
struct Members<'de, 'parent> {
    object: &'parent Node<'de, 'parent>,
    rest: map::Iter<'de>,
    /// The value whose key was read.
    value: Option<Node<'de, 'parent>>,
}

impl<'de> MapAccess<'de> for Members<'de, '_> {
    type Error = Mistake;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mistake> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        let node = Node { value, parent: Some((self.object, Step::Key(key))) };
        self.value = Some(node);
        let read = seed.deserialize(BorrowedStrDeserializer::new(key));
        read.map(Some).map_err(|mistake: Mistake| mistake.at(node))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mistake> {
        let node = self.value.take();
        node.ok_or_else(|| Mistake::new("a key", "none")).and_then(|node| node.read(seed))
    }
}

impl<'de> Deserializer<'de> for Node<'de, '_> {
    type Error = Mistake;

    // Not inlined: there would be a copy for each key of the document, 100 kB in all.
    #[inline(never)]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(self.items(items)),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Null => visitor.visit_unit(),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Object(members) => visitor.visit_map(self.members(members)),
            Value::String(text) => visitor.visit_borrowed_str(text),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
