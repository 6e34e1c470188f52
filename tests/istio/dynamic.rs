//! keyless as a dynamic module: `examples/dynamic-module/istio.yaml` in the place of the Wasm module.

use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::reply::{Refusal, Reply};
use testkit::world::chat_body;

use crate::cluster::{Cluster, NAMESPACE, documents, root, test};

/// What Istio's charts take as `env` and `podAnnotations`, as docs/dynamic-module.md says.
const STATISTICS: &str = r#"{
    "runtimeValues": { "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix": "true" },
    "proxyStatsMatcher": { "inclusionPrefixes": ["keyless_", "dynamicmodulescustom"] }
}"#;

/// The folder of the object, as `make dynamic` builds it.
fn folder() -> String {
    let object = std::env::var_os("KEYLESS_DYNAMIC_OBJECT").expect("it names the dynamic module");
    PathBuf::from(object).parent().unwrap().display().to_string()
}

/// Changes the template of the gateway's pods, and starts its pod again.
async fn with_template(cluster: &Cluster, variables: Value, annotation: Value) {
    let change = json!({ "spec": { "template": {
        "metadata": { "annotations": { "proxy.istio.io/config": annotation } },
        "spec": { "containers": [{ "name": "istio-proxy", "env": variables }] },
    } } });
    let words = ["-n", NAMESPACE, "patch", "deployment", "openai-gateway", "--patch"];
    cluster.kubernetes.kubectl(&[&words[..], &[&change.to_string()]].concat());
    cluster.pod.restart(&cluster.kubernetes, "openai-gateway").await;
}

#[test]
fn a_dynamic_module_does_the_same() {
    test(async |cluster| {
        let words = ["-n", NAMESPACE, "get", "deployment", "openai-gateway", "-o", "json"];
        let before: Value = serde_json::from_str(&cluster.kubernetes.kubectl(&words)).unwrap();
        let template = &before["spec"]["template"]["metadata"]["annotations"];
        let annotation = template["proxy.istio.io/config"].clone();

        cluster.kubernetes.delete_file("trafficextension.yaml");
        let variable = json!([{ "name": "ENVOY_DYNAMIC_MODULES_SEARCH_PATH", "value": folder() }]);
        with_template(cluster, variable, STATISTICS.into()).await;
        cluster.refuses_everybody(403, "the guard is alone").await;

        let file = root().join("examples/dynamic-module/istio.yaml");
        let file = documents(&std::fs::read_to_string(file).unwrap()).remove(0);
        cluster.kubernetes.apply(&file);
        works(cluster).await;
        is_configured(cluster);
        is_counted(cluster);

        let removed = json!([{ "name": "ENVOY_DYNAMIC_MODULES_SEARCH_PATH", "$patch": "delete" }]);
        cluster.kubernetes.restore();
        with_template(cluster, removed, annotation).await;
    });
}

async fn works(cluster: &Cluster) {
    cluster.admits_in_time("callers are served").await;
    cluster.admits(&cluster.token(), cluster.chat_request()).await;
    cluster.refuses(cluster.chat_request(), Refusal::token_missing()).await;
    let path = "/openai/deployments/gpt-4o/embeddings";
    let other = cluster.request(reqwest::Method::POST, path).json(&chat_body(false));
    let reply = Reply::to(other.bearer_auth(cluster.token())).await.unwrap();
    assert_eq!(reply.status, 404, "no route of the file's: {reply:?}");
    cluster
        .until("the access log tells both", async || {
            let log = cluster.pod.access_log();
            let of = |verdict: &str, reason: &str| {
                log.iter().any(|entry| entry["verdict"] == verdict && entry["reason"] == reason)
            };
            of("admitted", "ok") && of("refused", "token_missing")
        })
        .await;
}

/// Envoy has no Wasm filter, and ours stands before the guard.
fn is_configured(cluster: &Cluster) {
    let text = cluster.pod.admin("/config_dump?resource=dynamic_listeners");
    assert!(!text.contains("openai-gateway.keyless"), "the Wasm filter is gone: {text}");
    let place = |name: &str| text.find(name).unwrap_or_else(|| panic!("there is no {name}"));
    assert!(place("dynamic_modules.v3.DynamicModuleFilter") < place("\"keyless.guard\""));
}

fn is_counted(cluster: &Cluster) {
    let metrics = cluster.pod.admin("/stats/prometheus");
    let counted = r#"keyless_requests{issuer="entra",route="chat",verdict="admitted",reason="ok"}"#;
    let own = || metrics.lines().filter(|line| line.contains("keyless")).collect::<Vec<_>>();
    assert!(metrics.contains(counted), "{:?}", own());
}
