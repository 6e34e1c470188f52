//! `keyless schema`: the configuration's JSON Schema, with what the README says of each key.

use std::collections::BTreeMap;

use keyless_core::config;
use serde_json::Value;

use crate::Outcome;

/// What each key means, by its path such as `issuers[].jwks.cluster`.
type Meanings = BTreeMap<&'static str, String>;

const README: &str = include_str!("../../README.md");

/// The head of the README's tables of configuration keys.
const KEYS: &str = "| key | meaning | default | limits |";

/// Prints the schema.
pub(crate) fn run() -> Outcome {
    let mut schema = config::schema();
    let mut entries = schema["$defs"].take();
    describe(&mut schema, &mut entries, "", &meanings());
    schema["$defs"] = entries;
    Outcome { text: format!("{schema:#}\n"), is_success: true }
}

/// Describes the properties of an object at this path, and those of the objects in it.
fn describe(object: &mut Value, entries: &mut Value, path: &str, meanings: &Meanings) {
    let mut inner = Vec::new();
    let properties = object.get_mut("properties").and_then(Value::as_object_mut);
    for (key, property) in properties.into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{key}");
        inner.extend(inside(property, &path));
        if let (Some(members), Some(meaning)) = (property.as_object_mut(), meanings.get(&*path)) {
            members.insert("description".to_owned(), meaning.as_str().into());
        } else if let Some(meaning) = meanings.get(&*path) {
            *property = serde_json::json!({ "description": meaning });
        }
    }
    for (name, path) in inner {
        let mut entry = entries[&name].take();
        describe(&mut entry, entries, &path, meanings);
        entries[&name] = entry;
    }
}

/// The entry that a property leads to, and the path of its properties.
fn inside(property: &Value, path: &str) -> Option<(String, String)> {
    let forms = [("/$ref", ""), ("/items/$ref", "[]"), ("/additionalProperties/$ref", ".*")];
    forms.into_iter().find_map(|(place, form)| {
        let name = property.pointer(place)?.as_str()?.strip_prefix("#/$defs/")?;
        Some((name.to_owned(), format!("{path}{form}")))
    })
}

/// Reads the README's tables.
fn meanings() -> Meanings {
    let tables = README.split(KEYS).skip(1);
    let lines = tables.flat_map(|table| table.lines().skip(2).take_while(|line| !line.is_empty()));
    let meaning = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [key, meaning, default, limits] = cells.as_slice() else { return None };
        let is_default = default.starts_with('`') || matches!(*default, "any" | "none");
        let word = if is_default { "Default: " } else { "" };
        let said = [("", *meaning), (word, default), ("Limits: ", limits)];
        let said = said.into_iter().filter(|(_, text)| !text.is_empty());
        let lines: Vec<_> = said.map(|(name, text)| format!("{name}{text}")).collect();
        Some((key.trim_matches('`'), lines.join("\n")))
    };
    lines.filter_map(meaning).collect()
}
