//! What istiod made of the files in `istio/`, as `make istio` has recorded it from a real one, led to
//! a plain-text listener on this machine.

use gateway::Blueprint;
use serde_json::{Value, json};

/// Holds a recording, by the kind of the resource that loads keyless.
#[derive(Debug)]
pub(crate) struct Recording(Value);

impl Recording {
    /// Reads the recording of a `TrafficExtension` or a `WasmPlugin`.
    pub(crate) fn of(kind: &str) -> Self {
        let text = match kind {
            "TrafficExtension" => include_str!("../../tests/istio/recorded/TrafficExtension.json"),
            "WasmPlugin" => include_str!("../../tests/istio/recorded/WasmPlugin.json"),
            other => panic!("nothing is recorded of a {other}"),
        };
        Self(serde_json::from_str(text).unwrap())
    }

    /// Returns a blueprint whose Envoy runs on the recording, and on no other machine's.
    pub(crate) fn blueprint(&self) -> Blueprint {
        let bootstrap = json!({
            "admin": { "address": {} },
            "static_resources": { "listeners": [self.listener()], "clusters": self.clusters() },
            "stats_config": { "stats_tags": self.0["stats_tags"] },
        });
        let bootstrap = serde_yaml_ng::to_value(bootstrap).unwrap();
        Blueprint::shipped().edit(|shipped| *shipped = bootstrap)
    }

    /// The listener without TLS, with what istiod gives by RDS and ECDS written into it.
    fn listener(&self) -> Value {
        let mut listener = self.0["listener"].clone();
        let members = listener.as_object_mut().unwrap();
        members.remove("@type");
        members.remove("listener_filters"); // they look into TLS
        let chain = &mut listener["filter_chains"][0];
        for name in ["filter_chain_match", "transport_socket", "transport_socket_connect_timeout"] {
            chain.as_object_mut().unwrap().remove(name);
        }
        let manager = &mut chain["filters"][0]["typed_config"];
        manager.as_object_mut().unwrap().remove("rds");
        manager["route_config"] = self.routes();
        manager["scheme_header_transformation"] = json!({ "scheme_to_overwrite": "https" });
        for filter in manager["http_filters"].as_array_mut().unwrap() {
            if filter.get("config_discovery").is_some() {
                *filter = self.extension(&filter["name"]);
            }
        }
        listener
    }

    /// The routes, for whatever name the callers use.
    fn routes(&self) -> Value {
        let mut routes = self.0["routes"][0].clone();
        routes.as_object_mut().unwrap().remove("@type");
        routes["virtual_hosts"][0]["domains"] = json!(["*"]);
        routes
    }

    fn extension(&self, name: &Value) -> Value {
        let mut extensions = items(&self.0["extensions"]);
        let mut extension = extensions.find(|one| one["name"] == *name).unwrap().clone();
        extension.as_object_mut().unwrap().remove("@type");
        extension
    }

    /// The clusters; those whose endpoints come by EDS have one.
    fn clusters(&self) -> Value {
        let led = |cluster: &Value| {
            let mut cluster = cluster.clone();
            let name = cluster["name"].clone();
            let members = cluster.as_object_mut().unwrap();
            members.remove("@type");
            if members.remove("eds_cluster_config").is_some() {
                let endpoint = json!({ "endpoint": { "address": { "socket_address": {} } } });
                cluster["load_assignment"] =
                    json!({ "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] });
            }
            cluster
        };
        items(&self.0["clusters"]).map(led).collect()
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
