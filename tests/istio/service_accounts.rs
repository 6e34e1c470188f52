//! Callers with tokens of the API server, as the page on Kubernetes has it.

use serde_json::{Value, json};
use testkit::reply::Refusal;
use testkit::world::values;

use crate::cluster::{Cluster, root, test};

const SUBJECT: &str = "system:serviceaccount:apps:caller";

fn page() -> String {
    std::fs::read_to_string(root().join("docs/guides/issuers/kubernetes.md")).unwrap()
}

/// Runs the page's command that begins like this, and returns what it prints.
fn run(cluster: &Cluster, command: &str) -> String {
    let page = page();
    let line = page.lines().find_map(|line| line.strip_prefix("kubectl ")?.strip_prefix(command));
    let rest = line.unwrap_or_else(|| panic!("the page has no kubectl {command}"));
    let rest = rest.split('#').next().unwrap();
    let words: Vec<&str> = command.split(' ').chain(rest.split_whitespace()).collect();
    cluster.kubernetes.kubectl(&words).trim().to_owned()
}

/// The page's configuration for a cluster of one's own: with that issuer, and its keys inline.
fn configuration(cluster: &Cluster) -> Value {
    let page = page();
    let block = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let mut written: Value = serde_json::from_str(block).unwrap();
    let discovery = run(cluster, "get --raw /.well-known/openid-configuration");
    let discovery: Value = serde_json::from_str(&discovery).unwrap();
    let keys = cluster.kubernetes.kubectl(&["get", "--raw", "/openid/v1/jwks"]);
    let issuer = &mut written["issuers"][0];
    issuer["issuer"] = discovery["issuer"].clone();
    issuer["jwks"] = json!({ "inline": serde_json::from_str::<Value>(&keys).unwrap() });
    written
}

#[test]
fn a_service_account_calls_with_the_token_that_the_api_server_has_issued() {
    test(async |cluster| {
        run(cluster, "create namespace apps");
        run(cluster, "create serviceaccount caller");
        let token = run(cluster, "create token caller");
        let written = configuration(cluster);
        cluster.kubernetes.apply(&cluster.plugin(|wasm| {
            wasm["pluginConfig"]["issuers"] = written["issuers"].clone();
            wasm["pluginConfig"]["routes"] = written["routes"].clone();
        }));
        cluster
            .until("the page's configuration is in force", async || {
                let asked = cluster.chat_request().bearer_auth(&token).send().await;
                asked.is_ok_and(|reply| reply.status() == 200)
            })
            .await;
        let (_, seen) = cluster.admits(&token, cluster.chat_request()).await;
        assert_eq!(values(&seen, "x-caller-id"), [SUBJECT]);

        let kubernetes = &cluster.kubernetes;
        let of_another_pod =
            kubernetes.token("openai-gateway", "https://gateway.example.com", "1h");
        let request = cluster.chat_request().bearer_auth(of_another_pod);
        cluster.refuses(request, Refusal::forbidden("claim_missing")).await;
        let for_the_api_server =
            kubernetes.token("openai-gateway", "https://kubernetes.default.svc", "1h");
        let request = cluster.chat_request().bearer_auth(for_the_api_server);
        cluster.refuses(request, Refusal::invalid_token("audience_mismatch")).await;
    });
}
