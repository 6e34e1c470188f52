//! The other ways to the same gateway: `WasmPlugin`, Gateway API, clusters left out by default.

use local_azure::Fault;
use reqwest::Method;
use testkit::reply::{Refusal, Reply};

use testkit::world::{chat_body, values};

use crate::cluster::{Cluster, FILES, NAMESPACE, test};

/// Fails unless the gateway does what it is for.
async fn works(cluster: &Cluster) {
    cluster.admits_in_time("callers are served").await;
    cluster.admits(&cluster.token(), cluster.chat_request()).await;
    cluster.refuses(cluster.chat_request(), Refusal::token_missing()).await;
}

#[test]
fn a_wasm_plugin_does_the_same() {
    test(async |cluster| {
        cluster.kubernetes.delete_file("trafficextension.yaml");
        cluster.refuses_everybody(403, "without the plugin").await;
        cluster.kubernetes.apply_file("wasmplugin.yaml");
        works(cluster).await;
    });
}

#[test]
fn clusters_that_only_keyless_calls_are_there_where_gateways_get_only_those_of_routes() {
    test(async |cluster| {
        cluster.mesh.restart(&[("PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", "true")]).await;
        cluster
            .until("clusters that nobody names are gone", async || {
                !cluster.pod.admin("/clusters").contains("outbound|443||kubernetes.default")
                    && cluster.pod.admin("/clusters").contains("outbound|443||openai.internal")
            })
            .await;
        // New VMs, which have neither keys nor an identity token yet.
        cluster.pod.restart(&cluster.kubernetes, "openai-gateway").await;
        works(cluster).await;
        cluster.mesh.restart(&[]).await;
        cluster.pod.restart(&cluster.kubernetes, "openai-gateway").await;
    });
}

/// The files that take the place of those of the same name.
const GATEWAY_API: [&str; 5] = [
    "gateway-api/guard.yaml",
    "outside.yaml",
    "gateway-api/trafficextension.yaml",
    "gateway-api/gateway.yaml",
    "gateway-api/telemetry.yaml",
];

#[test]
fn a_gateway_of_the_gateway_api_does_the_same() {
    test(async |cluster| {
        let kubernetes = &cluster.kubernetes;
        for file in FILES {
            kubernetes.delete_file(file);
        }
        for file in GATEWAY_API {
            kubernetes.apply_file(file);
        }
        let deployment = "openai-gateway-istio";
        cluster
            .until("istiod has made the deployment", async || {
                kubernetes
                    .try_kubectl(&["-n", NAMESPACE, "get", "deployment,service", deployment], "")
                    .is_ok()
            })
            .await;
        cluster.pod.restart(kubernetes, deployment).await;
        works(cluster).await;
        health_and_spill_over(cluster).await;
        kubernetes.restore();
        cluster.pod.restart(kubernetes, "openai-gateway").await;
    });
}

async fn health_and_spill_over(cluster: &Cluster) {
    let health = Reply::to(cluster.request(Method::GET, "/healthz")).await.unwrap();
    assert_eq!((health.status, health.body.as_slice()), (200, b"ok".as_slice()));
    let token = cluster.token();
    let request = cluster.request(Method::POST, "/on-prem/v1/chat/completions");
    Reply::to(request.json(&chat_body(false)).bearer_auth(&token)).await.unwrap();
    let seen = cluster.models.requests().pop().unwrap();
    assert_eq!(
        (seen.target.as_str(), values(&seen, "host")),
        ("/v1/chat/completions", vec!["models.example.com".into()])
    );
    assert_eq!(values(&seen, "authorization"), [""; 0]);
    let metrics = cluster.pod.admin("/stats/prometheus");
    assert!(metrics.contains(
        r#"keyless_requests{issuer="entra",route="chat",verdict="admitted",reason="ok"}"#
    ));
    crate::tiers::is_left_alone(cluster, Fault::Status(429)).await;
}

#[test]
fn files_may_be_applied_in_any_order() {
    test(async |cluster| {
        for file in FILES {
            cluster.kubernetes.delete_file(file);
        }
        for file in FILES.into_iter().rev() {
            cluster.kubernetes.apply_file(file);
        }
        works(cluster).await;
    });
}
