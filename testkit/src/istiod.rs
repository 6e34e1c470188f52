//! What istiod makes of the files in `istio/`, as far as they go; read in Istio's source at 86c9f01f
//! (`pilot/pkg/networking/core`, `pilot/pkg/model/extensions.go`).

use gateway::Blueprint;
use serde_json::{Value, json};

/// Holds the resources of all files, by kind and name.
pub(super) struct Resources(Vec<Value>);

impl Resources {
    pub(crate) fn shipped() -> Self {
        let files = [
            include_str!("../../istio/gateway.yaml"),
            include_str!("../../istio/guard.yaml"),
            include_str!("../../istio/outside.yaml"),
            include_str!("../../istio/telemetry.yaml"),
            include_str!("../../istio/trafficextension.yaml"),
            include_str!("../../istio/wasmplugin.yaml"),
        ];
        Self(files.into_iter().flat_map(documents).collect())
    }

    pub(crate) fn named(&self, kind: &str, name: &str) -> &Value {
        let mut found =
            self.0.iter().filter(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.next().unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |one| one["kind"] == kind)
    }

    /// Returns the bootstrap of a gateway with this plugin configuration, as JSON text.
    pub(crate) fn bootstrap(&self, extension: &Value, configuration: &str) -> Value {
        let mut manager = self.connection_manager();
        manager["http_filters"].as_array_mut().unwrap().insert(0, plugin(extension, configuration));
        let mut bootstrap = json!({
            "admin": { "address": {} },
            "static_resources": {
                "listeners": [{ "name": "0.0.0.0_443", "address": {}, "filter_chains": [{ "filters": [
                    { "name": "envoy.filters.network.http_connection_manager", "typed_config": manager },
                ] }] }],
                "clusters": self.of_kind("ServiceEntry").map(|one| self.cluster(one)).collect::<Value>(),
            },
            "stats_config": { "stats_tags": stats_tags() },
        });
        for patch in
            self.of_kind("EnvoyFilter").flat_map(|one| items(&one["spec"]["configPatches"]))
        {
            apply(patch, &mut bootstrap);
        }
        bootstrap
    }

    fn connection_manager(&self) -> Value {
        let mesh = documents(include_str!("../../istio/mesh.yaml")).remove(0);
        let provider = &mesh["meshConfig"]["extensionProviders"][0];
        assert_eq!(
            self.named("Telemetry", "keyless")["spec"]["accessLogging"][0]["providers"][0]["name"],
            provider["name"],
        );
        let routes = items(&self.named("VirtualService", "openai")["spec"]["http"]).map(route);
        json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "outbound_0.0.0.0_443",
            "use_remote_address": true,
            "normalize_path": true,
            "stream_idle_timeout": "0s",
            "upgrade_configs": [{ "upgrade_type": "websocket" }],
            "access_log": [{ "name": "envoy.access_loggers.file", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": provider["envoyFileAccessLog"]["path"],
                "log_format": { "json_format": provider["envoyFileAccessLog"]["logFormat"]["labels"] },
            } }],
            "http_filters": [filter("cors", "cors.v3.Cors"), filter("router", "router.v3.Router")],
            "route_config": { "name": "https.443", "virtual_hosts": [
                { "name": "gateway", "domains": ["*"], "routes": routes.collect::<Value>() },
            ] },
        })
    }

    fn cluster(&self, entry: &Value) -> Value {
        let host = entry["spec"]["hosts"][0].as_str().unwrap();
        let rule = self.of_kind("DestinationRule").find(|one| one["spec"]["host"] == host);
        let policy = &rule.expect("a rule for each host")["spec"]["trafficPolicy"];
        let name = format!("outbound|{}||{host}", entry["spec"]["ports"][0]["number"]);
        let mut cluster = json!({
            "name": name,
            "type": if entry["spec"]["resolution"] == "STATIC" { "STATIC" } else { "STRICT_DNS" },
            "connect_timeout": "10s",
            "load_assignment": { "cluster_name": name, "endpoints": localities(entry, policy) },
        });
        if policy["tls"]["mode"] == "SIMPLE" {
            cluster["transport_socket"] =
                json!({ "name": "envoy.transport_sockets.tls", "typed_config": {} });
        }
        if let Some(outliers) = policy.get("outlierDetection") {
            cluster["common_lb_config"]["locality_weighted_lb_config"] = json!({});
            cluster["outlier_detection"] = json!({
                "consecutive_5xx": outliers["consecutive5xxErrors"],
                "interval": outliers["interval"],
                "base_ejection_time": outliers["baseEjectionTime"],
                "max_ejection_percent": outliers["maxEjectionPercent"],
            });
        }
        cluster
    }
}

