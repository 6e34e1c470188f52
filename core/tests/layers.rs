//! Imports run one way: each room uses only the rooms below it, so there is no circle among them.
//!
//! A room is a file of `src` together with the folder of its name. Tests may import anything.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may fail loudly, and its values are made for it"
)]

use std::fs;
use std::path::Path;

/// Every room, from the bottom to the top: each imports only from those above its own line.
const ROOMS: [&str; 27] = [
    "secret",      // tokens that are never shown
    "metrics",     // names, labels and meanings
    "log",         // lines for operators
    "json",        // JSON without repeated members
    "usage",       // what a request used, as its answer says
    "price",       // what that costs
    "signature",   // algorithms and keys
    "http",        // calls, answers, replies, addresses, header names
    "denial",      // why a request is refused, and the reply
    "credentials", // what may be a credential of the caller
    "request",     // what the caller sent
    "bearer",      // the one credential in it
    "body",        // the model that its body names
    "ask",         // the change to a request so that its answer says what it used
    "metadata",    // the gateway as a protected resource
    "fetch",       // when a value is fetched, and by which thread
    "ledger",      // what was used in a window, counted by all threads
    "jwks",        // keys, and where they are
    "identity",    // the gateway's own tokens, and where they come from
    "jwt",         // tokens, claims, issuers
    "token_cache", // tokens that were verified before
    "policy",      // routes and grants
    "limit",       // who may use how much
    "settle",      // what all proxies of a fleet have used
    "config",      // the plugin's configuration, which becomes all of these
    "gate",        // what joins them
    "exchange",    // what is done with a request and its answer
];

/// The only room that may import the configuration; the others take what it was converted into.
const READS_CONFIG: &str = "gate";

/// The files of `src` below a folder, by their paths there, and their texts.
fn files(folder: &Path, prefix: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            files(&path, &format!("{name}/"))
        } else {
            vec![(name, fs::read_to_string(path).unwrap())]
        }
    };
    entries.flat_map(read).collect()
}

/// The room of a file.
fn room(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// The rooms that a file imports from, itself not counted: `crate::room`, or as many `super::` as
/// lead to the root.
fn imports(file: &str, text: &str) -> Vec<String> {
    let (code, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((text, ""));
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code: String = code.lines().filter(is_code).flat_map(|line| [line, "\n"]).collect();
    let to_root = "super::".repeat(file.split('/').count());
    let is_word = |letter: char| letter == '_' || letter.is_alphanumeric();
    let mut found = Vec::new();
    for root in ["crate::", to_root.as_str()] {
        let parts: Vec<&str> = code.split(root).collect();
        let uses = parts.windows(2).filter(|pair| !pair[0].ends_with(is_word));
        let names = uses.filter_map(|pair| pair[1].split(|letter| !is_word(letter)).next());
        found.extend(names.filter(|name| *name != room(file)).map(str::to_owned));
    }
    found.sort();
    found.dedup();
    found
}

/// A sentence for each import that does not run down.
fn mistakes(files: &[(String, String)]) -> Vec<String> {
    let height = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut mistakes = Vec::new();
    for (file, text) in files {
        let room = room(file);
        if room == "lib" || file.ends_with("tests.rs") {
            continue;
        }
        let Some(own) = height(room) else {
            mistakes.push(format!("{file}: expected a room of ROOMS, found {room}"));
            continue;
        };
        for other in imports(file, text) {
            if height(&other).is_none_or(|other| other >= own) {
                mistakes.push(format!("{file}: expected imports from below {room}, found {other}"));
            } else if other == "config" && room != READS_CONFIG {
                mistakes.push(format!("{file}: expected {READS_CONFIG} alone to import config"));
            }
        }
    }
    mistakes
}

#[test]
fn every_import_runs_down() {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "");
    assert!(files.len() > 40, "the files are found");
    let mistakes = mistakes(&files);
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

#[test]
fn every_room_has_a_file() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for room in ROOMS {
        assert!(source.join(format!("{room}.rs")).is_file(), "{room}");
    }
}

#[test]
fn an_import_that_runs_up_is_found_however_it_is_written() {
    let found = |file: &str, text: &str| mistakes(&[(file.to_owned(), text.to_owned())]);
    let up = |file: &str, room: &str, other: &str| {
        [format!("{file}: expected imports from below {room}, found {other}")]
    };
    assert_eq!(found("jwks.rs", "use crate::config::Config;\n"), up("jwks.rs", "jwks", "config"));
    assert_eq!(
        found("jwks/key.rs", "fn f(c: &super::super::jwt::Token) {}\n"),
        up("jwks/key.rs", "jwks", "jwt")
    );
    assert_eq!(found("http.rs", "pub use super::gate;\n"), up("http.rs", "http", "gate"));
    assert_eq!(found("http.rs", "use crate::{gate};\n"), up("http.rs", "http", ""));
    assert_eq!(found("new.rs", ""), ["new.rs: expected a room of ROOMS, found new"]);
    let fine = "use crate::http::Uri;\nuse super::Key;\n// crate::gate\n#[cfg(test)]\nmod tests {\nuse crate::gate;\n}\n";
    assert_eq!(found("jwks/key.rs", fine), [""; 0]);
}
