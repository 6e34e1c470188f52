//! Workload identity: a token that the API server has issued for the gateway's service account, as the
//! kubelet projects it, is exchanged for the gateway's token.

use std::path::Path;
use std::time::Duration;

use local_azure::FederatedCredential;
use serde_json::Value;
use testkit::projected::Projected;

use crate::cluster::{Cluster, NAMESPACE, documents, root, test};
use crate::outside::way_to_the_token_endpoint;

/// Where `gateway-values.yaml` mounts the token.
const FOLDER: &str = "/var/run/secrets/azure/tokens";
const AUDIENCE: &str = "api://AzureADTokenExchange";
const ACCOUNT: &str = "openai-gateway";

/// Reads a file of the example.
fn example(name: &str) -> String {
    let path = root().join("examples/workload-identity/istio").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The configuration that the example's first lines tell of, with Entra's token endpoint at a host of its
/// own.
fn with_workload_identity(wasm: &mut Value) {
    let text = example("token-file.yaml");
    let lines = text.lines().filter_map(|line| line.strip_prefix("#     "));
    let block = lines.collect::<Vec<_>>().join("\n");
    let mut source: Value = serde_yaml_ng::from_str(&block).unwrap();
    let workload = &mut source["workload_identity"];
    workload["cluster"] = "outbound|443||sts.example.com".into();
    workload["authority_host"] = "https://sts.example.com/".into();
    workload["client_id"] = local_azure::Options::default().client_id.into();
    let identity = &mut wasm["pluginConfig"]["identities"]["openai"];
    identity.as_object_mut().unwrap().remove("imds");
    identity["workload_identity"] = workload.take();
}

/// The volume that the example's values have, which the tests mount in the kubelet's place.
fn projection() -> Value {
    let values = documents(&example("gateway-values.yaml")).remove(0);
    assert_eq!(values["volumeMounts"][0]["mountPath"], FOLDER);
    values["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"].clone()
}

fn credential(cluster: &Cluster, subject: &str) -> FederatedCredential {
    let keys = cluster.kubernetes.kubectl(&["get", "--raw", "/openid/v1/jwks"]);
    FederatedCredential {
        issuer: "https://kubernetes.default.svc".into(),
        subject: subject.into(),
        audience: AUDIENCE.into(),
        keys: serde_json::from_str(&keys).unwrap(),
    }
}

fn logged(cluster: &Cluster, words: &str) -> bool {
    cluster.pod.log().lines().any(|line| line.contains(words))
}

#[test]
fn a_token_that_the_api_server_issued_is_exchanged_and_its_replacement_too() {
    test(async |cluster| {
        let projection = projection();
        assert_eq!(projection["audience"], AUDIENCE);
        let issue = || cluster.kubernetes.token(ACCOUNT, AUDIENCE, "1h");
        let first = issue();
        let mut file = Projected::new(Path::new(FOLDER), "azure-identity-token", first.as_bytes());
        assert_eq!(projection["path"], "azure-identity-token");
        let oauth = &cluster.azure.oauth;
        oauth.set_lifetime(Duration::from_secs(4));
        oauth.set_federated_credentials(vec![credential(
            cluster,
            &format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}"),
        )]);
        for resource in way_to_the_token_endpoint() {
            cluster.kubernetes.apply(&resource);
        }
        for resource in documents(&example("token-file.yaml")) {
            cluster.kubernetes.apply(&resource);
        }
        cluster.kubernetes.apply(&cluster.plugin(with_workload_identity));
        let exchanged = |token: &str| {
            let sent = oauth.requests();
            sent.iter().any(|one| String::from_utf8_lossy(&one.body).ends_with(token))
        };
        cluster
            .until("the token of the API server is exchanged", async || {
                cluster.chat().await.status == 200 && exchanged(&first)
            })
            .await;
        cluster.admits(&cluster.token(), cluster.chat_request()).await;

        let second = issue();
        assert_ne!(first, second);
        file.replace(second.as_bytes());
        cluster
            .until("so is the next one", async || {
                cluster.chat().await.status == 200 && exchanged(&second)
            })
            .await;
        let other = cluster.kubernetes.token(ACCOUNT, "https://kubernetes.default.svc", "1h");
        file.replace(other.as_bytes());
        cluster
            .until("a token for another audience is refused, and the log says why", async || {
                _ = cluster.chat().await;
                logged(cluster, "name=openai step=token result=assertion_audience")
            })
            .await;
        let dump = cluster.pod.admin("/config_dump?include_eds") + &cluster.pod.log();
        let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
        for token in [&first, &second, &other].map(|token| signature(token)) {
            assert!(!dump.contains(&token), "a projected token is seen");
        }
        oauth.set_lifetime(Duration::from_hours(1));
    });
}
