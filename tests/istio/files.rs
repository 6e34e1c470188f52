//! What Istio's own tools and `keyless check` say of the files.

use std::process::Command;

use serde_json::Value;

use crate::cluster::{Cluster, FILES, NAMESPACE, folder, output, root, shipped, test};

/// Runs `istioctl` in the cluster.
fn istioctl(words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(folder().join("bin/istioctl"));
    command.args(words);
    output(command, "")
}

/// Runs the command line on a text.
fn check(text: &str) -> Result<String, String> {
    let mut command =
        Command::new(std::env::var("KEYLESS").expect("KEYLESS names the command line"));
    command.args(["check", "-"]);
    output(command, text)
}

#[test]
fn istioctl_analyze_finds_nothing_in_the_cluster() {
    test(async |_| {
        let found = istioctl(&["analyze", "--namespace", NAMESPACE]);
        assert!(found.as_ref().is_ok_and(|said| said.trim().is_empty()), "{found:?}");
    });
}

#[test]
fn istioctl_analyze_finds_nothing_in_the_files() {
    test(async |_| {
        let files: Vec<String> = FILES
            .iter()
            .map(|file| root().join("istio").join(file).display().to_string())
            .collect();
        let mut words = vec!["analyze", "--use-kube=false", "--namespace", NAMESPACE];
        words.extend(files.iter().map(String::as_str));
        let found = istioctl(&words);
        assert!(found.as_ref().is_ok_and(|said| said.trim().is_empty()), "{found:?}");
    });
}

#[test]
fn keyless_check_accepts_each_plugin_as_istiods_webhook_does() {
    test(async |cluster| {
        for file in
            ["trafficextension.yaml", "wasmplugin.yaml", "gateway-api/trafficextension.yaml"]
        {
            let text = shipped(file);
            let istiod =
                cluster.kubernetes.try_kubectl(&["apply", "--dry-run=server", "-f", "-"], &text);
            assert!(istiod.is_ok(), "{file}: {istiod:?}");
            let keyless = check(&text);
            assert!(keyless.is_ok(), "{file}: {keyless:?}");
        }
    });
}

#[test]
fn keyless_check_refuses_a_plugin_that_istiods_webhook_refuses() {
    test(async |cluster| {
        refused(cluster, "a policy of failure that is none", |wasm| {
            wasm["failStrategy"] = "FAIL_OFTEN".into();
        });
        refused(cluster, "no module", |wasm| {
            wasm.as_object_mut().unwrap().remove("url");
        });
        refused(cluster, "a digest that is too short", |wasm| wasm["sha256"] = "12ab".into());
    });
}

fn refused(cluster: &Cluster, what: &str, edit: impl FnOnce(&mut Value)) {
    let plugin = cluster.plugin(edit);
    let istiod = cluster
        .kubernetes
        .try_kubectl(&["apply", "--dry-run=server", "-f", "-"], &plugin.to_string());
    assert!(istiod.is_err(), "istiod accepts {what}: {istiod:?}");
    let keyless = check(&plugin.to_string());
    assert!(keyless.is_err(), "keyless check accepts {what}: {keyless:?}");
}
