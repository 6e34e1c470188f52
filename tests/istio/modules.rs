//! When the module or its configuration is unavailable: nobody passes whom keyless has not admitted.

use serde_json::json;

use crate::cluster::{NAMESPACE, PULLER, test};

#[test]
fn the_guard_alone_refuses_everybody() {
    test(async |cluster| {
        cluster.kubernetes.delete_file("trafficextension.yaml");
        cluster.refuses_everybody(403, "without the plugin").await;
        cluster.kubernetes.apply_file("trafficextension.yaml");
        cluster.admits_in_time("with it again").await;
    });
}

#[test]
fn an_image_that_does_not_exist_refuses_everybody_until_it_is_mended() {
    test(async |cluster| {
        for url in
            ["oci://registry.example.com/keyless:9.9.9", "oci://registry.example.com/other:0.1.0"]
        {
            cluster.kubernetes.apply(&cluster.plugin(|wasm| wasm["url"] = url.into()));
            cluster.refuses_everybody(403, url).await;
            cluster.kubernetes.restore();
            cluster.admits_in_time("the tag is right again").await;
        }
    });
}

#[test]
fn only_the_image_with_the_pinned_digest_runs() {
    test(async |cluster| {
        let digest = cluster.registry.push(&crate::cluster::module(), "0.1.0");
        let pinned = |digest: &str| {
            let digest = digest.trim_start_matches("sha256:").to_owned();
            cluster.plugin(|wasm| wasm["sha256"] = digest.into())
        };
        cluster.kubernetes.apply(&pinned(&"0".repeat(64)));
        cluster.refuses_everybody(403, "another digest").await;
        assert!(
            cluster.pod.log().contains(digest.trim_start_matches("sha256:")),
            "the log has the right digest"
        );
        cluster.kubernetes.apply(&pinned(&digest));
        cluster.admits_in_time("the right digest").await;
    });
}

#[test]
fn a_policy_with_a_mistake_leaves_the_former_in_force() {
    test(async |cluster| {
        cluster.kubernetes.apply(&cluster.plugin(|wasm| {
            wasm["pluginConfig"]["routes"][0]["nonsense"] = true.into();
        }));
        cluster
            .until("Envoy has rejected it and says why", async || {
                cluster
                    .pod
                    .log()
                    .lines()
                    .any(|line| line.contains("routes[0]") && line.contains("nonsense"))
            })
            .await;
        cluster.admits_in_time("the former policy goes on").await;
    });
}

#[test]
fn a_private_registry_wants_the_pull_secret() {
    test(async |cluster| {
        let url = "oci://registry.example.com:8443/keyless:0.1.0";
        cluster.kubernetes.apply(&cluster.plugin(|wasm| wasm["url"] = url.into()));
        cluster.refuses_everybody(403, "without the secret").await;
        assert!(
            cluster.pod.log().to_uppercase().contains("UNAUTHORIZED"),
            "the agent's log says so"
        );
        cluster.kubernetes.apply(&pull_secret());
        cluster.kubernetes.apply(&cluster.plugin(|wasm| {
            wasm["url"] = url.into();
            wasm["imagePullSecret"] = "registry".into();
        }));
        cluster.admits_in_time("with the secret").await;
    });
}

fn pull_secret() -> serde_json::Value {
    let (username, password) = PULLER;
    let auths = json!({ "auths": { "registry.example.com:8443": { "username": username, "password": password } } });
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": { "name": "registry", "namespace": NAMESPACE },
        "stringData": { ".dockerconfigjson": auths.to_string() },
    })
}
