//! What istiod made of the files, as data: `recorded/` holds it for the tests that run without a
//! cluster (`tests/e2e/istio.rs`). `RECORD=1 make istio` writes it again.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, test};

/// The parts of a dump that the files decide.
const DUMP: &str = "/config_dump";

/// Members that differ from run to run and mean nothing to Envoy.
const FLEETING: [&str; 3] = ["last_updated", "version_info", "client_status"];

#[test]
fn the_recording_is_what_istiod_makes_of_a_traffic_extension() {
    test(async |cluster| compare(cluster, "TrafficExtension"));
}

#[test]
fn the_recording_is_what_istiod_makes_of_a_wasm_plugin() {
    test(async |cluster| {
        cluster.kubernetes.delete_file("trafficextension.yaml");
        cluster.refuses_everybody(403, "without the plugin").await;
        cluster.kubernetes.apply_file("wasmplugin.yaml");
        cluster.admits_in_time("callers are served").await;
        compare(cluster, "WasmPlugin");
    });
}

fn compare(cluster: &Cluster, kind: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("recorded/{kind}.json"));
    let seen = serde_json::to_string_pretty(&record(cluster)).unwrap() + "\n";
    if std::env::var_os("RECORD").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &seen).unwrap();
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    let mut lines = recorded.lines().zip(seen.lines()).enumerate();
    let different = lines.find(|(_, (recorded, seen))| recorded != seen);
    assert!(
        different.is_none() && recorded.len() == seen.len(),
        "istiod makes something else than {} says: {different:?}; `RECORD=1 make istio CASE=recording` writes it again",
        path.display(),
    );
}

/// Returns the listener, its routes, the clusters, the plugin and the labels that Envoy was given.
fn record(cluster: &Cluster) -> Value {
    let dump: Value = serde_json::from_str(&cluster.pod.admin(DUMP)).unwrap();
    let all = |kind: &str, list: &str, part: &str| -> Vec<Value> {
        let of_kind = items(&dump["configs"])
            .find(|one| one["@type"].as_str().unwrap().ends_with(&format!(".{kind}")));
        let listed = of_kind.map(|one| items(&one[list]).map(|one| one[part].clone()).collect());
        listed.unwrap_or_default()
    };
    let listener = items(&dump["configs"])
        .flat_map(|one| items(&one["dynamic_listeners"]))
        .map(|one| &one["active_state"]["listener"])
        .find(|one| one["name"].as_str().is_some_and(|name| name.contains("443")));
    let routes = all("RoutesConfigDump", "dynamic_route_configs", "route_config").into_iter();
    let clusters = all("ClustersConfigDump", "dynamic_active_clusters", "cluster").into_iter();
    let ours = [
        "login.microsoftonline.com",
        "imds.internal",
        "openai.internal",
        "my-openai.openai.azure.com",
        "models.example.com",
    ];
    let is_ours = |one: &Value| {
        ours.iter().any(|host| one["name"].as_str().unwrap().ends_with(&format!("||{host}")))
    };
    let listener = listener.expect("a listener on port 443");
    // Envoy keeps those that no listener refers to any longer.
    let is_used = |one: &Value| listener.to_string().contains(&one["name"].to_string());
    let extensions = all("EcdsConfigDump", "ecds_filters", "ecds_filter").into_iter();
    let bootstrap = items(&dump["configs"]).find_map(|one| one.get("bootstrap")).unwrap();
    tidy(json!({
        "listener": listener,
        "routes": routes.filter(|one| one["name"] != "stats" && one.to_string().contains("openai.internal")).collect::<Value>(),
        "clusters": clusters.filter(is_ours).collect::<Value>(),
        "extensions": extensions.filter(is_used).collect::<Value>(),
        "stats_tags": labels(bootstrap),
    }))
}

/// The labels that the gateway's own values ask for.
fn labels(bootstrap: &Value) -> Value {
    let tags = items(&bootstrap["stats_config"]["stats_tags"]);
    tags.filter(|tag| tag["regex"].as_str().is_some_and(|regex| regex.ends_with(r"=\.=(.*?);\.;)")))
        .cloned()
        .collect()
}

/// Takes away what differs from run to run.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(name, _)| !FLEETING.contains(&name.as_str()));
            let mut kept: Map<_, _> = kept.map(|(name, value)| (name, tidy(value))).collect();
            if let Some(file) = kept.get_mut("filename") {
                *file = "keyless.wasm".into();
            }
            if let Some(version) = kept.get_mut("ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION") {
                *version = "1".into();
            }
            kept.sort_keys();
            Value::Object(kept)
        }
        Value::Array(items) => items.into_iter().map(tidy).collect(),
        other => other,
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
