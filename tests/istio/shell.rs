//! For a person: the cluster, and a shell in it.

use std::process::Command;

use crate::cluster::{GATEWAY, root, test};

/// `tests/istio/run --shell`.
#[test]
#[ignore = "it waits for a person"]
fn the_cluster_stays_for_a_person() {
    test(async |cluster| {
        println!(
            "kubectl, istioctl and helm are in PATH; the files' hosts are played.\n\
             a caller's token:     curl -sX POST {}/issuer/token\n\
             a request:            curl -i https://{GATEWAY}/healthz\n\
             what Envoy was given: ip netns exec pod curl -s http://127.0.0.1:15000/config_dump\n\
             its log:              .istio/world/agent.log",
            cluster.azure.control_url(),
        );
        let mut shell = Command::new("bash");
        shell.current_dir(root());
        let _ = tokio::task::spawn_blocking(move || shell.status()).await.unwrap();
    });
}
