//! `keyless docs`: the reference tables of the documentation, made from the types.
//!
//! Each table stands between two markers, so that a document which has the markers can be updated.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use keyless_core::config;
use keyless_core::denial::{Denial, Reason};
use keyless_core::http::FetchError;
use keyless_core::metrics::{self, Kind, Metric};
use serde_json::Value;

use crate::Outcome;
use crate::error::CliError;
use crate::warnings::Kind as WarningKind;

/// The line that ends a table.
const END: &str = "<!-- keyless docs: end -->\n";

/// The tables of keys: the name of each, and how the paths of its keys begin.
const KEYS: [(&str, &str); 8] = [
    ("issuers", "issuers[]."),
    ("identities", "identities.*."),
    ("routes", "routes[]."),
    ("prices", "prices.*."),
    ("limits", "limits[]."),
    ("ledger", "ledger."),
    ("protected_resource", "protected_resource."),
    ("token_cache", "token_cache."),
];

/// A configuration key, as its doc comment describes it.
struct Key {
    path: String,
    meaning: String,
    default: String,
    limits: String,
}

/// Prints all tables, or updates those of a page that has their markers, or of all pages in a folder.
///
/// # Errors
///
/// Returns why the file could not be read or written.
pub(crate) fn run(update: Option<&Path>) -> Result<Outcome, CliError> {
    let tables = tables();
    let Some(file) = update else {
        let text = tables.iter().map(|(begin, table)| format!("{begin}{table}{END}"));
        return Ok(Outcome { text: text.collect::<Vec<_>>().join("\n"), is_success: true });
    };
    rewrite(file, &tables)?;
    Ok(Outcome { text: String::new(), is_success: true })
}

/// Updates a page, or every page (`*.md`) below a folder.
fn rewrite(file: &Path, tables: &[(String, String)]) -> Result<(), CliError> {
    let failed = |error| CliError::Read { file: file.into(), error };
    if file.is_dir() {
        for entry in fs::read_dir(file).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() || path.extension().is_some_and(|extension| extension == "md") {
                rewrite(&path, tables)?;
            }
        }
        return Ok(());
    }
    let mut document = fs::read_to_string(file).map_err(failed)?;
    for (begin, table) in tables {
        replace(&mut document, begin, table);
    }
    fs::write(file, document).map_err(failed)
}

/// Puts a table between its markers, if the document has them.
fn replace(document: &mut String, begin: &str, table: &str) {
    let Some((before, rest)) = document.split_once(begin) else { return };
    let Some((_, after)) = rest.split_once(END) else { return };
    *document = [before, begin, table, END, after].concat();
}

/// The marker at the beginning of each table, and the table.
fn tables() -> Vec<(String, String)> {
    let schema = config::schema();
    let mut keys = Vec::new();
    collect(&schema, &schema["$defs"], "", &mut keys);
    let top = keys.iter().filter(|key| !key.path.contains('.'));
    let mut tables = vec![("configuration", key_table(top))];
    tables.extend(KEYS.map(|(name, start)| {
        (name, key_table(keys.iter().filter(|key| key.path.starts_with(start))))
    }));
    tables.extend([
        ("denials", denials()),
        ("metrics", metrics()),
        ("fetches", fetches()),
        ("warnings", warnings()),
    ]);
    let begin = |name| format!("<!-- keyless docs: {name} -->\n");
    tables.into_iter().map(|(name, table)| (begin(name), table)).collect()
}

/// A table of Markdown.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn denials() -> String {
    let challenge = |reason: &Reason| match reason.challenge() {
        None => "–".to_owned(),
        Some("") => "challenge without `error`".to_owned(),
        Some(error) => code(error),
    };
    let row = |reason: &Reason| {
        let status = reason.status().to_string();
        vec![code(reason.code), status, challenge(reason), reason.meaning.to_owned()]
    };
    table(&["code", "status", "`error` of the challenge", "meaning"], Denial::ALL.iter().map(row))
}

fn warnings() -> String {
    let row = |kind: &WarningKind| {
        vec![code(kind.code()), kind.why().to_owned(), kind.instead().to_owned()]
    };
    table(&["code", "why it matters", "what to write instead"], WarningKind::ALL.iter().map(row))
}

fn fetches() -> String {
    let rows = FetchError::ALL.iter();
    let rows = rows.map(|result| vec![code(result.code), result.meaning.to_owned()]);
    table(&["`result`", "meaning"], rows)
}

fn metrics() -> String {
    let row = |metric: &Metric| {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels: Vec<_> = metric.labels.iter().map(|label| code(label)).collect();
        vec![code(metric.name), kind.to_owned(), labels.join(", "), metric.meaning.to_owned()]
    };
    table(&["name", "type", "labels", "meaning"], metrics::ALL.iter().map(row))
}

fn key_table<'a>(keys: impl Iterator<Item = &'a Key>) -> String {
    let row = |key: &Key| {
        vec![code(&key.path), key.meaning.clone(), key.default.clone(), key.limits.clone()]
    };
    table(&["key", "meaning", "default", "limits"], keys.map(row))
}

/// Collects the keys of an object at this path, and those of the objects in it.
fn collect(object: &Value, entries: &Value, path: &str, keys: &mut Vec<Key>) {
    let properties = object.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{name}");
        let description = property.get("description").and_then(Value::as_str);
        keys.push(Key::new(path.clone(), description.unwrap_or_default()));
        if let Some((entry, path)) = inside(property, &path) {
            collect(&entries[entry], entries, &path, keys);
        }
    }
}

/// The entry that a property leads to, and the path of its properties.
fn inside<'a>(property: &'a Value, path: &str) -> Option<(&'a str, String)> {
    let forms = [("/$ref", ""), ("/items/$ref", "[]"), ("/additionalProperties/$ref", ".*")];
    forms.into_iter().find_map(|(place, form)| {
        let name = property.pointer(place)?.as_str()?.strip_prefix("#/$defs/")?;
        Some((name, format!("{path}{form}")))
    })
}

impl Key {
    /// Reads a doc comment: the meaning, then `Default: …` or `Required…`, then `Limits: …`.
    fn new(path: String, description: &str) -> Self {
        let mut parts = [String::new(), String::new(), String::new()];
        let mut at = 0;
        for line in description.lines() {
            let text = if line.starts_with("Default: ") || line.starts_with("Required") {
                at = 1;
                line.trim_start_matches("Default: ").replacen("Required", "required", 1)
            } else if let Some(limits) = line.strip_prefix("Limits: ") {
                at = 2;
                limits.to_owned()
            } else {
                line.to_owned()
            };
            parts[at] += if parts[at].is_empty() { "" } else { " " };
            parts[at] += &text;
        }
        let [meaning, default, limits] = parts;
        Self { path, meaning, default, limits }
    }
}
