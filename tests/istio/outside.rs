//! External services: the issuer, identity tokens, and a mesh that forbids all others.

use serde_json::{Value, json};
use testkit::reply::{Refusal, Reply};

use crate::cluster::{Cluster, NAMESPACE, SYSTEM, test};

/// Adds a route, so that new VMs start, which have no keys yet.
fn new_policy(cluster: &Cluster, name: &str) -> Value {
    cluster.plugin(|wasm| {
        let path = format!("/{name}");
        let route =
            json!({ "name": name, "match": { "methods": ["GET"], "path": path }, "public": true });
        wasm["pluginConfig"]["routes"].as_array_mut().unwrap().push(route);
    })
}

/// Waits until a new policy is in force; then a route of its is known.
async fn in_force(cluster: &Cluster, name: &str) {
    cluster
        .until("the new policy is in force", async || {
            let reply = Reply::to(cluster.request(reqwest::Method::GET, &format!("/{name}"))).await;
            reply.is_ok_and(|reply| reply.code().as_deref() != Some("route_unknown"))
        })
        .await;
}

#[test]
fn an_issuer_with_the_certificate_of_another_host_is_not_believed() {
    test(async |cluster| {
        cluster.fronts.entra.show_a_wrong_certificate();
        let before = cluster.azure.issuer.requests().len();
        cluster.kubernetes.apply(&new_policy(cluster, "wrong-certificate"));
        in_force(cluster, "wrong-certificate").await;
        for _ in 0..6 {
            let request = cluster.chat_request().bearer_auth(cluster.token());
            cluster.refuses(request, Refusal::unavailable("keys_unavailable")).await;
        }
        assert_eq!(cluster.azure.issuer.requests().len(), before, "it was not even asked");
        let log = cluster.pod.log();
        let says_why = |line: &str| line.contains("fetch kind=jwks name=entra result=unreachable");
        assert!(log.lines().any(says_why), "it is not taken for an answer of the issuer's");
    });
}

#[test]
fn a_mesh_that_forbids_other_external_services_leaves_ours_open() {
    test(async |cluster| {
        cluster.kubernetes.apply(&json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
            "metadata": { "name": "default", "namespace": SYSTEM },
            "spec": { "outboundTrafficPolicy": { "mode": "REGISTRY_ONLY" }, "egress": [{ "hosts": ["./*"] }] },
        }));
        let words = ["-n", SYSTEM, "get", "configmap", "istio", "-o", "jsonpath={.data.mesh}"];
        let mesh = cluster.kubernetes.kubectl(&words);
        let set = |mesh: &str| {
            let patch = json!({ "data": { "mesh": mesh } }).to_string();
            cluster.kubernetes.kubectl(&[
                "-n",
                SYSTEM,
                "patch",
                "configmap",
                "istio",
                "--patch",
                &patch,
            ]);
        };
        set(&format!("{mesh}\noutboundTrafficPolicy: {{ mode: REGISTRY_ONLY }}\n"));
        cluster.kubernetes.apply(&new_policy(cluster, "registry-only"));
        in_force(cluster, "registry-only").await;
        cluster.admits_in_time("the issuer, IMDS and Azure OpenAI are still reached").await;
        set(&mesh);
    });
}

#[test]
fn a_secret_in_the_pods_environment_is_a_source_of_identity() {
    test(async |cluster| {
        let secret = |value: &str| {
            let words = ["-n", NAMESPACE, "set", "env", "deployment/openai-gateway", value];
            cluster.kubernetes.kubectl(&words);
        };
        secret(&format!("OPENAI_CLIENT_SECRET={}", local_azure::Options::default().client_secret));
        cluster.pod.restart(&cluster.kubernetes, "openai-gateway").await;
        secret("OPENAI_CLIENT_SECRET-");
        for resource in way_to_the_token_endpoint() {
            cluster.kubernetes.apply(&resource);
        }
        cluster.kubernetes.apply(&cluster.plugin(with_client_credentials));
        let before = cluster.azure.oauth.requests().len();
        cluster
            .until("tokens come from there", async || {
                cluster.chat().await.status == 200 && cluster.azure.oauth.requests().len() > before
            })
            .await;
        let token = cluster.token();
        cluster.admits(&token, cluster.chat_request()).await;
        let dump = cluster.pod.admin("/config_dump?include_eds");
        let secret = local_azure::Options::default().client_secret;
        assert!(!dump.contains(&secret), "the secret stays in the environment");
    });
}

fn with_client_credentials(wasm: &mut Value) {
    let options = local_azure::Options::default();
    wasm["vmConfig"] = json!({ "env": [{ "name": "OPENAI_CLIENT_SECRET", "valueFrom": "HOST" }] });
    wasm["pluginConfig"]["identities"]["openai"] = json!({
        "resource": "https://cognitiveservices.azure.com",
        "client_credentials": {
            "cluster": "outbound|443||sts.example.com",
            "token_uri": "https://sts.example.com/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token",
            "client_id": options.client_id,
            "client_secret_env": "OPENAI_CLIENT_SECRET",
        },
    });
}

/// The service entry and the TLS of Entra's token endpoint, at a host of its own.
pub(crate) fn way_to_the_token_endpoint() -> [Value; 2] {
    let host = "sts.example.com";
    let metadata = json!({ "name": "sts", "namespace": NAMESPACE });
    let entry = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata,
        "spec": {
            "hosts": [host], "exportTo": ["."], "location": "MESH_EXTERNAL", "resolution": "DNS",
            "ports": [{ "number": 443, "name": "https", "protocol": "HTTPS" }],
        },
    });
    let tls = json!({ "mode": "SIMPLE", "caCertificates": "system", "sni": host, "subjectAltNames": [host] });
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata,
        "spec": { "host": host, "exportTo": ["."], "trafficPolicy": { "tls": tls } },
    });
    [entry, rule]
}
