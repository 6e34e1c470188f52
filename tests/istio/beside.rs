//! Beside what a mesh already has on its gateways.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, chat_body, values};

use crate::cluster::{Cluster, GATEWAY, NAMESPACE, SYSTEM, test};

/// The mesh's own check of the same tokens, for every gateway, and a rule that wants one.
async fn request_authentication(cluster: &Cluster) -> [Value; 2] {
    let claims = cluster.azure.issuer.claims();
    let issuer = claims["iss"].as_str().unwrap();
    let keys = "72f988bf-86f1-41af-91ab-2d7cd011db47/discovery/v2.0/keys";
    let keys =
        reqwest::get(format!("http://{}/{keys}", cluster.azure.issuer.address())).await.unwrap();
    let keys: Value = serde_json::from_str(&keys.text().await.unwrap()).unwrap();
    let authentication = json!({
        "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
        "metadata": { "name": "mesh", "namespace": SYSTEM },
        "spec": { "jwtRules": [{ "issuer": issuer, "jwks": keys.to_string(), "forwardOriginalToken": true }] },
    });
    let authorization = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": { "name": "mesh", "namespace": SYSTEM },
        "spec": { "rules": [{ "from": [{ "source": { "requestPrincipals": ["*"] } }] }] },
    });
    [authentication, authorization]
}

#[test]
fn a_request_authentication_of_the_whole_mesh_changes_nothing() {
    test(async |cluster| {
        for resource in request_authentication(cluster).await {
            cluster.kubernetes.apply(&resource);
        }
        cluster
            .until("the mesh's own filters are there", async || {
                let listener = cluster.pod.admin("/config_dump?resource=dynamic_listeners");
                listener.contains("envoy.filters.http.jwt_authn")
            })
            .await;
        cluster.admits_in_time("callers are served").await;
        cluster.admits(&cluster.token(), cluster.chat_request()).await;
        cluster.refuses(cluster.chat_request(), Refusal::token_missing()).await;
    });
}

#[test]
fn a_phase_before_request_authentication_refuses_everybody() {
    test(async |cluster| {
        for resource in request_authentication(cluster).await {
            cluster.kubernetes.apply(&resource);
        }
        let mut plugin = cluster.plugin(|_| ());
        plugin["spec"]["phase"] = "AUTHN".into();
        cluster.kubernetes.apply(&plugin);
        cluster
            .until("Istio refuses the gateway's own token", async || {
                let reply = cluster.chat().await;
                reply.status == 401 && reply.body.starts_with(b"Jwt issuer is not configured")
            })
            .await;
    });
}

#[test]
fn a_request_authentication_that_keeps_the_token_leaves_keyless_without_one() {
    test(async |cluster| {
        let [mut authentication, _] = request_authentication(cluster).await;
        authentication["spec"]["jwtRules"][0]["forwardOriginalToken"] = false.into();
        cluster.kubernetes.apply(&authentication);
        cluster
            .until("keyless finds no token", async || {
                cluster.chat().await.code().as_deref() == Some("token_missing")
            })
            .await;
    });
}

#[test]
fn a_credential_in_the_clear_is_refused_and_logged_where_port_80_redirects() {
    test(async |cluster| {
        cluster.kubernetes.apply(&json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": { "name": "redirect", "namespace": NAMESPACE },
            "spec": { "selector": { "istio": "openai-gateway" }, "servers": [{
                "port": { "number": 80, "name": "http", "protocol": "HTTP" },
                "hosts": [GATEWAY], "tls": { "httpsRedirect": true } }] },
        }));
        let client = testkit::world::client().build().unwrap();
        let plain = |method: Method, target: &str| {
            client.request(method, format!("http://{GATEWAY}{target}"))
        };
        cluster
            .until("port 80 redirects", async || {
                let reply = Reply::to(plain(Method::GET, "/healthz")).await;
                reply.is_ok_and(|reply| reply.status == 301)
            })
            .await;
        let before = cluster.received();
        for (name, value) in
            [("authorization", format!("Bearer {}", cluster.token())), ("api-key", cluster.token())]
        {
            let request = plain(Method::POST, CHAT).json(&chat_body(false)).header(name, value);
            let reply = Reply::to(request).await.unwrap();
            assert_eq!((reply.status, reply.code()), (403, None), "{name}: {reply:?}");
        }
        let reply = Reply::to(plain(Method::POST, CHAT).json(&chat_body(false))).await.unwrap();
        Refusal::token_missing().is(&reply);
        assert_eq!(cluster.received(), before, "it reached a backend");
        cluster
            .until("the log says why", async || {
                cluster.pod.log().contains("credential-without-tls")
            })
            .await;
        cluster.admits(&cluster.token(), cluster.chat_request()).await;
    });
}

#[test]
fn another_plugin_of_the_mesh_runs_too() {
    test(async |cluster| {
        let code = "function envoy_on_request(handle) handle:headers():add('x-other', 'seen') end";
        cluster.kubernetes.apply(&json!({
            "apiVersion": "extensions.istio.io/v1alpha1", "kind": "TrafficExtension",
            "metadata": { "name": "other", "namespace": SYSTEM },
            "spec": { "phase": "AUTHN", "lua": { "inlineCode": code } },
        }));
        cluster
            .until("the other plugin runs", async || {
                cluster.chat().await.status == 200
                    && values(cluster.azure.openai.requests().last().unwrap(), "x-other")
                        == ["seen"]
            })
            .await;
        cluster.admits(&cluster.token(), cluster.chat_request()).await;
        cluster.refuses(cluster.chat_request(), Refusal::token_missing()).await;
    });
}
