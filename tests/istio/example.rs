//! `examples/istio/keyless.yaml`, in place of the files of `istio/`.

use testkit::reply::{Refusal, Reply};
use testkit::world::{EMBEDDINGS, values};

use crate::cluster::{documents, root, test};

#[test]
fn the_smallest_gateway_admits_and_refuses() {
    test(async |cluster| {
        let file = root().join("examples/istio/keyless.yaml");
        for resource in documents(&std::fs::read_to_string(file).unwrap()) {
            cluster.kubernetes.apply(&resource);
        }
        let scopes = serde_json::json!({ "scp": "openai.chat openai.embeddings" });
        let token = cluster.azure.issuer.mint(&cluster.azure.issuer.claims_with(&scopes));
        let embeddings = || {
            let body = serde_json::json!({ "input": "x" });
            cluster.request(reqwest::Method::POST, EMBEDDINGS).json(&body).bearer_auth(&token)
        };
        cluster
            .until("the file's one route is in force", async || {
                Reply::to(embeddings()).await.is_ok_and(|reply| reply.status == 404)
            })
            .await;
        cluster.admits_in_time("it serves").await;
        let (_, seen) = cluster.admits(&token, cluster.chat_request()).await;
        assert_eq!(values(&seen, "host"), ["my-openai.openai.azure.com"]);
        cluster.refuses(cluster.chat_request(), Refusal::token_missing()).await;
        cluster.refuses(embeddings(), Refusal::route_unknown()).await;
        cluster.kubernetes.kubectl(&[
            "delete",
            "trafficextension",
            "keyless",
            "-n",
            "openai-gateway",
        ]);
        cluster.refuses_everybody(403, "the guard is alone").await;
    });
}
