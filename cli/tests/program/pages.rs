//! The commands of the pages: those of `keyless` are run, and `docs/commands.txt` says of all others where
//! they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::{Said, keyless, tokens};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const ELSEWHERE: &str = include_str!("../../../docs/commands.txt");

/// What needs no word: the shell's own, and filters.
const PLAIN: [&str; 2] = ["echo", "grep"];

/// Every page of the repository: its path from the root, and its text.
fn pages() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(ROOT).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    for folder in ["benches", "docs", "examples", "istio", "tests"] {
        below(&Path::new(ROOT).join(folder), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let name = |path: &Path| path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn below(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_ours = !["node_modules", "target", "work"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && is_ours {
            below(&path, into);
        } else if path.is_file() {
            into.push(path);
        }
    }
}

/// The fenced blocks of a page, with their languages.
fn blocks(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n'))
}

/// The commands of the shell blocks of a page, each on one line and without its comment.
fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for (language, block) in blocks(page) {
        assert!(!["bash", "console", "shell"].contains(&language), "say sh: {block}");
        if language == "sh" {
            let joined = block.replace("\\\n", " ");
            let lines = joined.lines().map(|line| line.split(" #").next().unwrap().trim());
            commands.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
        }
    }
    commands
}

/// A command without what stands in quotes.
fn unquoted(command: &str) -> String {
    let (mut plain, mut quote, mut escaped) = (String::new(), None, false);
    for char in command.chars() {
        match quote {
            None if char == '"' || char == '\'' => quote = Some(char),
            None => plain.push(char),
            Some(_) if escaped => escaped = false,
            Some('"') if char == '\\' => escaped = true,
            Some(open) if open == char => quote = None,
            Some(_) => {}
        }
    }
    plain
}

/// The programs that a command calls.
fn programs(command: &str) -> Vec<String> {
    let plain = unquoted(command).replace("$(", " | ").replace("&&", "|").replace(')', "|");
    let parts = plain.split(['|', ';']);
    let first = |part: &str| {
        let mut words = part.split_whitespace();
        words
            .find(|word| !word.split_once('=').is_some_and(|(name, _)| is_variable(name)))
            .map(str::to_owned)
    };
    // What follows a `$(…)` may be an option of the command around it.
    parts.filter_map(first).filter(|word| !word.starts_with('-')).collect()
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|char| char == '_' || char.is_ascii_uppercase() || char.is_ascii_lowercase())
}

/// A folder where the commands of a page find the files that they name.
struct Place(PathBuf);

impl Place {
    fn of(page: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(page.replace('/', "-"));
        fs::create_dir_all(&folder).unwrap();
        let copy = |from: PathBuf| {
            let name = from.file_name().unwrap().to_owned();
            fs::copy(&from, folder.join(name)).unwrap();
        };
        copy(Path::new(ROOT).join("envoy.yaml"));
        copy(Path::new(ROOT).join("examples/entra/keyless.json"));
        let example = Path::new(ROOT).join(page).parent().unwrap().to_owned();
        let mut files = Vec::new();
        if page.starts_with("examples/") {
            below(&example, &mut files);
        }
        files.into_iter().for_each(copy);
        for name in ["token", "token.txt"] {
            fs::write(folder.join(name), token()).unwrap();
        }
        fs::write(folder.join("access.log"), log()).unwrap();
        Self(folder)
    }

