//! The documents say what is in the tree: their examples parse, their tables leave nothing out, and
//! what they quote is there.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints that keep a VM alive also see an integration test's helper functions"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gateway::Blueprint;
use keyless_core::config::Config;
use keyless_core::denial::Denial;
use serde_json::{Value, json};

const README: &str = include_str!("../README.md");
const SECURITY: &str = include_str!("../SECURITY.md");
const OUTCOME: &str = include_str!("../src/outcome.rs");
const ENVOY: &str = include_str!("../envoy.yaml");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The head of the README's tables of configuration keys.
const KEYS: &str = "| key | meaning | default | limits |";

/// The fenced blocks of one language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let starts = document.split(fence.as_str()).skip(1);
    starts.map(|rest| rest.split_once("```").expect("a fence at the end").0).collect()
}

/// The cells of all tables with this head.
fn rows<'a>(document: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let tables = document.split(head).skip(1);
    let lines =
        tables.flat_map(|table| table.lines().skip(2).take_while(|line| line.starts_with('|')));
    let rows: Vec<_> =
        lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(!rows.is_empty(), "no table {head}");
    rows
}

/// What stands in a cell, if that is one piece of code.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|code| !code.contains('`'))
}

/// The pieces of code in a text.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The README's examples of a configuration.
fn examples() -> Vec<Value> {
    let blocks = blocks(README, "json").into_iter();
    let values = blocks.map(|block| serde_json::from_str(block).expect("JSON"));
    values.filter(|value: &Value| value.get("issuers").is_some()).collect()
}

/// The first example, with the identities and routes of all the README's others beside its own.
fn example() -> Value {
    let mut example = examples().swap_remove(0);
    let blocks = blocks(README, "json").into_iter();
    let values = blocks.map(|block| serde_json::from_str::<Value>(block).expect("JSON"));
    for value in values.filter(|value| value.get("issuers").is_none()) {
        for (key, more) in value.as_object().expect("a part of a configuration").clone() {
            match (&mut example[&key], more) {
                (Value::Object(known), Value::Object(more)) => known.extend(more),
                (Value::Array(known), Value::Array(more)) => known.extend(more),
                (known @ Value::Null, more) => *known = more,
                (_, more) => panic!("{key}: {more}"),
            }
        }
    }
    example
}

fn parse(document: &Value) -> Result<Config, String> {
    Config::parse(document.to_string().as_bytes()).map_err(|error| error.to_string())
}

/// The value at a path such as `issuers[].jwks`: the first item of a list, and for `*` the first
/// member that has the key which follows, or else the first.
fn at<'a>(document: &'a mut Value, path: &str) -> &'a mut Value {
    let mut steps = path.split('.').filter(|step| !step.is_empty()).peekable();
    let mut place = document;
    while let Some(step) = steps.next() {
        place = match step.strip_suffix("[]") {
            Some(list) => &mut place[list][0],
            None if step == "*" => {
                let members = place.as_object().unwrap();
                let next = steps.peek().copied();
                let has_next = |member: &Value| next.is_none_or(|key| member.get(key).is_some());
                let name = members.iter().find(|(_, member)| has_next(member));
                let name = name.or_else(|| members.iter().next()).unwrap().0.clone();
                &mut place[name]
            }
            None => &mut place[step],
        };
    }
    place
}

#[test]
fn every_example_of_a_configuration_parses() {
    assert!(!examples().is_empty());
    for example in examples().into_iter().chain([example()]) {
        parse(&example).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_shipped_configuration_parses() {
    _ = Blueprint::shipped().plugin(|plugin| _ = parse(plugin).unwrap());
}

#[test]
fn to_say_a_default_of_the_readme_changes_nothing() {
    let plain = json!({
        "issuers": [{ "audiences": ["a"], "jwks": { "cluster": "c" },
            "entra": { "tenants": ["72f988bf-86f1-41af-91ab-2d7cd011db47"] } }],
        "routes": [{ "name": "r", "match": { "methods": ["GET"], "path": "/" }, "allow": [{}] }],
    });
    let identities = json!({ "i": { "resource": "r", "imds": { "cluster": "c" } } });
    let mut said = 0;
    for row in rows(README, KEYS) {
        let (path, Some(default)) = (code(row[0]).unwrap(), code(row[2])) else { continue };
        let mut document = plain.clone();
        if path.contains('*') {
            document["identities"] = identities.clone();
        }
        let unsaid = parse(&document).unwrap();
        *at(&mut document, path) = serde_json::from_str(default).expect(path);
        let explicit = parse(&document).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(format!("{explicit:?}"), format!("{unsaid:?}"), "{path}");
        said += 1;
    }
    assert!(said > 10, "only {said} defaults");
}

#[test]
fn what_the_readme_calls_required_is_required() {
    for row in rows(README, KEYS).into_iter().filter(|row| row[2] == "required") {
        let (mut document, path) = (example(), code(row[0]).unwrap());
        let (object, key) = path.rsplit_once('.').unwrap_or(("", path));
        let removed = at(&mut document, object).as_object_mut().unwrap().remove(key);
        assert!(removed.is_some(), "the example has no {path}");
        let missing = format!("expected the key `{key}`, found none");
        assert!(parse(&document).is_err_and(|error| error.contains(&missing)), "{path}");
    }
}

#[test]
fn what_the_readme_quotes_is_what_is_said() {
    let scopes = Vec::new();
    let quoted = Denial::ScopeMissing { scopes }.reply().body;
    assert!(README.contains(&quoted), "{quoted}");
    let mut document = examples()[0].clone();
    document["routes"][0]["identity"] = "nobody".into();
    let quoted = format!("invalid configuration: {}", parse(&document).unwrap_err());
    assert!(README.contains(&quoted), "{quoted}");
}

#[test]
fn the_readme_names_every_key_of_filter_state() {
    let is_word = |c: char| c == '_' || c.is_ascii_lowercase();
    let word = |text: &'static str| text.split(|c| !is_word(c)).next().unwrap();
    let names = |prefix| OUTCOME.split(prefix).skip(1).map(word);
    let state = names("\"keyless.").map(|name| format!("`wasm.keyless.{name}`"));
    let shown: BTreeSet<_> = state.collect();
    assert!(shown.len() >= 7, "{shown:?}");
    for name in shown {
        assert!(README.contains(&name), "{name}");
    }
}

#[test]
fn the_filters_in_the_readme_are_those_of_the_shipped_file() {
    let shipped: BTreeSet<_> = ENVOY.lines().map(str::trim).collect();
    for line in blocks(README, "yaml").into_iter().flat_map(str::lines).map(str::trim) {
        assert!(line.starts_with('#') || shipped.contains(line), "not in envoy.yaml: {line}");
    }
}

#[test]
fn every_test_that_security_relies_on_is_there() {
    let mut sources = String::new();
    for folder in ["core", "src", "tests"] {
        read(&Path::new(ROOT).join(folder), &mut sources);
    }
    let rows = rows(SECURITY, "| attack | rule | tested by |");
    for name in rows.iter().flat_map(|row| codes(row[2])) {
        assert!(sources.contains(&format!("fn {name}()")), "{name}");
    }
}

/// Reads every Rust file below a folder.
fn read(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let document = fs::read_to_string(Path::new(ROOT).join(name)).unwrap();
        let links = document.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.starts_with("https://")) {
            assert!(Path::new(ROOT).join(link).is_file(), "{name}: {link}");
        }
    }
}
