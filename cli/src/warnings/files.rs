//! Files that Envoy serves to keyless: whether callers could see them, and whether keyless gets them.

use keyless_core::config::Config;
use keyless_core::identity::{ClientSecret, File, Identity, Source};
use serde_json::Value;

use super::{Kind, Warning};

/// What keyless reads of a file; a projected token has one to two thousand bytes.
const ENOUGH: u64 = 16 * 1024;
/// What Envoy serves of a file unless it is told otherwise
/// (`RouteConfiguration.max_direct_response_body_size_bytes`).
const ENVOYS_LIMIT: u64 = 4096;

/// The listeners and clusters of a file, in Envoy's terms: of a bootstrap, or of what an `EnvoyFilter`
/// adds.
struct Resources<'a> {
    documents: &'a [Value],
    clusters: Vec<&'a Value>,
    listeners: Vec<&'a Value>,
}

/// Returns what is probably a mistake about the files that identities are read from, as far as these
/// documents, of the file with the configuration, tell.
pub(super) fn warnings(config: &Config, documents: &[Value]) -> Vec<Warning> {
    let resources = Resources::of(documents);
    let files = config.identities.iter().filter_map(|one| Some((one, file(one)?)));
    files.flat_map(|(identity, file)| resources.warnings(identity, file)).collect()
}

fn file(identity: &Identity) -> Option<&File> {
    match &identity.source {
        Source::WorkloadIdentity(workload) => Some(&workload.token_file),
        Source::ClientCredentials(credentials) => match &credentials.client_secret {
            ClientSecret::File(file) => Some(file),
            ClientSecret::Environment(_) => None,
        },
        Source::AppService(_) | Source::Imds(_) => None,
    }
}

impl<'a> Resources<'a> {
    fn of(documents: &'a [Value]) -> Self {
        let mut found = Self { documents, clusters: Vec::new(), listeners: Vec::new() };
        for document in documents {
            let listed = |name| list(document.pointer(&format!("/static_resources/{name}")));
            found.clusters.extend(listed("clusters"));
            found.listeners.extend(listed("listeners"));
            for patch in list(document.pointer("/spec/configPatches")) {
                let Some(value) = patch.pointer("/patch/value") else { continue };
                match patch.get("applyTo").and_then(Value::as_str) {
                    Some("CLUSTER") => found.clusters.push(value),
                    Some("LISTENER") => found.listeners.push(value),
                    _ => {}
                }
            }
        }
        found
    }

    fn warnings(&self, identity: &Identity, file: &File) -> Vec<Warning> {
        let place = format!("identities.{}", identity.name);
        let cluster = &file.cluster;
        let mut found = Vec::new();
        if self.documents.iter().any(|document| leads_to(document, cluster)) {
            let text = format!("a route could lead callers to the file of cluster {cluster}");
            found.push((Kind::FileExposed, text));
        }
        let known = self.clusters.iter().find(|one| one["name"] == **cluster);
        if let Some(name) = known.and_then(|known| listener_name(known)) {
            let listener = self.listeners.iter().find(|one| one["name"] == *name);
            found.extend(listener.into_iter().flat_map(|listener| of_listener(listener, name)));
        } else if known.is_some() {
            let text =
                format!("cluster {cluster}: expected an `envoy_internal_address`, found another");
            found.push((Kind::FileListenerOpen, text));
        }
        found.into_iter().map(|(kind, text)| Warning::new(kind, &*place, text)).collect()
    }
}

/// The internal listener that a cluster leads to, if it is one.
fn listener_name(cluster: &Value) -> Option<&str> {
    let mut addresses = Vec::new();
    collect(cluster, "envoy_internal_address", &mut addresses);
    addresses.first()?.get("server_listener_name")?.as_str()
}

fn of_listener(listener: &Value, name: &str) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    if listener.get("internal_listener").is_none() {
        let text = format!("listener {name}: expected `internal_listener: {{}}`, found none");
        found.push((Kind::FileListenerOpen, text));
    }
    let mut configurations = Vec::new();
    collect(listener, "route_config", &mut configurations);
    for routes in configurations {
        let limit = routes.get("max_direct_response_body_size_bytes");
        let limit = limit.and_then(Value::as_u64).unwrap_or(ENVOYS_LIMIT);
        if limit < ENOUGH {
            let text = format!(
                "listener {name}: `max_direct_response_body_size_bytes` is {limit}, expected {ENOUGH}"
            );
            found.push((Kind::FileTooSmall, text));
        }
        let mut bodies = Vec::new();
        collect(routes, "body", &mut bodies);
        let is_unwatched = |body: &&&Value| {
            body.get("filename").is_some() && body.get("watched_directory").is_none()
        };
        found.extend(bodies.iter().filter(is_unwatched).map(|body| {
            let text = format!("listener {name}: {} has no `watched_directory`", body["filename"]);
            (Kind::FileUnwatched, text)
        }));
    }
    found
}

