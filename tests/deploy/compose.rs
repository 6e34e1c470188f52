//! `compose.yaml` against the Compose Specification and against what it starts.

use std::collections::BTreeSet;

use gateway::{Blueprint, Host};
use serde_json::{Value, json};

use crate::image::stages;
use crate::schema::misfit;
use crate::{documents, items};

const COMPOSE: &str = include_str!("../../compose.yaml");
const DOCKERIGNORE: &str = include_str!("../../.dockerignore");
const MANIFEST: &str = include_str!("../../Cargo.toml");
const MAKEFILE: &str = include_str!("../../Makefile");
const PAGE: &str = include_str!("../../docs/install-docker.md");
const SCHEMA: &str = include_str!("data/compose-spec.json");
const TOOLCHAIN: &str = include_str!("../../rust-toolchain.toml");

fn compose() -> Value {
    documents(COMPOSE).remove(0)
}

/// The ports of this machine that a service takes, and where in the container they lead.
fn published(service: &str) -> Vec<(String, String)> {
    let compose = compose();
    let ports = items(&compose["services"][service]["ports"]);
    let sides = |port: &Value| {
        let (outside, inside) = port.as_str().unwrap().rsplit_once(':').unwrap();
        let outside = outside.strip_prefix("127.0.0.1:").expect("on loopback alone");
        (outside.to_owned(), inside.to_owned())
    };
    ports.map(sides).collect()
}

/// What stands behind a word of a text, up to white space.
fn after<'a>(text: &'a str, word: &str) -> &'a str {
    let rest = text.split_once(word).unwrap_or_else(|| panic!("no {word}")).1;
    rest.split_whitespace().next().unwrap().trim_matches('"')
}

#[test]
fn the_compose_file_fits_the_compose_specification() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(misfit(schema.clone(), &compose()), None);
    let mut wrong = compose();
    wrong["services"]["gateway"]["port"] = json!(["8080"]);
    assert!(misfit(schema, &wrong).is_some(), "the schema refuses nothing");
}

#[test]
fn each_service_is_built_by_a_stage_of_the_dockerfile() {
    let compose = compose();
    let stages = stages();
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["build"]["context"], ".");
        let target = service["build"]["target"].as_str();
        assert!(stages.iter().any(|stage| stage.name.as_deref() == target), "{name}");
    }
}

#[test]
fn the_versions_are_those_that_are_tested() {
    let images: BTreeSet<_> = stages().into_iter().map(|stage| stage.from).collect();
    let rust = format!("docker.io/library/rust:{}-bookworm", after(TOOLCHAIN, "channel = "));
    let envoy = format!("docker.io/envoyproxy/envoy:v{}", after(MAKEFILE, "ENVOY_VERSION ?= "));
    let debian = "docker.io/library/debian:bookworm-slim";
    let used: BTreeSet<_> = [debian, "scratch", &rust, &envoy].into();
    assert_eq!(images.iter().map(String::as_str).collect::<BTreeSet<_>>(), used);
}

#[test]
fn the_dockerfile_gets_every_manifest_of_the_workspace() {
    let allowed: Vec<_> = DOCKERIGNORE.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let (_, members) = MANIFEST.split_once("\nmembers = [").unwrap();
    for member in members.split(']').next().unwrap().split('"').skip(1).step_by(2) {
        let manifest = format!("{member}/Cargo.toml");
        assert!(allowed.contains(&member) || allowed.contains(&manifest.as_str()), "{manifest}");
    }
    for needed in ["Cargo.lock", "Cargo.toml", "build.rs", "link", "src"] {
        let needed = format!("dynamic-module/{needed}");
        assert!(allowed.contains(&needed.as_str()), "{needed}");
    }
}

#[test]
fn the_gateway_looks_for_its_world_where_local_azure_listens() {
    let compose = compose();
    let command: Vec<_> = items(&compose["services"]["local-azure"]["command"]).collect();
    let port_of = |name: &str| {
        let option = format!("--{name}-port");
        let at = command.iter().position(|word| **word == option).unwrap();
        command[at + 1].as_str().unwrap().parse::<u64>().unwrap()
    };
    let configuration = documents(&Blueprint::shipped().for_containers(Host::Wasm)).remove(0);
    let clusters = items(&configuration["static_resources"]["clusters"]);
    let mut led = BTreeSet::new();
    for cluster in clusters {
        if cluster.get("cluster_type").is_some() {
            continue; // it is made of others
        }
        let service = match cluster["name"].as_str().unwrap() {
            "entra" => "issuer",
            "openai_provisioned" | "openai_pay_as_you_go" | "openai_single" | "on_prem" => "openai",
            other => other,
        };
        for locality in items(&cluster["load_assignment"]["endpoints"]) {
            for endpoint in items(&locality["lb_endpoints"]) {
                let address = &endpoint["endpoint"]["address"]["socket_address"];
                assert_eq!(address["address"], "local-azure", "the service's name");
                assert_eq!(address["port_value"], port_of(service));
            }
        }
        led.insert(service);
    }
    assert_eq!(led, ["imds", "issuer", "openai"].into());
    let listener = &configuration["static_resources"]["listeners"][0]["address"]["socket_address"];
    assert_eq!(published("gateway"), [("8080".into(), listener["port_value"].to_string())]);
    assert_eq!(published("local-azure"), [("8004".into(), port_of("control").to_string())]);
}

#[test]
fn the_commands_of_the_page_use_the_ports_that_are_published() {
    let mut ports = BTreeSet::new();
    for rest in PAGE.split("http://localhost:").skip(1) {
        ports.insert(rest.split('/').next().unwrap().to_owned());
    }
    let published = ["gateway", "local-azure"].into_iter().flat_map(published);
    assert_eq!(ports, published.map(|(outside, _)| outside).collect());
}
