//! The dynamic module in the place of the Wasm filter, with the same configuration.

use serde_yaml_ng::Value;

use super::{HTTP_PROTOCOL_OPTIONS, WASM, clusters, connection_manager, list, table};

const DYNAMIC: &str =
    "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
const PROTOCOL_OPTIONS: &str =
    "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const HEADER_MUTATION: &str =
    "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
const UPSTREAM_CODEC: &str =
    "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";

/// The name by which Envoy finds the object in its search path: without `lib` and `.so`.
const NAME: &str = "keyless_dynamic_module";

/// Replaces each Wasm filter, and changes what the dynamic module wants otherwise.
pub(super) fn take_the_place(bootstrap: &mut Value) {
    bootstrap["layered_runtime"] = runtime();
    let called = replace_filters(connection_manager(bootstrap));
    let is_called =
        |cluster: &&mut Value| called.iter().any(|name| cluster["name"].as_str() == Some(name));
    clusters(bootstrap).iter_mut().filter(is_called).for_each(hide_forwarding);
}

/// Replaces each Wasm filter of this `HttpConnectionManager`, and returns the clusters that keyless
/// calls.
fn replace_filters(manager: &mut Value) -> Vec<String> {
    let mut called = Vec::new();
    for filter in list(&mut manager["http_filters"]) {
        if filter["typed_config"]["@type"] != WASM {
            continue;
        }
        let configuration = filter["typed_config"]["config"]["configuration"].clone();
        let value = &configuration["value"];
        let text = value.as_str().map(|text| serde_yaml_ng::from_str(text).unwrap_or_default());
        collect(text.as_ref().unwrap_or(value), &mut called);
        *filter = yaml(&serde_json::json!({
            "name": "envoy.filters.http.dynamic_modules",
            "typed_config": {
                "@type": DYNAMIC,
                "dynamic_module_config": { "name": NAME, "do_not_close": true },
                "filter_name": "keyless",
            },
        }));
        filter["typed_config"]["filter_config"] = configuration;
    }
    called
}

/// Has Envoy show the metrics by their own names, as it does those of Wasm filters.
fn runtime() -> Value {
    let feature = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";
    let layer = serde_json::json!({ "name": "keyless", "static_layer": { feature: true } });
    yaml(&serde_json::json!({ "layers": [layer] }))
}

/// Removes from calls to this cluster what Envoy adds to those of dynamic modules: the metadata
/// service answers no request that looks forwarded.
fn hide_forwarding(cluster: &mut Value) {
    let extensions = &mut cluster["typed_extension_protocol_options"];
    let options = &mut extensions[HTTP_PROTOCOL_OPTIONS];
    if options.is_null() {
        *options = yaml(&serde_json::json!({
            "@type": PROTOCOL_OPTIONS,
            "explicit_http_config": { "http_protocol_options": {} },
        }));
    }
    let filters = serde_json::json!([
        {
            "name": "envoy.filters.http.header_mutation",
            "typed_config": {
                "@type": HEADER_MUTATION,
                "mutations": { "request_mutations": [
                    { "remove": "x-forwarded-for" }, { "remove": "x-envoy-internal" },
                ] },
            },
        },
        {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": { "@type": UPSTREAM_CODEC },
        },
    ]);
    table(options).insert("http_filters".into(), yaml(&filters));
}

/// Collects the names of clusters in keyless's configuration.
fn collect(value: &Value, names: &mut Vec<String>) {
    let is_cluster = |key: &Value| key.as_str().is_some_and(|key| key.ends_with("cluster"));
    for (key, member) in value.as_mapping().into_iter().flatten() {
        names.extend(member.as_str().filter(|_| is_cluster(key)).map(str::to_owned));
        collect(member, names);
    }
    value.as_sequence().into_iter().flatten().for_each(|item| collect(item, names));
}

fn yaml(value: &serde_json::Value) -> Value {
    serde_yaml_ng::to_value(value).expect("JSON is YAML")
}