/// Returns true if any route could lead to this cluster: by its name, in a list of clusters, or as a
/// header says.
fn leads_to(value: &Value, cluster: &str) -> bool {
    let is_it = |value: &Value| value == cluster;
    match value {
        Value::Array(items) => items.iter().any(|item| leads_to(item, cluster)),
        Value::Object(members) => members.iter().any(|(name, member)| match name.as_str() {
            "cluster" if is_it(member) => true,
            "cluster_header" => member.is_string(),
            "clusters" => list(Some(member)).iter().any(|one| {
                is_it(one) || one["name"] == *cluster && one.get("load_assignment").is_none()
            }),
            // The configuration of keyless itself, which names the cluster.
            "configuration" | "pluginConfig" => false,
            _ => leads_to(member, cluster),
        }),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}

/// Finds every member of this name.
fn collect<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, found)),
        Value::Object(members) => {
            found.extend(members.get(name));
            members.values().for_each(|member| collect(member, name, found));
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

fn list(value: Option<&Value>) -> Vec<&Value> {
    value.and_then(Value::as_array).into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHIPPED: &str = include_str!("../../../examples/workload-identity/token-file.yaml");
    const ISTIOS: &str = include_str!("../../../examples/workload-identity/istio/token-file.yaml");

    fn config() -> Config {
        let config = json!({
            "issuers": [{ "issuer": "https://idp.example.com/", "audiences": ["a"],
                "jwks": { "cluster": "idp", "uri": "https://idp.example.com/jwks.json" } }],
            "identities": { "openai": { "resource": "r", "workload_identity": {
                "cluster": "entra", "token_file": { "cluster": "token_file" } } } },
            "routes": [{ "name": "r", "match": { "methods": ["GET"], "path": "/" },
                "allow": [{}], "identity": "openai" }],
        });
        Config::parse(config.to_string().as_bytes()).unwrap()
    }

    fn found(text: &str) -> Vec<String> {
        let found = warnings(&config(), &[serde_yaml_ng::from_str(text).unwrap()]);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_examples_are_as_they_should_be() {
        assert_eq!(found(SHIPPED), [""; 0]);
        assert_eq!(found(ISTIOS), [""; 0]);
        assert_eq!(found("static_resources: {}"), [""; 0], "nothing is known");
    }

    #[test]
    fn each_mistake_is_a_warning() {
        let internal = "internal_listener: {}";
        let rows = [
            (internal, "address: {}", "listener token_file: expected `internal_listener: {}`"),
            ("_bytes: 16384", "_bytes: 4096", "listener token_file: `max_direct_response_body_"),
            (
                "watched_directory",
                "x",
                "listener token_file: \"/var/run/secrets/azure/tokens/azure-",
            ),
            ("envoy_internal_address", "socket_address", "cluster token_file: expected an `envoy_"),
        ];
        for text in [SHIPPED, ISTIOS] {
            for (from, to, warning) in rows {
                let found = found(&text.replace(from, to));
                let expected = format!("identities.openai: {warning}");
                assert!(found.len() == 1 && found[0].starts_with(&expected), "{from}: {found:?}");
            }
        }
    }

    #[test]
    fn a_cluster_that_a_list_or_a_header_may_name_can_be_reached() {
        for route in [
            "route: {cluster: token_file}",
            "route: {weighted_clusters: {clusters: [{name: token_file, weight: 1}]}}",
            "route: {cluster_header: x-cluster}",
            "typed_config: {clusters: [openai, token_file]}",
        ] {
            let found =
                found(&format!("static_resources: {{listeners: [{{routes: [{{{route}}}]}}]}}"));
            assert!(
                found.len() == 1 && found[0].contains("could lead callers"),
                "{route}: {found:?}"
            );
        }
    }
}
