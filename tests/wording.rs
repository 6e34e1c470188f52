//! The tree uses the words of `docs/glossary.md`: none of `docs/words.txt` is in it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints that keep a VM alive also see an integration test's helper functions"
)]

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where to look, from the root of the tree.
const PLACES: [&str; 22] = [
    "ARCHITECTURE.md",
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "RELEASING.md",
    "SECURITY.md",
    "benches",
    "cli",
    "compose.yaml",
    "core",
    "docs",
    "dynamic-module",
    "envoy.yaml",
    "examples",
    "fuzz",
    "gateway",
    "istio",
    "local-azure",
    "src",
    "testkit",
    "tests",
];

/// What is not ours to word: the path of a file or folder, and why.
const EXEMPT: [(&str, &str); 3] = [
    ("benches/target", "built"),
    ("core/tests/vectors/data", "vectors of other projects"),
    ("tests/interop/node/node_modules", "packages of other projects"),
];

/// The forbidden words, and what to say instead.
fn words() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("../docs/words.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").expect("a word and its replacement")).collect()
}

/// Every word of a text as one string: spaces between words, none of the punctuation of code, and
/// names in snake and camel case as their parts.
fn plain(text: &str) -> String {
    let mut plain = String::from(" ");
    let mut was_lower = false;
    for char in text.chars() {
        if char.is_uppercase() && was_lower {
            plain.push(' ');
        }
        was_lower = char.is_lowercase();
        match char {
            '\'' | '’' => plain.push('\''),
            _ if char.is_alphanumeric() => plain.extend(char.to_lowercase()),
            _ if !plain.ends_with(' ') => plain.push(' '),
            _ => {}
        }
    }
    plain.push(' ');
    plain
}

/// The forbidden words of a line.
fn found<'a>(line: &str, words: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let plain = plain(line);
    words.iter().copied().filter(|(word, _)| plain.contains(&format!(" {word} "))).collect()
}

/// Looks at a file, or at every file below a folder.
fn look(path: &Path, words: &[(&str, &str)], problems: &mut Vec<String>) {
    let name = path.strip_prefix(ROOT).unwrap().to_str().unwrap();
    if EXEMPT.iter().any(|(exempt, _)| name == *exempt) {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            look(&entry.unwrap().path(), words, problems);
        }
        return;
    }
    let extension = path.extension().unwrap_or_default();
    if !["md", "rs", "yaml"].into_iter().any(|known| extension == known) {
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    for (number, line) in (1..).zip(text.lines()) {
        problems.extend(
            found(line, words).into_iter().map(|(word, instead)| {
                format!("{name}:{number}: \"{word}\", say instead: {instead}")
            }),
        );
    }
}

#[test]
fn no_word_of_the_list_is_in_the_tree() {
    let (words, mut problems) = (words(), Vec::new());
    for place in PLACES {
        let path = Path::new(ROOT).join(place);
        assert!(path.exists(), "no {place}");
        look(&path, &words, &mut problems);
    }
    assert!(problems.is_empty(), "{} words:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn a_word_is_found_whole_in_any_case_and_in_names() {
    let words = [("old word", "new"), ("odd", "plain")];
    for line in
        ["It is Odd.", "let is_odd = 1;", "struct NotOdd;", "ODD", "an old-word", "old_word"]
    {
        assert_eq!(found(line, &words).len(), 1, "{line}");
    }
    for line in ["oddly", "a cold word", "old words", "modder"] {
        assert_eq!(found(line, &words), [], "{line}");
    }
    assert!(self::words().len() > 20);
}
