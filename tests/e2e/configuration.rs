//! Configurations that Envoy must not serve with.

use gateway::{Gateway, GatewayError, StartOptions};
use local_azure::{LocalAzure, Options};
use serde_json::json;

use testkit::world::{World, shipped};

/// Gives a filter its configuration in YAML, as a `google.protobuf.Struct`.
fn as_struct(config: &mut serde_yaml_ng::Value) {
    let any = &mut config["configuration"];
    let value = serde_yaml_ng::from_str(any["value"].as_str().unwrap()).unwrap();
    any["@type"] = "type.googleapis.com/google.protobuf.Struct".into();
    any["value"] = value;
}

#[tokio::test]
async fn a_configuration_may_be_written_in_yaml() {
    let with_number = |plugin: &mut serde_json::Value| {
        plugin["token_cache"] = json!({ "max_entries": 1000 });
    };
    let world = World::with(|shipped| shipped.plugin(with_number).plugin_config(as_struct)).await;
    let token = world.token();
    world.admits(&token, world.chat()).await;
}

#[tokio::test]
async fn a_mistake_in_yaml_is_named_by_its_place_too() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let wrong = |plugin: &mut serde_json::Value| plugin["issuers"][0]["audiences"] = json!([]);
    let blueprint = shipped(&azure).plugin(wrong).plugin_config(as_struct);
    let error = Gateway::start(blueprint, StartOptions::default()).await.unwrap_err();
    let GatewayError::Exited { log, .. } = &error else { panic!("{error}") };
    assert!(log.contains("invalid configuration: issuers[0].audiences"), "{log}");
}

#[tokio::test]
async fn envoy_does_not_start_with_a_wrong_configuration_and_names_the_place() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let wrong = [
        ("issuers[0].audiences", "/issuers/0/audiences", json!([])),
        ("issuers[0].jwks.cluster", "/issuers/0/jwks/cluster", json!(443)),
        ("routes[0].identity", "/routes/0/identity", json!("nobody")),
    ];
    for (place, pointer, value) in wrong {
        let blueprint =
            shipped(&azure).plugin(|plugin| *plugin.pointer_mut(pointer).unwrap() = value);
        let error = Gateway::start(blueprint, StartOptions::default()).await.unwrap_err();
        let GatewayError::Exited { log, .. } = &error else { panic!("{error}") };
        let refusal = format!("invalid configuration: {place}");
        assert!(log.contains(&refusal), "no {refusal:?} in\n{log}");
    }
}
