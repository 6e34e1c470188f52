use serde_yaml_ng::{Mapping, Value};

use super::{
    Blueprint, BlueprintError, Host, SHIPPED, clusters, connection_manager, endpoints,
    has_endpoints, list, module, plugin,
};

/// The clusters of the file, each as often as it has endpoints.
const ENDPOINTS: [&str; 7] = [
    "entra",
    "imds",
    "openai_provisioned",
    "openai_pay_as_you_go",
    "openai_pay_as_you_go",
    "openai_single",
    "on_prem",
];

fn local() -> Blueprint {
    ENDPOINTS.iter().zip(4001..).fold(Blueprint::shipped(), |blueprint, (cluster, port)| {
        blueprint.endpoint(cluster, ([127, 0, 0, 1], port).into())
    })
}

fn derived(blueprint: &Blueprint) -> Value {
    serde_yaml_ng::from_str(&blueprint.yaml().unwrap()).unwrap()
}

fn shipped() -> Value {
    serde_yaml_ng::from_str(SHIPPED).unwrap()
}

#[test]
fn each_shipped_cluster_must_be_swapped() {
    for name in ENDPOINTS {
        let mut blueprint = local();
        blueprint.endpoints.remove(name);
        let expected = ENDPOINTS.iter().filter(|other| **other == name).count();
        let error = BlueprintError::Endpoints { cluster: name.into(), expected, given: 0 };
        assert_eq!(blueprint.yaml(), Err(error));
    }
}

#[test]
fn a_cluster_with_more_addresses_than_endpoints_is_refused() {
    let blueprint = local().endpoint("imds", ([127, 0, 0, 1], 5000).into());
    let error = BlueprintError::Endpoints { cluster: "imds".into(), expected: 1, given: 2 };
    assert_eq!(blueprint.yaml(), Err(error));
}

#[test]
fn an_endpoint_for_an_unknown_cluster_is_refused() {
    let blueprint = local().endpoint("partner", ([127, 0, 0, 1], 5000).into());
    assert_eq!(blueprint.yaml(), Err(BlueprintError::UnknownCluster("partner".into())));
}

#[test]
fn all_addresses_are_on_loopback() {
    let yaml = local().yaml().unwrap();
    let addresses: Vec<&str> =
        yaml.lines().filter_map(|line| line.trim().strip_prefix("address: ")).collect();
    let expected = ["127.0.0.1"; 2 + ENDPOINTS.len()];
    assert_eq!(addresses, expected, "the administration, the listener and the endpoints");
}

#[test]
fn the_connection_manager_differs_in_the_path_of_the_module_alone() {
    let (mut derived, mut shipped) = (derived(&local()), shipped());
    assert!(module(&mut derived).as_str().unwrap().starts_with('/'));
    *module(&mut derived) = module(&mut shipped).clone();
    assert_eq!(connection_manager(&mut derived), connection_manager(&mut shipped));
}

#[test]
fn a_cluster_differs_in_endpoints_and_transport_alone() {
    let transport =
        ["type", "load_assignment", "transport_socket", "typed_extension_protocol_options"];
    let rest = |mut bootstrap: Value| -> Vec<Value> {
        for cluster in clusters(&mut bootstrap) {
            cluster
                .as_mapping_mut()
                .unwrap()
                .retain(|key, _| !transport.contains(&key.as_str().unwrap()));
        }
        clusters(&mut bootstrap).clone()
    };
    assert_eq!(rest(derived(&local())), rest(shipped()));
}

#[test]
fn no_local_cluster_uses_tls_or_dns() {
    let mut bootstrap = derived(&local());
    for cluster in clusters(&mut bootstrap).iter().filter(|cluster| has_endpoints(cluster)) {
        assert_eq!(cluster["type"], "STATIC");
        assert!(cluster.get("transport_socket").is_none());
    }
}

