//! The configuration's shape as a JSON Schema (draft 2020-12), for editors.
//!
//! It never refuses what is accepted. What spans several places, it leaves to the parser.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::{Value, json};

use super::claim_value::ClaimValueEntry;
use super::document::Document;
use super::entry::{Entry, NonEmpty, Object, OneOrMore};
use super::scalars::{Budget, Count, Label, Plain, Reserve, Scalar, Shape, Text, Variable};

/// Returns the schema of the plugin's configuration.
#[expect(clippy::indexing_slicing, reason = "a member that is missing is made")]
pub fn schema() -> Value {
    let mut schema = schema_for!(Document).to_value();
    schema["title"] = "The configuration of keyless".into();
    schema["required"] = json!(["issuers", "routes"]);
    for named in ["identities", "prices"] {
        schema["properties"][named]["propertyNames"] = shape::<Label>();
    }
    for (entry, rule, choices) in ALTERNATIVES {
        let choices = choices.iter().map(|name| json!({ "required": [name] }));
        schema["$defs"][entry][rule] = choices.collect();
    }
    without_null(&mut schema);
    schema
}

/// Of these members, exactly one must be there, or at least one.
const ALTERNATIVES: [(&str, &str, &[&str]); 6] = [
    ("IssuerEntry", "oneOf", &["entra", "issuer"]),
    ("JwksEntry", "oneOf", &["cluster", "inline"]),
    ("IdentityEntry", "oneOf", &["app_service", "client_credentials", "imds", "workload_identity"]),
    ("ClientCredentialsEntry", "oneOf", &["client_secret_env", "client_secret_file"]),
    ("LimitEntry", "oneOf", &["cost", "requests", "tokens"]),
    ("RouteEntry", "anyOf", &["allow", "health", "public"]),
];

/// The members of a schema that say what a kind of text looks like.
fn shape<S: Scalar>() -> Value {
    match S::SHAPE {
        Shape::OneOf(texts) => json!({ "enum": texts }),
        Shape::Pattern(pattern) => json!({ "pattern": pattern }),
        Shape::PatternExcept(pattern, text) => {
            json!({ "pattern": pattern, "not": { "const": text } })
        }
    }
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

in_place!([S: Scalar] Text<S>, _generator => {
    let mut schema = json_schema!({ "type": "string", "description": S::EXPECTED });
    if let Value::Object(shape) = shape::<S>() {
        schema.ensure_object().extend(shape);
    }
    schema
});
in_place!([T: JsonSchema] NonEmpty<T>, generator => json_schema!({
    "type": "array", "minItems": 1, "items": generator.subschema_for::<T>(),
}));
in_place!([T: JsonSchema] OneOrMore<T>, generator => json_schema!({
    "anyOf": [generator.subschema_for::<T>(), generator.subschema_for::<NonEmpty<T>>()],
}));
in_place!([T: JsonSchema] Entry<T>, generator => generator.subschema_for::<T>());
in_place!([T: JsonSchema] Object<T>, generator => generator.subschema_for::<T>());
in_place!([] Count, _generator => json_schema!({
    "type": "integer", "minimum": 1, "maximum": u32::MAX,
}));
in_place!([] Reserve, _generator => json_schema!({
    "type": ["integer", "string"], "minimum": 1, "maximum": u32::MAX,
    "pattern": shape::<Budget>().get("pattern"),
}));
in_place!([] Variable, _generator => json_schema!({
    "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$",
    "description": "the name of an environment variable",
}));
in_place!([] ClaimValueEntry, _generator => json_schema!({
    "type": ["boolean", "number", "string"], "pattern": shape::<Plain>().get("pattern"),
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
    use crate::config::scalars::{CloudName, Place, SignatureAlgorithm};
    use crate::signature::Algorithm;

    fn assert_read<S: Scalar>() {
        let Shape::OneOf(texts) = S::SHAPE else { panic!("not a choice: {}", S::EXPECTED) };
        for text in texts {
            assert!(S::parse(text).is_some(), "{text}");
            assert!(S::EXPECTED.contains(text), "{text}");
        }
        assert_eq!(S::EXPECTED.matches(',').count(), texts.len() - 1, "{}", S::EXPECTED);
    }

    #[test]
    fn the_texts_of_a_choice_are_those_that_are_read() {
        assert_read::<CloudName>();
        assert_read::<Place>();
        assert_read::<SignatureAlgorithm>();
        let Shape::OneOf(names) = SignatureAlgorithm::SHAPE else { panic!("not a choice") };
        assert_eq!(names, Algorithm::ALL.map(|(name, _)| name));
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
