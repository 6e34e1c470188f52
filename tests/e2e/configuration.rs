//! Configurations that Envoy must not serve with, and the guard behind the filter.

use gateway::{Gateway, GatewayError, StartOptions};
use local_azure::{LocalAzure, Options};
use serde_json::json;

use crate::reply::Reply;
use crate::world::{World, shipped};

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
        let refusal = format!("the configuration is refused: {place}");
        assert!(log.contains(&refusal), "no {refusal:?} in\n{log}");
    }
}

#[tokio::test]
async fn nothing_passes_where_the_filter_is_left_out() {
    let world = World::with(|shipped| {
        shipped.connection_manager(|manager| {
            let skipped = &mut manager["route_config"]["virtual_hosts"][0]
                ["typed_per_filter_config"]["envoy.filters.http.wasm"];
            skipped["@type"] = "type.googleapis.com/envoy.config.route.v3.FilterConfig".into();
            skipped["disabled"] = true.into();
        })
    });
    let world = world.await;
    let health = world.request(reqwest::Method::GET, "/healthz");
    for request in [world.chat(), world.chat_as(&world.token()), health] {
        let reply = Reply::to(request).await.unwrap();
        assert_eq!(reply.status, 403, "{reply:?}");
        assert_eq!(reply.code(), None, "not by keyless: {reply:?}");
    }
    assert_eq!(world.azure.openai.requests().len(), 0);
    assert_eq!(world.key_fetches() + world.identity_fetches(), 0);
}
