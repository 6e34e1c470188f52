//! Configurations that Envoy must not serve with.

use gateway::{Gateway, GatewayError, StartOptions};
use local_azure::{LocalAzure, Options};
use serde_json::json;

use testkit::world::shipped;

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
