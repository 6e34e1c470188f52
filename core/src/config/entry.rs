//! Entries of the document are read one by one, so that a mistake in one hides none in another.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;

use super::node::{Details, Node, Step};
use super::{Error, Errors};

/// An entry that was not read yet.
pub(super) struct Entry<T> {
    value: Value,
    kind: PhantomData<T>,
}

/// A JSON object, and never a list of an entry's values, which serde would take as well.
pub(super) struct Object<T>(pub(super) T);

struct ObjectVisitor<T>(PhantomData<T>);

/// Limits the mistakes that are reported of one entry: each costs another reading.
const MAX_MISTAKES: usize = 32;

impl<'de, T> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::new)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

impl<T> Entry<T> {
    pub(super) fn new(value: Value) -> Self {
        Self { value, kind: PhantomData }
    }

    /// Returns the items of a list in the entry, to be read by themselves.
    pub(super) fn items<I>(&self, key: &str) -> Vec<Entry<I>> {
        let items = self.value.get(key).and_then(Value::as_array);
        items.into_iter().flatten().cloned().map(Entry::new).collect()
    }
}

impl<T: DeserializeOwned> Entry<T> {
    /// Reads the entry at this path; if there is a mistake in it, it is `None`.
    pub(super) fn read(self, path: &str, errors: &mut Errors) -> Option<T> {
        let (entry, removed) = self.read_rest(path, errors);
        entry.filter(|_| removed.is_empty())
    }

    /// Reads what is right of the entry at this path, and tells the keys to what is wrong.
    ///
    /// serde stops at the first mistake. So the member with the mistake is removed and the rest is
    /// read again, until nothing is wrong or a member is missing that must be there. So of several
    /// that are missing in one object, only the first is reported.
    pub(super) fn read_rest(
        mut self,
        path: &str,
        errors: &mut Errors,
    ) -> (Option<T>, Vec<Vec<String>>) {
        let mut removed: Vec<Vec<String>> = Vec::new();
        while removed.len() < MAX_MISTAKES {
            let mistake = match Object::deserialize(Node::entry(&self.value)) {
                Ok(Object(entry)) => return (Some(entry), removed),
                Err(mistake) => mistake,
            };
            let Details { place, expected, found, missing } = mistake.details();
            let keys = keys(&place);
            // What is missing since its value was wrong has been reported.
            let member = missing.map(|key| [keys.as_slice(), &[key.to_owned()]].concat());
            if member.is_none_or(|member| !removed.contains(&member)) {
                errors.add(Error::new(joined(path, &place), expected, found));
            }
            if remove(&mut self.value, &keys).is_none() {
                break;
            }
            removed.push(keys);
        }
        (None, removed)
    }
}

/// The members that lead to a mistake, without the items of a list at their end.
fn keys(place: &[Step<String>]) -> Vec<String> {
    let key = |step: &Step<String>| match step {
        Step::Item(_) => None,
        Step::Key(key) => Some(key.clone()),
    };
    place.iter().map_while(key).collect()
}

fn remove(value: &mut Value, keys: &[String]) -> Option<Value> {
    let (last, parents) = keys.split_last()?;
    let parent = parents.iter().try_fold(value, |value, key| value.get_mut(key))?;
    parent.as_object_mut()?.remove(last)
}

/// The path of a mistake, from the root of the document; `$` for the document itself.
fn joined(parent: &str, place: &[Step<String>]) -> String {
    let mut path = parent.to_owned();
    for step in place {
        match step {
            Step::Item(index) => path.extend(["[", &index.to_string(), "]"]),
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => path.extend([".", key]),
        }
    }
    if path.is_empty() { "$".to_owned() } else { path }
}

/// One value, or a JSON list with at least one.
pub(super) struct OneOrMore<T>(pub(super) Vec<T>);

struct OneOrMoreVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMoreVisitor(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMoreVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text or a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(StrDeserializer::new(text))?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<T>, A::Error> {
        NonEmpty::deserialize(SeqAccessDeserializer::new(items)).map(|NonEmpty(items)| items)
    }
}

/// A JSON list with at least one item.
pub(super) struct NonEmpty<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for NonEmpty<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Vec::deserialize(deserializer)?;
        if items.is_empty() {
            let found = de::Unexpected::Other("an empty list");
            return Err(de::Error::invalid_value(found, &"at least one item"));
        }
        Ok(Self(items))
    }
}
