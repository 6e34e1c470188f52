//! Reads the page of an issuer.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

/// The head of the table of mistakes.
const MISTAKES: &str = "| what you see | reply | `keyless explain` says | what to do |\n";

/// A page of `docs/guides/issuers/`, or one that is made like them.
pub(super) struct Page {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) config: Value,
    pub(super) tokens: Vec<Token>,
    pub(super) mistakes: Vec<Mistake>,
}

/// A token as the issuer makes it, and what the page calls it.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) name: String,
    pub(super) header: Value,
    pub(super) claims: Value,
    /// When the page's token was issued, in Unix seconds.
    pub(super) issued_at: u64,
    /// What is sent in the place of a signed token.
    pub(super) sent: Option<String>,
}

/// A row of the table.
pub(super) struct Mistake {
    pub(super) what: String,
    pub(super) status: String,
    pub(super) code: String,
    pub(super) explained: String,
}

/// Returns every page.
pub(super) fn all() -> Vec<Page> {
    let guides = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides");
    let files = fs::read_dir(guides.join("issuers")).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let page = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        Page::parse(name, fs::read_to_string(path).unwrap())
    };
    paths.iter().map(|path| page(path)).collect()
}

impl Page {
    fn parse(name: String, text: String) -> Self {
        let (mut config, mut header, mut tokens) = (None, Value::Null, Vec::new());
        let parts: Vec<_> = text.split("```").collect();
        for pair in parts.windows(2) {
            let [before, block] = pair else { continue };
            let Some(json) = block.strip_prefix("json\n") else { continue };
            let value: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{name}: {e}"));
            if value.get("issuers").is_some() {
                assert!(config.replace(value).is_none(), "{name}: two configurations");
            } else if value.get("alg").is_some() {
                header = value;
            } else if value.get("iss").is_some() {
                tokens.push(Token::of(before, &header, value));
            }
        }
        let table = text.split_once(MISTAKES).unwrap_or_else(|| panic!("{name}: no {MISTAKES}")).1;
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        let mistakes = rows.map(|row| Mistake::parse(&name, row)).collect();
        let config = config.unwrap_or_else(|| panic!("{name}: no configuration"));
        assert!(!tokens.is_empty(), "{name}: no token");
        Self { name, text, config, tokens, mistakes }
    }

    /// The path of a request on the page's route.
    pub(super) fn path(&self) -> String {
        let pattern = self.config["routes"][0]["match"]["path"].as_str().unwrap();
        pattern.replace("{deployment}", "gpt-4o")
    }
}

impl Token {
    /// A token whose name is the line before its claims.
    fn of(before: &str, header: &Value, claims: Value) -> Self {
        let line = before.trim_end().lines().last().unwrap_or_default();
        let name =
            line.split([':', ';', ',', '(']).next().unwrap_or_default().trim().to_lowercase();
        let issued_at = claims["iat"].as_u64().expect("iat");
        Self { name, header: header.clone(), claims, issued_at, sent: None }
    }
}

impl Mistake {
    fn parse(page: &str, row: &str) -> Self {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [what, reply, explained, cure] = cells[..] else { panic!("{page}: {row}") };
        assert!(!cure.is_empty(), "{page}: {row}: nothing to do");
        let (status, code) = reply.split_once(" `").unwrap_or_else(|| panic!("{page}: {reply}"));
        let explained = explained.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
        let explained = explained.unwrap_or_else(|| panic!("{page}: {row}: explain"));
        Self {
            what: what.to_owned(),
            status: status.to_owned(),
            code: code.trim_end_matches('`').to_owned(),
            explained: explained.to_owned(),
        }
    }

    /// Returns the page's configuration and the token that the row is about, with the mistake made.
    pub(super) fn made(&self, page: &Page) -> (Value, Token) {
        let mut config = page.config.clone();
        let said = self.what.to_lowercase();
        let named = page.tokens.iter().find(|token| said.starts_with(&token.name));
        let is_of_token = named.is_some() || said.starts_with("the token");
        assert!(named.is_some() || !is_of_token || page.tokens.len() == 1, "which token? {said}");
        let mut token = named.unwrap_or(&page.tokens[0]).clone();
        let mut words = self.what.split('`');
        let mut place = words.next().unwrap();
        let subject = place;
        while let Some(code) = words.next() {
            let is_absent = place.trim_end().ends_with(" no");
            if place.trim_end().ends_with(" is") {
                token.sent = Some(code.to_owned());
            } else if subject.contains("configuration") {
                change_key(&mut config, code, is_absent);
            } else if subject.contains("header") {
                change(&mut token.header, code, is_absent);
            } else {
                assert!(is_of_token, "{subject}: a token, its header or the configuration");
                change(&mut token.claims, code, is_absent);
            }
            place = words.next().unwrap();
        }
        (config, token)
    }
}

fn members(code: &str) -> Map<String, Value> {
    serde_json::from_str(&format!("{{{code}}}")).unwrap_or_else(|error| panic!("{code}: {error}"))
}

/// Puts members into an object, or takes away the one of this name or pointer.
fn change(object: &mut Value, code: &str, is_absent: bool) {
    if !is_absent {
        object.as_object_mut().unwrap().extend(members(code));
        return;
    }
    let (parent, name) = code.rsplit_once('/').unwrap_or(("", code));
    let parent = object.pointer_mut(parent).unwrap();
    assert!(parent.as_object_mut().unwrap().remove(name).is_some(), "there is no {code}");
}

/// Changes keys of the configuration, wherever they are: each is in one place of a page's.
fn change_key(config: &mut Value, code: &str, is_absent: bool) {
    if is_absent {
        let object = holder(config, code).unwrap_or_else(|| panic!("there is no {code}"));
        object.remove(code);
        return;
    }
    for (key, value) in members(code) {
        // A key that is not there yet is one of the issuer's.
        let object = match holder(config, &key) {
            Some(object) => object,
            None => config["issuers"][0].as_object_mut().unwrap(),
        };
        object.insert(key, value);
    }
}

/// The first object that has this key.
fn holder<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    match value {
        Value::Object(object) => {
            if object.contains_key(key) {
                return Some(object);
            }
            object.values_mut().find_map(|value| holder(value, key))
        }
        Value::Array(list) => list.iter_mut().find_map(|value| holder(value, key)),
        _ => None,
    }
}
