//! JSON Schemas, those of Kubernetes among them.

use boon::{Compiler, Draft, Schemas};
use serde_json::{Value, json};

/// Says why a document does not fit a schema.
pub(super) fn misfit(mut schema: Value, document: &Value) -> Option<String> {
    // The one that schemas of the Compose Specification name is not written as the draft is.
    schema.as_object_mut().unwrap().remove("$schema");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.set_default_draft(Draft::V2019_09);
    compiler.add_resource("schema.json", schema).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap_or_else(|e| panic!("{e:#}"));
    schemas.validate(document, index).err().map(|error| format!("{error:#}"))
}

/// Makes a structural schema of Kubernetes refuse members that it does not name: the API server
/// drops them, so that what was meant does not happen.
pub(super) fn closed(schema: &Value) -> Value {
    let mut schema = schema.clone();
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    if let Some(items) = schema.as_array_mut() {
        items.iter_mut().for_each(close);
    }
    let Some(members) = schema.as_object_mut() else { return };
    members.values_mut().for_each(close);
    let opens = ["additionalProperties", "x-kubernetes-preserve-unknown-fields"];
    let is_table = members.get("type").is_some_and(|kind| kind == "object");
    if is_table
        && members.contains_key("properties")
        && !opens.iter().any(|name| members.contains_key(*name))
    {
        members.insert("additionalProperties".into(), false.into());
    }
}

#[test]
fn a_closed_schema_refuses_a_member_that_it_does_not_name() {
    let inner = json!({ "type": "object", "properties": { "b": { "type": "string" } } });
    let schema = json!({ "type": "object", "properties": { "a": inner } });
    assert_eq!(misfit(schema.clone(), &json!({ "a": { "c": 1 } })), None);
    assert!(misfit(closed(&schema), &json!({ "a": { "c": 1 } })).is_some());
    assert_eq!(misfit(closed(&schema), &json!({ "a": { "b": "" } })), None);
}
