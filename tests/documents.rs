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
use std::path::{Path, PathBuf};

use gateway::Blueprint;
use keyless_core::config::Config;
use keyless_core::denial::Denial;
use serde_json::{Value, json};

const README: &str = include_str!("../README.md");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");
const ERRORS: &str = include_str!("../docs/errors.md");
const INSTALL: &str = include_str!("../docs/install-envoy.md");
const OBSERVABILITY: &str = include_str!("../docs/observability.md");
const MAKEFILE: &str = include_str!("../Makefile");
const SECURITY: &str = include_str!("../SECURITY.md");
/// What writes filter state.
const WRITERS: [&str; 3] = [
    include_str!("../core/src/exchange.rs"),
    include_str!("../core/src/exchange/accounting.rs"),
    include_str!("../core/src/exchange/outcome.rs"),
];
const ENVOY: &str = include_str!("../envoy.yaml");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The head of the tables of configuration keys.
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

/// Every page: the path from the root, and the text.
fn pages() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(ROOT).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    for folder in ["benches", "docs", "examples", "istio", "tests/interop"] {
        files(&Path::new(ROOT).join(folder), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.retain(|path| !path.components().any(|part| part.as_os_str() == "node_modules"));
    paths.sort();
    let name = |path: &Path| path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The files below a folder, if it exists.
fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

/// The JSON blocks of the pages that are a configuration or a part of one, each with its page.
fn snippets() -> Vec<(String, Value)> {
    let schema: Value = serde_json::from_str(include_str!("../keyless.schema.json")).unwrap();
    let keys = schema["properties"].as_object().unwrap();
    let mut snippets = Vec::new();
    for (name, page) in pages() {
        for block in blocks(&page, "json") {
            let value: Value =
                serde_json::from_str(block).unwrap_or_else(|error| panic!("{name}: {error}"));
            let members = value.as_object().into_iter().flatten();
            if members.map(|(key, _)| key).any(|key| keys.contains_key(key)) {
                snippets.push((name.clone(), value));
            }
        }
    }
    snippets
}

/// The examples of a whole configuration; the first is that of `docs/configuration.md`.
fn examples() -> Vec<(String, Value)> {
    let mut examples = snippets();
    examples.retain(|(_, value)| value.get("issuers").is_some());
    examples.sort_by_key(|(name, _)| name != "docs/configuration.md");
    examples
}

/// Adds a part of a configuration to a whole one; an item of a list whose `name` is there already
/// adds its keys to that one.
fn add(whole: &mut Value, part: Value) {
    match (whole, part) {
        (Value::Object(known), Value::Object(more)) => {
            for (key, value) in more {
                add(known.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(known), Value::Array(more))
            if more.iter().all(|item| item.get("name").is_some()) =>
        {
            for item in more {
                match known.iter_mut().find(|one| one["name"] == item["name"]) {
                    Some(one) => add(one, item),
                    None => known.push(item),
                }
            }
        }
        (known, more) => *known = more,
    }
}

/// The first example, with what the other snippets of `docs/configuration.md` and of the guides
/// add to it.
fn example() -> Value {
    let mut example = examples().swap_remove(0).1;
    for (name, part) in snippets() {
        if name.starts_with("docs/") && part.get("issuers").is_none() {
            add(&mut example, part);
        }
    }
    example
}

fn parse(document: &Value) -> Result<Config, String> {
    Config::parse(document.to_string().as_bytes()).map_err(|error| error.to_string())
}

/// The value at a path such as `issuers[].jwks`: the first item of a list, and for `*` the first
/// member that has the keys which follow, or else the first that has the next one, or the first.
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
                let all: String = steps.clone().flat_map(|key| ["/", key]).collect();
                let has_all = |member: &Value| member.pointer(&all).is_some();
                let name = members.iter().find(|(_, member)| has_all(member));
                let name = name.or_else(|| members.iter().find(|(_, member)| has_next(member)));
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
    for (name, example) in examples() {
        parse(&example).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let first = examples().swap_remove(0).1;
    for (name, part) in snippets().into_iter().filter(|(_, part)| part.get("issuers").is_none()) {
        let mut whole = first.clone();
        add(&mut whole, part.clone());
        parse(&whole).unwrap_or_else(|error| panic!("{name}: {error}\n{part}"));
    }
    parse(&example()).unwrap();
}

#[test]
fn the_first_screen_of_the_readme_has_both_commands_and_it_stays_short() {
    let screen: Vec<_> = README.lines().take(25).collect();
    for command in ["`make demo`", "`make test`", "`rustup`"] {
        assert!(screen.iter().any(|line| line.contains(command)), "{command}");
    }
    assert!(README.lines().count() <= 150);
}

#[test]
fn what_the_readme_shows_of_the_demo_is_what_the_demo_claims() {
    let walk = include_str!("../gateway/src/bin/demo/walk.rs");
    let claims = README.lines().filter_map(|line| line.trim().strip_prefix("✓ "));
    let claims: Vec<_> = claims.collect();
    assert!(claims.len() > 5, "{claims:?}");
    for claim in claims {
        // The demo fills in the number of a status.
        let words = claim.trim_end_matches(|char: char| char.is_ascii_digit());
        assert!(walk.contains(words), "{claim}");
    }
}

#[test]
fn every_make_target_that_a_page_names_is_there() {
    let targets: BTreeSet<_> = MAKEFILE.lines().filter_map(|line| line.split_once(':')).collect();
    let targets: BTreeSet<_> = targets.into_iter().map(|(name, _)| name).collect();
    let mut seen = 0;
    for (name, page) in pages().into_iter().filter(|(name, _)| name != "CHANGELOG.md") {
        for command in codes(&page).filter_map(|code| code.trim().strip_prefix("make ")) {
            for target in command.split_whitespace().filter(|word| !word.contains('=')) {
                assert!(targets.contains(target), "{name}: make {target}");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "only {seen}");
}

#[test]
fn the_shipped_configuration_parses() {
    _ = Blueprint::shipped().plugin(|plugin| _ = parse(plugin).unwrap());
}

#[test]
fn to_say_a_default_of_the_page_changes_nothing() {
    let plain = json!({
        "issuers": [{ "audiences": ["a"], "jwks": { "cluster": "c" },
            "entra": { "tenants": ["72f988bf-86f1-41af-91ab-2d7cd011db47"] } }],
        "routes": [{ "name": "r", "match": { "methods": ["GET"], "path": "/" }, "allow": [{}] }],
    });
    let identities = json!({ "i": { "resource": "r", "imds": { "cluster": "c" } } });
    let mut said = 0;
    for row in rows(CONFIGURATION, KEYS) {
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
fn what_the_page_calls_required_is_required() {
    for row in rows(CONFIGURATION, KEYS).into_iter().filter(|row| row[2] == "required") {
        let (mut document, path) = (example(), code(row[0]).unwrap());
        let (object, key) = path.rsplit_once('.').unwrap_or(("", path));
        let removed = at(&mut document, object).as_object_mut().unwrap().remove(key);
        assert!(removed.is_some(), "the example has no {path}");
        let missing = format!("expected the key `{key}`, found none");
        assert!(parse(&document).is_err_and(|error| error.contains(&missing)), "{path}");
    }
}

#[test]
fn what_the_pages_quote_is_what_is_said() {
    let scopes = Vec::new();
    let quoted = Denial::ScopeMissing { scopes }.reply().body;
    assert!(ERRORS.contains(&quoted), "{quoted}");
    let mut document = examples().swap_remove(0).1;
    document["routes"][0]["identity"] = "nobody".into();
    let quoted = format!("invalid configuration: {}", parse(&document).unwrap_err());
    assert!(CONFIGURATION.contains(&quoted), "{quoted}");
}

#[test]
fn the_page_names_every_key_of_filter_state() {
    let is_word = |c: char| c == '_' || c.is_ascii_lowercase();
    let word = |text: &'static str| text.split(|c| !is_word(c)).next().unwrap();
    let names = WRITERS.iter().flat_map(|text| text.split("\"wasm.keyless.").skip(1).map(word));
    let shown: BTreeSet<_> = names.map(|name| format!("`wasm.keyless.{name}`")).collect();
    assert!(shown.len() >= 15, "{shown:?}");
    for name in shown {
        assert!(OBSERVABILITY.contains(&name), "{name}");
    }
}

#[test]
fn the_filters_of_the_page_are_those_of_the_shipped_file() {
    let shipped: BTreeSet<_> = ENVOY.lines().map(str::trim).collect();
    for line in blocks(INSTALL, "yaml").into_iter().flat_map(str::lines).map(str::trim) {
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

/// The targets of a page's links and pictures, without those in fenced blocks.
fn links(page: &str) -> Vec<&str> {
    let outside = page.split("```").step_by(2);
    let markdown = outside
        .clone()
        .flat_map(|text| text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()));
    let pictures = ["src=\"", "srcset=\""].into_iter().flat_map(|name| {
        outside.clone().flat_map(move |text| {
            text.split(name).skip(1).map(|rest| rest.split('"').next().unwrap())
        })
    });
    markdown.chain(pictures).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.split("```").step_by(2).flat_map(str::lines);
    let headings = headings.filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let text = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            text.chars().filter(|char| char.is_alphanumeric() || "-_".contains(*char)).collect()
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut seen = 0;
    for (name, page) in pages() {
        let folder = Path::new(ROOT).join(&name).parent().unwrap().to_owned();
        for link in links(&page).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path =
                if file.is_empty() { Path::new(ROOT).join(&name) } else { folder.join(file) };
            assert!(path.exists(), "{name}: {link}");
            if !anchor.is_empty() && path.extension().is_some_and(|extension| extension == "md") {
                let target = fs::read_to_string(&path).unwrap();
                assert!(anchors(&target).contains(anchor), "{name}: no heading for {link}");
            }
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen}");
}

#[test]
fn every_snippet_of_another_language_is_read() {
    let client = include_str!("../examples/realtime/client.mjs");
    let (mut yaml, mut javascript) = (0, 0);
    for (name, page) in pages() {
        for block in blocks(&page, "yaml") {
            for document in serde_yaml_ng::Deserializer::from_str(block) {
                let value = <Value as serde::Deserialize>::deserialize(document);
                assert!(value.is_ok_and(|value| !value.is_null()), "{name}: {block}");
                yaml += 1;
            }
        }
        for line in blocks(&page, "js").into_iter().flat_map(str::lines) {
            assert!(client.contains(line), "{name}: not in examples/realtime/client.mjs: {line}");
            javascript += 1;
        }
    }
    assert!(yaml >= 8 && javascript > 0, "only {yaml} and {javascript}");
}

#[test]
fn every_language_of_a_snippet_has_a_test() {
    // Shell: cli/tests/program/pages.rs. Python: tests/interop/page.rs. Text is output, Mermaid a picture.
    let known = ["js", "json", "mermaid", "sh", "text", "yaml"];
    for (name, page) in pages() {
        for fence in page.lines().filter_map(|line| line.trim_start().strip_prefix("```")) {
            let is_run = fence == "python" && name == "docs/guides/call-from-python.md";
            assert!(fence.is_empty() || is_run || known.contains(&fence), "{name}: {fence}");
        }
    }
}

#[test]
fn every_decision_has_a_page_of_the_same_four_parts() {
    let rows = rows(include_str!("../ARCHITECTURE.md"), "| decision | why |");
    let linked: BTreeSet<_> = rows.iter().flat_map(|row| links(row[0])).collect();
    assert_eq!(linked.len(), rows.len(), "each row has a page of its own");
    let pages = pages();
    let pages: Vec<_> =
        pages.iter().filter(|(name, _)| name.starts_with("docs/decisions/")).collect();
    let names: BTreeSet<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, linked);
    for (name, page) in pages {
        let parts: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let expected = ["Context", "Decision", "What it costs", "What would change it"];
        assert_eq!(parts, expected, "{name}");
    }
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = include_str!("../docs/SUMMARY.md");
    let listed: BTreeSet<_> =
        links(summary).into_iter().map(|link| format!("docs/{link}")).collect();
    let pages: BTreeSet<_> = pages().into_iter().map(|(name, _)| name).collect();
    let pages = pages.into_iter().filter(|name| name.starts_with("docs/"));
    let pages: BTreeSet<_> = pages.filter(|name| name != "docs/SUMMARY.md").collect();
    let missing: Vec<_> = pages.symmetric_difference(&listed).collect();
    assert!(missing.is_empty(), "put into docs/SUMMARY.md, or remove there: {missing:?}");
}
