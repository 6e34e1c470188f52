//! Which backend a request is led to: by what it stores, and by its model.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::reply::{Refusal, Reply};
use testkit::world::{chat_body, values};

use crate::cluster::{Cluster, documents, shipped, test};

const GUIDE: &str = include_str!("../../docs/guides/routing-by-model.md");

/// The resource that has the other model in the guide.
const REASONING: &str = "my-openai-sweden.openai.azure.com";

/// Returns the text of the guide's first snippet after this heading in this language.
fn snippet(heading: &str, language: &str) -> &'static str {
    let (_, rest) = GUIDE.split_once(heading).expect("a heading");
    let (_, rest) = rest.split_once(&format!("```{language}\n")).expect("a snippet");
    rest.split_once("```").expect("its end").0
}

/// The `VirtualService` with the guide's route before that of all other deployments.
fn with_the_guides_route() -> Value {
    let mut service = documents(&shipped("gateway.yaml"))
        .into_iter()
        .find(|one| one["kind"] == "VirtualService")
        .unwrap();
    let route = documents(snippet("## Istio", "yaml")).remove(0)[0].clone();
    let routes = service["spec"]["http"].as_array_mut().unwrap();
    routes.insert(routes.len() - 1, route);
    service
}

/// A `ServiceEntry` and a `DestinationRule` like those of `on-prem`.
fn the_other_resource() -> Vec<Value> {
    let text = shipped("outside.yaml").replace("models.example.com", REASONING);
    let mut resources = documents(&text);
    resources.retain(|one| one["metadata"]["name"] == "on-prem");
    for resource in &mut resources {
        resource["metadata"]["name"] = json!("reasoning");
    }
    resources
}

async fn ask(cluster: &Cluster, model: &str) -> Reply {
    let target = format!("/openai/deployments/{model}/chat/completions?api-version=1");
    let request = cluster.request(Method::POST, &target).json(&chat_body(false));
    let request = request.header("x-deployment", "o3").bearer_auth(cluster.token());
    Reply::to(request).await.unwrap()
}

#[test]
fn each_model_is_asked_of_the_resource_that_has_it() {
    test(async |cluster| {
        for resource in the_other_resource() {
            cluster.kubernetes.apply(&resource);
        }
        cluster.kubernetes.apply(&with_the_guides_route());
        let part: Value = serde_json::from_str(snippet("## In the path", "json")).unwrap();
        cluster.kubernetes.apply(&cluster.plugin(|wasm| {
            let routes = wasm["pluginConfig"]["routes"].as_array_mut().unwrap();
            routes.insert(0, part["routes"][0].clone());
        }));
        let unknown = async || ask(cluster, "gpt-9").await.code();
        cluster
            .until("the new policy is in force", async || {
                unknown().await.as_deref() == Some("model_not_found")
            })
            .await;
        cluster
            .until("the new route is in force", async || {
                let before = cluster.sweden.requests().len();
                ask(cluster, "o3").await.status == 200 && cluster.sweden.requests().len() > before
            })
            .await;
        for (model, by) in [("gpt-4o", &cluster.azure.openai), ("o3", &cluster.sweden)] {
            let before = (by.requests().len(), cluster.received());
            let reply = ask(cluster, model).await;
            assert_eq!((reply.status, &reply.json()["model"]), (200, &json!(model)));
            let after = (by.requests().len(), cluster.received());
            assert_eq!(after, (before.0 + 1, before.1 + 1), "{model}");
            assert_eq!(values(&by.requests().pop().unwrap(), "x-deployment"), [model]);
        }
        Refusal::model_not_found().is(&ask(cluster, "gpt-9").await);
    });
}

#[test]
fn what_is_stored_is_asked_of_the_one_resource_that_keeps_it() {
    test(async |cluster| {
        let claims = json!({ "scp": "openai.chat openai.files" });
        let token = cluster.azure.issuer.mint(&cluster.azure.issuer.claims_with(&claims));
        let targets = ["/openai/v1/responses/resp_1", "/openai/files?api-version=1"];
        for target in targets {
            let before = cluster.azure.openai.requests().len();
            let request = cluster.request(Method::GET, target).bearer_auth(&token);
            Reply::to(request).await.unwrap();
            let seen = cluster.azure.openai.requests();
            assert_eq!(seen.len(), before + 1, "{target}");
            let seen = seen.last().unwrap();
            assert_eq!(seen.target, target);
            assert_eq!(values(seen, "host"), ["my-openai.openai.azure.com"]);
            cluster.assert_swapped(seen, &token);
        }
        let log = cluster.pod.log();
        let single = "outbound|443||my-openai.openai.azure.com";
        assert!(log.contains(single), "the access log names the cluster");
    });
}