    /// Runs a command of a shell there; the path begins with the program's own folder.
    fn run(&self, command: &str) -> Said {
        let program = Path::new(env!("CARGO_BIN_EXE_keyless")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", command]).current_dir(&self.0).env("PATH", path);
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            status: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// A token of the shipped configuration's tenant, without the scopes that it asks for.
fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let claims = json!({
        "iss": format!("https://login.microsoftonline.com/{tenant}/v2.0"), "tid": tenant, "ver": "2.0",
        "aud": "api://openai-gateway", "scp": "profile", "iat": now, "nbf": now, "exp": now + 3600,
    });
    tokens::signed(&json!({ "alg": "RS256", "typ": "JWT", "kid": "k" }), &claims)
}

fn log() -> String {
    let entry: Value = json!({
        "route": "chat", "deployment": "gpt-4o", "subject": "ann", "client": "app", "usage": "exact",
        "tokens_input": "11", "tokens_output": "7", "cost": "0.0001",
    });
    format!("{entry}\n")
}

/// A command of the program as it can be run here: with files of this folder, and where another program
/// feeds it, with the access log.
fn here(command: &str) -> String {
    let fed = match command.rsplit_once("| keyless ") {
        Some((_, rest)) => format!("keyless {rest} < access.log"),
        None => command.to_owned(),
    };
    fed.replace("/var/log/envoy/", "")
}

#[test]
fn every_command_of_the_pages_is_run_here_or_said_to_be_run_elsewhere() {
    let lines = ELSEWHERE.lines().filter(|line| !line.starts_with('#'));
    let known: Vec<_> = lines
        .map(|line| line.split_once(": ").expect("a page, a program: a reason").0)
        .map(|place| place.split_once(' ').expect("a page and a program"))
        .collect();
    let (mut used, mut run) = (BTreeSet::<&(&str, &str)>::new(), 0);
    for (name, page) in pages() {
        for command in commands(&page) {
            let programs = programs(&command);
            for program in programs.iter().map(String::as_str) {
                let place = known.iter().find(|(page, one)| *page == name && *one == program);
                used.extend(place);
                let is_known = program == "keyless" || PLAIN.contains(&program) || place.is_some();
                assert!(is_known, "{name}: put `{program}` into docs/commands.txt: {command}");
            }
            if programs.iter().any(|program| program == "keyless") {
                let said = Place::of(&name).run(&here(&command));
                let is_explained = command.contains("keyless explain");
                let is_done = said.status == 0 || (is_explained && said.status == 1);
                assert!(
                    is_done && said.err.is_empty(),
                    "{name}: {command}\n{}{}",
                    said.out,
                    said.err
                );
                assert!(!said.out.is_empty(), "{name}: {command}");
                run += 1;
            }
        }
    }
    let unused: Vec<_> = known.iter().filter(|place| !used.contains(place)).collect();
    assert!(unused.is_empty(), "no page has these any more: {unused:?}");
    assert!(run >= 5, "only {run}");
}

#[test]
fn what_the_pages_show_of_the_program_is_what_it_says() {
    let mut shown = 0;
    for (name, page) in pages() {
        for (_, block) in blocks(&page).filter(|(language, _)| *language == "text") {
            let Some((command, expected)) =
                block.strip_prefix("$ ").and_then(|rest| rest.split_once('\n'))
            else {
                continue;
            };
            if !command.starts_with("keyless ") {
                continue;
            }
            let said = Place::of(&name).run(&here(command));
            let mut lines = said.out.lines();
            for line in expected.lines().filter(|line| *line != "…") {
                let is_said = lines.any(|one| one.trim_end() == line.trim_end());
                assert!(is_said, "{name}: {command}: no line {line:?} in\n{}", said.out);
            }
            shown += 1;
        }
    }
    assert!(shown >= 2, "only {shown}");
}

#[test]
fn every_option_that_a_page_names_is_there() {
    let mut seen = 0;
    for (name, page) in pages().into_iter().filter(|(name, _)| name != "CHANGELOG.md") {
        let texts = page.split("```").step_by(2);
        let codes = texts.flat_map(|text| text.split('`').skip(1).step_by(2));
        for command in codes.filter_map(|code| code.strip_prefix("keyless ")) {
            let mut parts = command.split_whitespace();
            let said = keyless(&[parts.next().unwrap(), "--help"], "");
            assert_eq!(said.status, 0, "{name}: keyless {command}");
            for option in parts.filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().unwrap();
                assert!(said.out.contains(option), "{name}: keyless {command}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen}");
}

#[test]
fn what_is_called_is_found() {
    for (command, expected) in [
        ("a | b 'c | d' && e", &["a", "b", "e"][..]),
        ("X=$(a b) Y=1 c \"d | $e\"", &["a", "c"]),
        ("url='a|b'", &[]),
        ("X=1 a | grep -E 'b|c'", &["a", "grep"]),
    ] {
        assert_eq!(programs(command), expected, "{command}");
    }
}
