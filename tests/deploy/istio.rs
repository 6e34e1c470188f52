//! The files of `istio/` against Istio's schemas, against `envoy.yaml` and against each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use keyless_core::config::Config;
use serde_json::{Value, json};

use crate::schema::{closed, misfit};
use crate::{documents, items};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const GATEWAY: &str = "openai-gateway";

/// Istio's own schemas, which lie beside this repository on the machines of its developers.
fn schemas() -> Option<Vec<Value>> {
    let file = Path::new(ROOT).join("../shared/istio/schemas.yaml");
    fs::read_to_string(file).ok().map(|text| documents(&text))
}

/// The name and the text of each YAML file.
fn files() -> Vec<(String, String)> {
    let files = fs::read_dir(Path::new(ROOT).join("istio")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    yaml.map(|path| (name(&path), fs::read_to_string(path).unwrap())).collect()
}

/// Every resource of Kubernetes in the files.
fn resources() -> Vec<Value> {
    let all = files().into_iter().flat_map(|(_, text)| documents(&text));
    all.filter(|one| one.get("kind").is_some()).collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    resources().into_iter().filter(|one| one["kind"] == kind).collect()
}

fn only(kind: &str) -> Value {
    let [one] = of_kind(kind).try_into().expect("one resource of the kind");
    one
}

fn file(name: &str) -> Vec<Value> {
    documents(&fs::read_to_string(Path::new(ROOT).join(name)).unwrap())
}

fn plugin_configuration() -> Value {
    only("TrafficExtension")["spec"]["wasm"]["pluginConfig"].clone()
}

/// What `envoy.yaml` has at a place below its listener's connection manager.
fn shipped(pointer: &str) -> Value {
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let found = file("envoy.yaml")[0].pointer(&format!("{manager}{pointer}")).cloned();
    found.unwrap_or_else(|| panic!("envoy.yaml has no {pointer}"))
}

/// What `guard.yaml` puts in, by what it is applied to.
fn patch(apply_to: &str) -> Value {
    let guard = only("EnvoyFilter");
    let mut found = items(&guard["spec"]["configPatches"]).filter(|one| one["applyTo"] == apply_to);
    found.next().unwrap()["patch"]["value"].clone()
}

fn host(entry: &Value) -> &str {
    entry["spec"]["hosts"][0].as_str().unwrap()
}

fn texts(list: &Value) -> BTreeSet<&str> {
    items(list).map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn every_resource_fits_istios_schema() {
    let Some(schemas) = schemas() else {
        eprintln!("Istio's schemas are not on this machine: nothing was compared with them");
        return;
    };
    for resource in resources() {
        let mut schemas = schemas.iter();
        let schema = schemas.find(|schema| schema["kind"] == resource["kind"]).unwrap();
        let (group, version) = (&schema["group"], &schema["version"]);
        let api = format!("{}/{}", group.as_str().unwrap(), version.as_str().unwrap());
        assert_eq!(resource["apiVersion"], api);
        let spec = closed(&schema["schema"]["properties"]["spec"]);
        let found = misfit(spec.clone(), &resource["spec"]);
        assert_eq!(found, None, "{} {}", resource["kind"], resource["metadata"]["name"]);
        let mut surprise = resource["spec"].clone();
        surprise["failPolicy"] = json!("FAIL_RELOAD");
        assert!(misfit(spec, &surprise).is_some(), "the schema refuses nothing");
    }
}

#[test]
fn all_resources_are_of_one_gateway() {
    for resource in resources() {
        assert_eq!(resource["metadata"]["namespace"], GATEWAY, "{resource}");
        let selected = ["/selector/matchLabels", "/selector", "/workloadSelector/labels"];
        let spec = &resource["spec"];
        let labels = selected.iter().find_map(|pointer| spec.pointer(pointer)?.get("istio"));
        let exported = spec.get("exportTo").map(texts);
        assert!(
            labels.is_some_and(|label| label == GATEWAY) || exported == Some(["."].into()),
            "{resource}"
        );
    }
}

#[test]
fn both_forms_load_the_same_module_with_the_same_configuration() {
    let (plugin, extension) = (only("WasmPlugin"), only("TrafficExtension"));
    let mut spec = extension["spec"].clone();
    let module = spec.as_object_mut().unwrap().remove("wasm").unwrap();
    spec.as_object_mut().unwrap().extend(module.as_object().unwrap().clone());
    assert_eq!(plugin["spec"], spec);
    assert_eq!(spec["phase"], "AUTHZ", "after RequestAuthentication");
    assert_eq!(spec["failStrategy"], "FAIL_RELOAD", "never open");
}

#[test]
fn the_configuration_is_that_of_the_shipped_file_but_for_the_clusters_and_the_identity() {
    let text = shipped("/http_filters/0/typed_config/config/configuration/value");
    let mut expected: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    let found = plugin_configuration();
    for pointer in ["/issuers/0/jwks", "/identities/openai/imds"] {
        *expected.pointer_mut(pointer).unwrap() = found.pointer(pointer).unwrap().clone();
    }
    assert_eq!(found, expected);
    Config::parse(found.to_string().as_bytes()).unwrap();
}

#[test]
fn every_cluster_that_keyless_calls_is_there_and_the_guard_refers_to_it() {
    let entries = of_kind("ServiceEntry");
    let cluster = |entry: &Value| {
        format!("outbound|{}||{}", entry["spec"]["ports"][0]["number"], host(entry))
    };
    let configuration = plugin_configuration();
    let guard = only("EnvoyFilter");
    let referenced = &guard["metadata"]["annotations"]["envoyfilter.istio.io/referenced-services"];
    let mut referenced: BTreeSet<&str> = referenced.as_str().unwrap().split(',').collect();
    for pointer in ["/issuers/0/jwks/cluster", "/identities/openai/imds/cluster"] {
        let expected = configuration.pointer(pointer).unwrap();
        let entry = entries.iter().find(|entry| cluster(entry) == *expected);
        let host = host(entry.unwrap_or_else(|| panic!("no ServiceEntry makes {expected}")));
        assert!(referenced.remove(host), "{host}");
    }
    assert!(referenced.is_empty(), "{referenced:?}");
}

#[test]
fn each_way_out_has_its_rule_and_port_443_its_names() {
    let (entries, rules) = (of_kind("ServiceEntry"), of_kind("DestinationRule"));
    assert_eq!(entries.len(), rules.len());
    for entry in entries {
        let mut rules = rules.iter().filter(|rule| rule["spec"]["host"] == host(&entry));
        let tls = &rules.next().unwrap()["spec"]["trafficPolicy"]["tls"];
        if entry["spec"]["ports"][0]["number"] == 80 {
            assert_eq!(*tls, json!({ "mode": "DISABLE" }));
            assert_eq!(entry["spec"]["endpoints"], json!([{ "address": "169.254.169.254" }]));
            continue;
        }
        let endpoints = items(entry["spec"].get("endpoints").unwrap_or(&Value::Null));
        let mut names: BTreeSet<_> =
            endpoints.map(|one| one["address"].as_str().unwrap()).collect();
        if names.is_empty() {
            names.insert(host(&entry));
        }
        assert_eq!(tls["mode"], "SIMPLE");
        assert_eq!(texts(&tls["subjectAltNames"]), names);
        assert!(names.contains(tls["sni"].as_str().unwrap()));
    }
}

#[test]
fn callers_are_led_to_a_service_that_is_there() {
    let routes = only("VirtualService")["spec"]["http"].clone();
    let destination = &items(&routes).last().unwrap()["route"][0]["destination"];
    let entries = of_kind("ServiceEntry");
    let entry = entries.iter().find(|entry| host(entry) == destination["host"]).unwrap();
    assert_eq!(destination["port"]["number"], entry["spec"]["ports"][0]["number"]);
    let unwanted = shipped("/route_config/virtual_hosts/0/request_headers_to_remove");
    for rule in items(&routes).filter(|rule| rule.get("route").is_some()) {
        let removed = &rule["headers"]["request"]["remove"];
        assert!(texts(removed).is_superset(&texts(&unwanted)), "{rule}");
    }
}

#[test]
fn the_guard_is_that_of_the_shipped_file() {
    assert_eq!(patch("HTTP_FILTER")["typed_config"], shipped("/http_filters/1/typed_config"));
    let manager = patch("NETWORK_FILTER")["typed_config"].clone();
    let shipped = shipped("");
    for (name, value) in manager.as_object().unwrap() {
        match value.as_object() {
            Some(part) => part.iter().for_each(|(key, value)| {
                assert_eq!(shipped[name][key], *value, "{name}.{key}");
            }),
            None => assert_eq!(shipped[name], *value, "{name}"),
        }
    }
}

#[test]
fn the_gateways_token_goes_only_to_a_host_that_proves_its_name() {
    let patched = patch("CLUSTER")["transport_socket"].clone();
    let envoy = file("envoy.yaml").remove(0);
    let mut clusters = items(&envoy["static_resources"]["clusters"]);
    let openai = clusters.find(|one| one["name"] == "openai_provisioned").unwrap();
    let openai = &openai["transport_socket"];
    assert_eq!(patched["name"], openai["name"]);
    for (name, value) in patched["typed_config"].as_object().unwrap() {
        assert_eq!(openai["typed_config"][name], *value, "{name}");
    }
}

#[test]
fn nothing_stands_beside_a_transport_socket_where_istiod_would_drop_it() {
    for name in ["istio/guard.yaml", "istio/gateway-api/guard.yaml"] {
        let guard = file(name).remove(0);
        let patches = items(&guard["spec"]["configPatches"]);
        let values =
            patches.filter(|one| one["applyTo"] == "CLUSTER").map(|one| &one["patch"]["value"]);
        let sizes: Vec<_> = values.map(|value| value.as_object().unwrap().len()).collect();
        assert_eq!(sizes, [1, 1], "{name}");
    }
}

#[test]
fn the_gateway_api_has_the_same_plugin_guard_and_log() {
    let spec = |name: &str| {
        let mut spec = file(name)[0]["spec"].clone();
        let members = spec.as_object_mut().unwrap();
        for selected in ["selector", "workloadSelector", "targetRefs"] {
            members.remove(selected);
        }
        spec
    };
    for name in ["trafficextension.yaml", "telemetry.yaml"] {
        assert_eq!(spec(&format!("istio/{name}")), spec(&format!("istio/gateway-api/{name}")));
    }
    let (guard, api) = (spec("istio/guard.yaml"), spec("istio/gateway-api/guard.yaml"));
    let others = items(&guard["configPatches"]).filter(|patch| patch["applyTo"] != "HTTP_ROUTE");
    for patch in others {
        assert!(items(&api["configPatches"]).any(|one| one == patch), "{patch}");
    }
}

#[test]
fn the_log_and_the_labels_are_those_of_the_shipped_file() {
    let mesh = &file("istio/mesh.yaml")[0]["meshConfig"];
    let provider = &mesh["extensionProviders"][0];
    let format = shipped("/access_log/0/typed_config/log_format/json_format");
    assert_eq!(provider["envoyFileAccessLog"]["logFormat"]["labels"], format);
    let used = &only("Telemetry")["spec"]["accessLogging"][0]["providers"][0]["name"];
    assert_eq!(*used, provider["name"]);
    let envoy = file("envoy.yaml").remove(0);
    let tags = items(&envoy["stats_config"]["stats_tags"]);
    let tags: BTreeSet<_> = tags.map(|tag| tag["tag_name"].as_str().unwrap()).collect();
    let values = &file("istio/gateway-values.yaml")[0];
    let proxy = values["podAnnotations"]["proxy.istio.io/config"].as_str().unwrap();
    assert_eq!(texts(&documents(proxy)[0]["extraStatTags"]), tags);
}

#[test]
fn the_guide_names_every_file() {
    let guide = fs::read_to_string(Path::new(ROOT).join("istio/README.md")).unwrap();
    let files: BTreeSet<_> = files().into_iter().map(|(name, _)| name).collect();
    let links = guide.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let linked: BTreeSet<_> = links.filter(|link| !link.contains('/')).map(str::to_owned).collect();
    assert_eq!(linked, files);
}