/// Parts the endpoints of a service by `failoverPriority`: those with its label come first.
fn localities(entry: &Value, policy: &Value) -> Value {
    let first = &policy["loadBalancer"]["localityLbSetting"]["failoverPriority"][0];
    let (key, value) = first.as_str().and_then(|label| label.split_once('=')).unwrap_or_default();
    let port = &entry["spec"]["ports"][0]["number"];
    let host = json!({ "address": entry["spec"]["hosts"][0] });
    let endpoints =
        entry["spec"].get("endpoints").map_or(vec![&host], |some| items(some).collect());
    let (first, rest): (Vec<&Value>, Vec<&Value>) =
        endpoints.into_iter().partition(|one| key.is_empty() || one["labels"][key] == value);
    let locality = |(priority, endpoints): (usize, Vec<&Value>)| {
        assert!(endpoints.iter().all(|one| one.get("locality").is_none()), "istiod would panic");
        let weights: u64 = endpoints.iter().map(|one| weight(one)).sum();
        let lb_endpoints = endpoints.iter().map(|one| {
            let address = json!({ "address": one["address"], "port_value": port });
            json!({ "endpoint": { "address": { "socket_address": address } },
                "load_balancing_weight": weight(one) })
        });
        json!({ "priority": priority, "load_balancing_weight": weights,
            "lb_endpoints": lb_endpoints.collect::<Value>() })
    };
    let parts = [first, rest].into_iter().filter(|part| !part.is_empty());
    parts.enumerate().map(locality).collect()
}

fn weight(endpoint: &Value) -> u64 {
    endpoint["weight"].as_u64().unwrap_or(1)
}

/// Translates `extraStatTags` as Istio's bootstrap does (`envoy_bootstrap.json`).
fn stats_tags() -> Value {
    let mesh = documents(include_str!("../../istio/mesh.yaml")).remove(0);
    let tag = |name: &Value| {
        let regex = format!(r"({}=\.=(.*?);\.;)", name.as_str().unwrap());
        json!({ "tag_name": name, "regex": regex })
    };
    items(&mesh["meshConfig"]["defaultConfig"]["extraStatTags"]).map(tag).collect()
}

/// Translates a rule of a `VirtualService`.
fn route(rule: &Value) -> Value {
    let uri = |kind: &str| rule.pointer(&format!("/match/0/uri/{kind}"));
    let found = match (uri("exact"), uri("prefix")) {
        (Some(path), _) => json!({ "path": path }),
        (None, Some(prefix)) => json!({ "prefix": prefix }),
        (None, None) => json!({ "prefix": "/" }),
    };
    if let Some(answer) = rule.get("directResponse") {
        let body = json!({ "inline_string": answer["body"]["string"] });
        let answer = json!({ "status": answer["status"], "body": body });
        return json!({ "name": rule["name"], "match": found, "direct_response": answer });
    }
    let destination = &rule["route"][0]["destination"];
    let cluster = format!(
        "outbound|{}||{}",
        destination["port"]["number"],
        destination["host"].as_str().unwrap()
    );
    let mut action =
        json!({ "cluster": cluster, "timeout": "0s", "retry_policy": retries(&rule["retries"]) });
    if let Some(rewrite) = rule.get("rewrite") {
        action["prefix_rewrite"] = rewrite["uri"].clone();
        action["host_rewrite_literal"] = rewrite["authority"].clone();
    }
    let removed = &rule["headers"]["request"]["remove"];
    json!({ "name": rule["name"], "match": found, "route": action,
        "request_headers_to_remove": removed })
}