#[test]
fn a_cluster_may_keep_its_tls_and_trust_somebody_else() {
    let mut expected = shipped();
    let mut bootstrap = derived(&local().tls("openai_provisioned", "PEM"));
    for name in ENDPOINTS {
        let of = |bootstrap: &mut Value| {
            let mut clusters = clusters(bootstrap).iter().filter(|one| one["name"] == name);
            clusters.next().unwrap().get("transport_socket").cloned()
        };
        let mut expected = of(&mut expected).filter(|_| name == "openai_provisioned");
        if let Some(socket) = &mut expected {
            let context = &mut socket["typed_config"]["common_tls_context"];
            let authority = &mut context["validation_context"]["trusted_ca"];
            authority.as_mapping_mut().unwrap().remove("filename").unwrap();
            authority["inline_string"] = "PEM".into();
        }
        assert_eq!(of(&mut bootstrap), expected, "{name}");
    }
}

#[test]
fn the_backend_is_still_told_its_shipped_name() {
    let mut bootstrap = derived(&local());
    let mut clusters = clusters(&mut bootstrap).iter();
    let openai = clusters.find(|one| one["name"] == "openai_provisioned").unwrap();
    let endpoint = &openai["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    assert_eq!(endpoint["hostname"], "my-openai.openai.azure.com");
    assert_eq!(endpoint["address"]["socket_address"]["port_value"], 4003);
}

#[test]
fn an_edit_of_the_plugin_reaches_its_json() {
    let blueprint = local().plugin(|plugin| plugin["issuers"][0]["name"] = "other".into());
    let mut bootstrap = derived(&blueprint);
    let text = plugin(&mut bootstrap)["configuration"]["value"].as_str().unwrap();
    let configuration: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(configuration["issuers"][0]["name"], "other");
    assert_eq!(configuration["issuers"][0]["jwks"]["cluster"], "entra");
}

#[test]
fn capabilities_are_listed_by_name() {
    let mut bootstrap = derived(&local().capabilities(&["proxy_log", "random_get"]));
    let allowed = &plugin(&mut bootstrap)["capability_restriction_config"]["allowed_capabilities"];
    let names: Vec<_> = allowed.as_mapping().unwrap().keys().filter_map(Value::as_str).collect();
    assert_eq!(names, ["proxy_log", "random_get"]);
    assert_eq!(allowed["proxy_log"].as_mapping().map(Mapping::len), Some(0));
}

#[test]
fn an_added_cluster_leads_to_its_address() {
    let blueprint = local().cluster("partner", ([127, 0, 0, 1], 4004).into());
    let mut bootstrap = derived(&blueprint);
    let partner = clusters(&mut bootstrap).last_mut().unwrap();
    assert_eq!(partner["name"], "partner");
    let lb_endpoint = &list(&mut partner["load_assignment"]["endpoints"])[0]["lb_endpoints"][0];
    assert_eq!(lb_endpoint["endpoint"]["address"]["socket_address"]["port_value"], 4004);
}

#[test]
fn the_shipped_file_guards_behind_the_filter() {
    let mut bootstrap = shipped();
    let filters = connection_manager(&mut bootstrap)["http_filters"].as_sequence().unwrap();
    let names: Vec<&str> = filters.iter().filter_map(|filter| filter["name"].as_str()).collect();
    let expected =
        ["envoy.filters.http.wasm", "envoy.filters.http.rbac", "envoy.filters.http.router"];
    assert_eq!(names, expected);
    assert_eq!(plugin(&mut bootstrap)["failure_policy"], "FAIL_RELOAD");
}

#[test]
fn containers_find_the_world_by_name_and_in_plain_text() {
    let mut bootstrap: Value =
        serde_yaml_ng::from_str(&Blueprint::shipped().for_containers(Host::Wasm)).unwrap();
    assert_eq!(module(&mut bootstrap).as_str(), Some("/etc/envoy/keyless.wasm"));
    for cluster in clusters(&mut bootstrap).iter_mut().filter(|cluster| has_endpoints(cluster)) {
        assert_eq!(cluster["type"], "STRICT_DNS");
        assert!(cluster.get("transport_socket").is_none());
        for endpoint in endpoints(cluster) {
            assert_eq!(endpoint["address"]["socket_address"]["address"], "local-azure");
        }
    }
    let listener = &bootstrap["static_resources"]["listeners"][0]["address"]["socket_address"];
    assert_eq!(listener["address"], "0.0.0.0", "as shipped: a container's port is published");
}
