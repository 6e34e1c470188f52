use keyless_core::config::Config;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Number, Value};

use super::{base, shown};

/// What a text may be: anything, or something that is nearly right in one place or another.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9]{1,20}(ns|ms|s|m|h|d|y)",
        r"/?([a-z{}*/]|\{deployment\}){0,12}",
        r"(\*\.)?[a-z.:*\[\]]{0,10}",
        r"https?://[a-z@:.\[\]]{0,10}/?[ -~]{0,5}",
        "(GET|POST|CONNECT|RS256|none|chat|partner|openai|application/|china|common)",
        "[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{11,12}",
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let number = any::<f64>().prop_map(|number| Number::from_f64(number).map(Value::Number));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        number.prop_map(Option::unwrap_or_default),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Every place of a document, each as a JSON pointer, the whole document first.
fn places(value: &Value) -> Vec<String> {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect()
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let below = below.iter().flat_map(|(key, value)| {
        let key = key.replace('~', "~0").replace('/', "~1");
        places(value).into_iter().map(move |rest| format!("/{key}{rest}"))
    });
    std::iter::once(String::new()).chain(below).collect()
}

/// The base document with a few values replaced by others.
fn mutated() -> impl Strategy<Value = Value> {
    prop::collection::vec((any::<Index>(), json()), 1..4).prop_map(|changes| {
        changes.into_iter().fold(base(), |mut document, (at, value)| {
            let places = places(&document);
            let place: &String = at.get(&places);
            *document.pointer_mut(place).unwrap() = value;
            document
        })
    })
}

/// Parses twice, and gives the one answer that both must be.
fn answer(bytes: &[u8]) -> Result<Config, String> {
    let parse = || Config::parse(bytes).map_err(|error| error.to_string());
    let (first, second) = (parse(), parse());
    assert_eq!(shown(&first), shown(&second));
    first
}

/// What must hold of whatever was accepted.
fn is_consistent(config: &Config) -> bool {
    !config.issuers.is_empty()
        && !config.routes.is_empty()
        && config.stripped.has_header("authorization")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn arbitrary_bytes_are_no_configuration(bytes in any::<Vec<u8>>()) {
        prop_assert!(answer(&bytes).is_err());
    }

    #[test]
    fn a_changed_document_gets_one_answer(document in mutated()) {
        match answer(document.to_string().as_bytes()) {
            Ok(config) => prop_assert!(is_consistent(&config)),
            Err(message) => prop_assert!(message.contains(": "), "{}", message),
        }
    }

    #[test]
    fn a_changed_byte_gets_one_answer(at in any::<Index>(), byte in any::<u8>()) {
        let mut bytes = base().to_string().into_bytes();
        *at.get_mut(&mut bytes) = byte;
        prop_assert!(answer(&bytes).map_or(true, |config| is_consistent(&config)));
    }

    #[test]
    fn a_document_cut_short_is_refused(at in any::<Index>()) {
        let text = base().to_string();
        prop_assert!(answer(&text.as_bytes()[..at.index(text.len())]).is_err());
    }
}