fn retries(rule: &Value) -> Value {
    let on = rule["retryOn"].as_str().unwrap().split(',');
    let (statuses, mut on): (Vec<&str>, Vec<&str>) = on.partition(|one| one.parse::<u16>().is_ok());
    on.push("retriable-status-codes");
    let statuses: Vec<u16> = statuses.iter().map(|status| status.parse().unwrap()).collect();
    let mut policy = json!({
        "num_retries": rule["attempts"],
        "retry_on": on.join(","),
        "retriable_status_codes": statuses,
        "host_selection_retry_max_attempts": 5,
        "retry_host_predicate": [{ "name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
        } }],
    });
    if rule["retryRemoteLocalities"] == true {
        policy["retry_priority"] = json!({ "name": "envoy.retry_priorities.previous_priorities", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 2,
        } });
    }
    policy
}

/// Translates a `TrafficExtension`, or a `WasmPlugin`, of which Istio makes one.
fn plugin(extension: &Value, configuration: &str) -> Value {
    let spec = module_of(extension);
    assert_eq!(extension["spec"]["phase"], "AUTHN", "it stands before CORS");
    json!({ "name": "openai-gateway.keyless", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": "openai-gateway.keyless",
            "root_id": spec["pluginName"],
            "failure_policy": spec["failStrategy"],
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": configuration,
            },
            // Istio sets no `vm_id`; the file is the one that its agent has fetched.
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": { "filename": "keyless.wasm" } },
                "environment_variables": { "key_values": { "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "1" } },
            },
        },
    } })
}

/// Returns what says which module runs with which configuration.
pub fn module_of(extension: &Value) -> &Value {
    extension["spec"].get("wasm").unwrap_or(&extension["spec"])
}

fn filter(name: &str, kind: &str) -> Value {
    let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
    json!({ "name": format!("envoy.filters.http.{name}"), "typed_config": { "@type": kind } })
}

/// Applies a patch of an `EnvoyFilter`; it must find what it is meant for.
fn apply(patch: &Value, bootstrap: &mut Value) {
    let (matched, value) = (&patch["match"], &patch["patch"]["value"]);
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0";
    match (patch["applyTo"].as_str().unwrap(), patch["patch"]["operation"].as_str().unwrap()) {
        ("HTTP_FILTER", "INSERT_BEFORE") => {
            let pointer = format!("{manager}/typed_config/http_filters");
            let filters = bootstrap.pointer_mut(&pointer).unwrap().as_array_mut().unwrap();
            let next = &matched["listener"]["filterChain"]["filter"]["subFilter"]["name"];
            let at = filters.iter().position(|filter| filter["name"] == *next).unwrap();
            filters.insert(at, value.clone());
        }
        ("NETWORK_FILTER", "MERGE") => {
            let filter = bootstrap.pointer_mut(manager).unwrap();
            assert_eq!(filter["name"], matched["listener"]["filterChain"]["filter"]["name"]);
            merge(filter, value);
        }
        ("HTTP_ROUTE", "MERGE") => {
            let pointer = format!("{manager}/typed_config/route_config/virtual_hosts/0/routes");
            let name = &matched["routeConfiguration"]["vhost"]["route"]["name"];
            let routes = bootstrap.pointer_mut(&pointer).unwrap().as_array_mut().unwrap();
            merge(routes.iter_mut().find(|route| route["name"] == *name).unwrap(), value);
        }
        ("CLUSTER", "MERGE") => {
            let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().unwrap();
            let host = format!("||{}", matched["cluster"]["service"].as_str().unwrap());
            let is_it = |one: &&mut Value| one["name"].as_str().unwrap().ends_with(&host);
            merge(clusters.iter_mut().find(is_it).unwrap(), value);
        }
        other => panic!("istiod's {other:?} is not played here"),
    }
}

/// Merges as protobuf does: tables member by member, lists one after the other.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}

/// Writes a protobuf `Struct` as JSON: its numbers are doubles, and large ones may have an exponent.
pub fn struct_as_json(value: &Value) -> String {
    match value {
        Value::Number(number) => {
            let text = format!("{:e}", number.as_f64().unwrap());
            text.replace('e', "e+").replace("e+-", "e-")
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(struct_as_json).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}:{}", Value::from(name.as_str()), struct_as_json(value))
            };
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
    }
}

/// Puts another bootstrap into a blueprint.
pub fn replace(blueprint: Blueprint, bootstrap: &Value) -> Blueprint {
    blueprint.edit(|shipped| *shipped = serde_yaml_ng::to_value(bootstrap).unwrap())
}

fn documents(yaml: &str) -> Vec<Value> {
    use serde::Deserialize;
    let documents = serde_yaml_ng::Deserializer::from_str(yaml);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
