//! The configuration's shape as a JSON Schema (draft 2020-12), for editors.
//!
//! It never refuses what is accepted. What spans several places, it leaves to the parser.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::{Value, json};

use super::claims::ClaimValueEntry;
use super::document::{Document, Object};
use super::text::{
    Claim, CloudName, Count, Host, KeySetUri, Label, Leeway, MetadataPath, Method, NonEmpty, Path,
    Place, Plain, Resource, Scope, SignatureAlgorithm, TenantId, Text, TokenUri, Type, Variable,
    Wait, Word,
};
use crate::signature::Algorithm;

/// Returns the schema of the plugin's configuration.
#[expect(clippy::indexing_slicing, reason = "a member that is missing is made")]
pub fn schema() -> Value {
    let mut schema = schema_for!(Document).to_value();
    schema["title"] = "The configuration of keyless".into();
    schema["properties"]["identities"]["propertyNames"] = pattern(LABEL);
    for (entry, rule, choices) in ALTERNATIVES {
        let choices = choices.iter().map(|name| json!({ "required": [name] }));
        schema["$defs"][entry][rule] = choices.collect();
    }
    without_null(&mut schema);
    schema
}

/// Of these members, exactly one must be there, or at least one.
const ALTERNATIVES: [(&str, &str, &[&str]); 4] = [
    ("IssuerEntry", "oneOf", &["entra", "issuer"]),
    ("JwksEntry", "oneOf", &["cluster", "inline"]),
    ("IdentityEntry", "oneOf", &["app_service", "client_credentials", "imds"]),
    ("RouteEntry", "anyOf", &["allow", "health", "public"]),
];

const LABEL: &str = "^[A-Za-z0-9._-]{1,64}$";
const PLAIN: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$";
const SPAN: &str = "^(0|[0-9][0-9A-Za-z .]*[A-Za-z] *)$";
const URI: &str = "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+([/?#].*)?$";

/// A kind of text, in the schema's terms.
trait Shape: Word {
    fn shape() -> Value;
}

macro_rules! shapes {
    ($($word:ty => $shape:expr;)*) => { $(
        impl Shape for $word {
            fn shape() -> Value {
                $shape
            }
        }
    )* };
}

shapes! {
    Claim => pattern(PLAIN);
    CloudName => one_of(&["china", "public", "us-government"]);
    Host => pattern("^(\\*\\.)?[A-Za-z0-9_:\\[\\]-]+(\\.[A-Za-z0-9_:\\[\\]-]+)*$");
    KeySetUri => pattern(URI);
    Label => pattern(LABEL);
    Leeway => pattern(SPAN);
    MetadataPath => pattern("^/[A-Za-z0-9._~/-]*$");
    Method => json!({ "pattern": "^[A-Z]+$", "not": { "const": "CONNECT" } });
    Path => pattern("^/");
    Place => one_of(&["body.model", "path"]);
    Plain => pattern(PLAIN);
    Resource => pattern("^https://[^\\s/@?#\"\\\\]+(/[^\\s?#\"\\\\]*)?$");
    Scope => pattern("^[!#-\\[\\]-~]+$");
    SignatureAlgorithm => one_of(&Algorithm::ALL.map(|(name, _)| name));
    TenantId => pattern("^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$");
    TokenUri => pattern(URI);
    Type => pattern(PLAIN);
    Wait => pattern(SPAN);
}

fn pattern(text: &str) -> Value {
    json!({ "pattern": text })
}

fn one_of(texts: &[&str]) -> Value {
    json!({ "enum": texts })
}

/// Gives a type a schema that stands where the type is used.
macro_rules! in_place {
    ([$($generics:tt)*] $type:ty, $generator:ident => $schema:expr) => {
        impl<$($generics)*> JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

in_place!([W: Shape] Text<W>, _generator => {
    let mut schema = json_schema!({ "type": "string", "description": W::WANTED });
    if let Value::Object(shape) = W::shape() {
        schema.ensure_object().extend(shape);
    }
    schema
});
in_place!([T: JsonSchema] NonEmpty<T>, generator => json_schema!({
    "type": "array", "minItems": 1, "items": generator.subschema_for::<T>(),
}));
in_place!([T: JsonSchema] Object<T>, generator => generator.subschema_for::<T>());
in_place!([] Count, _generator => json_schema!({
    "type": "integer", "minimum": 1, "maximum": u32::MAX,
}));
in_place!([] Variable, _generator => json_schema!({
    "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$",
    "description": "the name of an environment variable",
}));
in_place!([] ClaimValueEntry, _generator => json_schema!({
    "type": ["boolean", "number", "string"], "pattern": PLAIN,
    "minimum": -9_007_199_254_740_991_i64, "maximum": 9_007_199_254_740_991_i64,
}));

/// Takes back that what may be absent may be `null`, which the parser refuses everywhere.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(members) => {
            members.values_mut().for_each(without_null);
            if let Some(Value::Array(texts)) = members.get_mut("enum") {
                texts.retain(|text| !text.is_null());
            }
            if let Some(Value::Array(kinds)) = members.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [kind] = kinds.as_slice() {
                    let kind = kind.clone();
                    members.insert("type".to_owned(), kind);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| *choice != json!({ "type": "null" }));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    members.extend(only);
                }
            }
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<W: Shape>() -> Vec<String> {
        let shape = W::shape();
        let texts = shape["enum"].as_array().unwrap().iter();
        texts.map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    fn assert_read<W: Shape>() {
        for text in texts::<W>() {
            assert!(W::read(&text).is_some(), "{text}");
            assert!(W::WANTED.contains(&text), "{text}");
        }
        assert_eq!(W::WANTED.matches(',').count(), texts::<W>().len() - 1, "{}", W::WANTED);
    }

    #[test]
    fn the_texts_of_a_choice_are_those_that_are_read() {
        assert_read::<CloudName>();
        assert_read::<Place>();
        assert_read::<SignatureAlgorithm>();
    }

    #[test]
    fn alternatives_are_keys_of_their_entries() {
        let schema = schema();
        for (entry, rule, names) in ALTERNATIVES {
            let entry = &schema["$defs"][entry];
            assert_eq!(entry[rule].as_array().map(Vec::len), Some(names.len()));
            for name in names {
                assert!(entry["properties"].get(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn every_object_refuses_keys_that_it_does_not_name() {
        let schema = schema();
        let entries = schema["$defs"].as_object().unwrap().values().chain([&schema]);
        assert!(entries.clone().count() > 10);
        for entry in entries {
            assert_eq!(entry["additionalProperties"], false, "{entry}");
        }
        assert!(!schema.to_string().contains("null"));
    }
}
