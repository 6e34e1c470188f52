//! The shipped `envoy.yaml`, and how a local configuration is derived from it.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use serde_yaml_ng::{Mapping, Value};

mod containers;
mod dynamic;
#[cfg(test)]
mod tests;

pub use containers::Host;

const SHIPPED: &str = include_str!("../../envoy.yaml");
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const HTTP_CONNECTION_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Holds an Envoy bootstrap and where each of its clusters leads on this machine.
///
/// Edits apply at once and in order; the endpoints are swapped when the configuration is written.
///
/// ```
/// # use gateway::Blueprint;
/// let yaml = Blueprint::shipped()
///     .endpoint("entra", "127.0.0.1:4001".parse()?)
///     .endpoint("imds", "127.0.0.1:4002".parse()?)
///     .endpoint("openai_provisioned", "127.0.0.1:4003".parse()?)
///     .endpoint("openai_pay_as_you_go", "127.0.0.1:4003".parse()?)
///     .endpoint("openai_pay_as_you_go", "127.0.0.1:4003".parse()?)
///     .endpoint("openai_single", "127.0.0.1:4003".parse()?)
///     .endpoint("on_prem", "127.0.0.1:4004".parse()?)
///     .plugin(|plugin| plugin["routes"][0]["name"] = "talk".into())
///     .yaml()?;
/// assert!(!yaml.contains("port_value: 443"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Blueprint {
    authorities: BTreeMap<String, String>,
    bootstrap: Value,
    endpoints: BTreeMap<String, Vec<SocketAddr>>,
    module: PathBuf,
}

/// Says why no local configuration could be derived.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BlueprintError {
    /// A cluster has another number of endpoints than were given for it; with none given it would
    /// lead out of this machine.
    Endpoints {
        /// The cluster's name.
        cluster: String,
        /// How many the file has.
        expected: usize,
        /// How many [`Blueprint::endpoint`] was told.
        given: usize,
    },
    /// An endpoint was given for a cluster that the file does not have.
    UnknownCluster(String),
}

impl Blueprint {
    /// Reads the `envoy.yaml` that ships with this workspace.
    ///
    /// The module is the file that the environment variable `KEYLESS_WASM` names, else the one that
    /// `make wasm` builds.
    pub fn shipped() -> Self {
        let bootstrap = serde_yaml_ng::from_str(SHIPPED).expect("the shipped envoy.yaml is YAML");
        let (authorities, endpoints) = (BTreeMap::new(), BTreeMap::new());
        let mut blueprint = Self { authorities, bootstrap, endpoints, module: PathBuf::new() };
        let shipped = module(&mut blueprint.bootstrap).as_str().unwrap_or_default();
        blueprint.module = env::var_os("KEYLESS_WASM")
            .map_or_else(|| Path::new(WORKSPACE).join(shipped), PathBuf::from);
        blueprint
    }

    /// Leads an endpoint of a cluster to an address, in plain text; said once per endpoint, in the
    /// file's order.
    #[must_use]
    pub fn endpoint(mut self, cluster: &str, address: SocketAddr) -> Self {
        self.endpoints.entry(cluster.to_owned()).or_default().push(address);
        self
    }

    /// Lets a cluster speak TLS as in the file, and trust this certificate authority (PEM).
    #[must_use]
    pub fn tls(mut self, cluster: &str, authority: &str) -> Self {
        self.authorities.insert(cluster.to_owned(), authority.to_owned());
        self
    }

    /// Runs another module than the one that ships.
    #[must_use]
    pub fn running(mut self, module: PathBuf) -> Self {
        self.module = module;
        self
    }

    /// Adds a cluster of one plain-text endpoint, such as a second issuer.
    #[must_use]
    pub fn cluster(self, name: &str, address: SocketAddr) -> Self {
        let cluster = serde_json::json!({
            "name": name,
            "connect_timeout": "1s",
            "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [
                { "endpoint": { "address": { "socket_address": {} } } }
            ] }] },
        });
        let cluster = serde_yaml_ng::to_value(cluster).expect("JSON is YAML");
        self.edit(|bootstrap| clusters(bootstrap).push(cluster)).endpoint(name, address)
    }

    /// Adds a cluster of one plain-text endpoint that is spoken to by HTTP/2, as gRPC needs it.
    #[must_use]
    pub fn grpc_cluster(self, name: &str, address: SocketAddr) -> Self {
        let options = serde_json::json!({ HTTP_PROTOCOL_OPTIONS: {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        } });
        let options = serde_yaml_ng::to_value(options).expect("JSON is YAML");
        self.cluster(name, address).edit(|bootstrap| {
            let added = clusters(bootstrap).last_mut().expect("it was added");
            added["typed_extension_protocol_options"] = options;
        })
    }

    /// Adds a cluster that leads nowhere.
    #[must_use]
    pub fn cluster_without_endpoints(self, name: &str) -> Self {
        let cluster = serde_json::json!({
            "name": name, "load_assignment": { "cluster_name": name, "endpoints": [] },
        });
        let cluster = serde_yaml_ng::to_value(cluster).expect("JSON is YAML");
        self.edit(|bootstrap| clusters(bootstrap).push(cluster))
    }

    /// Edits keyless's own configuration, the JSON text inside the file.
    #[must_use]
    pub fn plugin(self, edit: impl FnOnce(&mut serde_json::Value)) -> Self {
        self.edit(|bootstrap| {
            let text = &mut plugin(bootstrap)["configuration"]["value"];
            let mut configuration = serde_json::from_str(text.as_str().unwrap_or_default())
                .expect("the plugin's configuration is JSON");
            edit(&mut configuration);
            *text = format!("{configuration:#}").into();
        })
    }

    /// Edits how Envoy runs the module, its `PluginConfig`.
    #[must_use]
    pub fn plugin_config(self, edit: impl FnOnce(&mut Value)) -> Self {
        self.edit(|bootstrap| edit(plugin(bootstrap)))
    }

    /// Lets the module import and export only these functions, by their names in the proxy-wasm ABI
    /// and WASI (Envoy's `CapabilityRestrictionConfig`).
    #[must_use]
    pub fn capabilities(self, allowed: &[&str]) -> Self {
        let allowed = allowed.iter().map(|name| ((*name).to_owned(), serde_json::json!({})));
        let allowed: serde_json::Map<_, _> = allowed.collect();
        let restriction = serde_json::json!({ "allowed_capabilities": allowed });
        let restriction = serde_yaml_ng::to_value(restriction).expect("JSON is YAML");
        self.edit(|bootstrap| plugin(bootstrap)["capability_restriction_config"] = restriction)
    }

    /// Lets the module see these variables of Envoy's own environment, where they are set; their
    /// values are no part of the configuration.
    #[must_use]
    pub fn host_environment(self, names: &[&str]) -> Self {
        let variables = serde_json::json!({ "host_env_keys": names });
        let variables = serde_yaml_ng::to_value(variables).expect("JSON is YAML");
        self.edit(|bootstrap| plugin(bootstrap)["vm_config"]["environment_variables"] = variables)
    }

    /// Edits what speaks HTTP with callers, the `HttpConnectionManager`.
    #[must_use]
    pub fn connection_manager(self, edit: impl FnOnce(&mut Value)) -> Self {
        self.edit(|bootstrap| edit(connection_manager(bootstrap)))
    }

    /// Edits anything else of the bootstrap, before its endpoints are swapped.
    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.bootstrap);
        self
    }

    /// Returns the path of the module that Envoy will load.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// Writes the local configuration.
    ///
    /// Clusters with endpoints lead to the given ones without DNS and, but for [`Self::tls`], without TLS;
    /// listeners and the administration interface take free ports of 127.0.0.1; all else is as in the file. A host
    /// rewrite still tells the backend the name that the file gives it.
    ///
    /// # Errors
    ///
    /// When a cluster was not swapped, or one was named that the file does not have.
    pub fn yaml(&self) -> Result<String, BlueprintError> {
        self.local().map(|bootstrap| text(&bootstrap))
    }

    /// Writes the local configuration without its listeners, which Envoy reads from the file
    /// `listeners` whenever another takes its place in that folder, and what that file holds
    /// (`DiscoveryResponse`).
    pub(crate) fn apart(&self, listeners: &Path) -> Result<[String; 2], BlueprintError> {
        let mut bootstrap = self.local()?;
        let resources = table(&mut bootstrap["static_resources"]).remove("listeners");
        let mut resources = resources.unwrap_or_default();
        for listener in list(&mut resources) {
            listener["@type"] = LISTENER.into();
        }
        let source = serde_json::json!({
            "resource_api_version": "V3",
            "path_config_source": {
                "path": listeners, "watched_directory": { "path": listeners.parent() },
            },
        });
        let source = serde_yaml_ng::to_value(source).expect("JSON is YAML");
        bootstrap["dynamic_resources"]["lds_config"] = source;
        // Envoy wants a name wherever it is given something, even by a file.
        for name in ["id", "cluster"] {
            bootstrap["node"][name] = "gateway".into();
        }
        let mut found = Mapping::new();
        found.insert("resources".into(), resources);
        Ok([text(&bootstrap), text(&found.into())])
    }

    fn local(&self) -> Result<Value, BlueprintError> {
        let mut bootstrap = self.bootstrap.clone();
        if wasm_plugin(&mut bootstrap).is_some() {
            *module(&mut bootstrap) = self.module.to_string_lossy().into();
        }
        bind_to_loopback(&mut bootstrap["admin"]);
        list(&mut bootstrap["static_resources"]["listeners"]).iter_mut().for_each(bind_to_loopback);

        let mut endpoints = self.endpoints.clone();
        for cluster in clusters(&mut bootstrap).iter_mut().filter(|cluster| has_endpoints(cluster))
        {
            let name = cluster["name"].as_str().unwrap_or_default().to_owned();
            let addresses = endpoints.remove(&name).unwrap_or_default();
            lead(cluster, &addresses).map_err(|expected| BlueprintError::Endpoints {
                cluster: name.clone(),
                expected,
                given: addresses.len(),
            })?;
            match self.authorities.get(&name) {
                Some(authority) => trust(cluster, authority),
                None => take_off_tls(cluster),
            }
        }
        if let Some(cluster) = endpoints.into_keys().next() {
            return Err(BlueprintError::UnknownCluster(cluster));
        }
        if crate::dynamic_module().is_some() {
            dynamic::take_the_place(&mut bootstrap);
        }
        Ok(bootstrap)
    }
}

impl fmt::Display for BlueprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoints { cluster, expected, given } => {
                write!(f, "cluster {cluster:?} has {expected} endpoint(s), and {given} were given")
            }
            Self::UnknownCluster(name) => write!(f, "there is no cluster {name:?} in envoy.yaml"),
        }
    }
}

impl Error for BlueprintError {}

/// Swaps a cluster's endpoints, or says how many it has.
fn lead(cluster: &mut Value, addresses: &[SocketAddr]) -> Result<(), usize> {
    let endpoints = endpoints(cluster);
    if endpoints.len() != addresses.len() {
        return Err(endpoints.len());
    }
    for (endpoint, address) in endpoints.into_iter().zip(addresses) {
        keep_host_name(endpoint);
        endpoint["address"]["socket_address"] = socket_address(*address);
    }
    cluster["type"] = "STATIC".into();
    Ok(())
}

/// Tells a cluster from one that is made of others (`envoy.clusters.aggregate`).
fn has_endpoints(cluster: &Value) -> bool {
    cluster.get("cluster_type").is_none()
}

fn endpoints(cluster: &mut Value) -> Vec<&mut Value> {
    list(&mut cluster["load_assignment"]["endpoints"])
        .iter_mut()
        .flat_map(|locality| list(&mut locality["lb_endpoints"]))
        .map(|endpoint| &mut endpoint["endpoint"])
        .collect()
}

fn trust(cluster: &mut Value, authority: &str) {
    let context = &mut cluster["transport_socket"]["typed_config"]["common_tls_context"];
    let mut source = Mapping::new();
    source.insert("inline_string".into(), authority.into());
    context["validation_context"]["trusted_ca"] = source.into();
}

fn take_off_tls(cluster: &mut Value) {
    let cluster = table(cluster);
    cluster.remove("transport_socket");
    if let Some(options) = cluster.get_mut("typed_extension_protocol_options") {
        speak_plain_http(&mut options[HTTP_PROTOCOL_OPTIONS]);
    }
}

/// Writes an endpoint's DNS name down as its host name, where `auto_host_rewrite` looks for it,
/// unless it has one.
fn keep_host_name(endpoint: &mut Value) {
    if endpoint.get("hostname").is_some() {
        return;
    }
    let name = endpoint["address"]["socket_address"]["address"].clone();
    if name.as_str().is_some_and(|name| name.parse::<IpAddr>().is_err()) {
        endpoint["hostname"] = name;
    }
}

/// Replaces the choice of an HTTP version by ALPN, which needs TLS, with HTTP/1.1.
fn speak_plain_http(options: &mut Value) {
    if table(options).remove("auto_config").is_some() {
        options["explicit_http_config"]["http_protocol_options"] = Mapping::new().into();
    }
}

fn bind_to_loopback(bound: &mut Value) {
    bound["address"]["socket_address"] = socket_address(SocketAddr::from(([127, 0, 0, 1], 0)));
}

fn socket_address(address: SocketAddr) -> Value {
    let mut fields = Mapping::new();
    fields.insert("address".into(), address.ip().to_string().into());
    fields.insert("port_value".into(), address.port().into());
    fields.into()
}

fn module(bootstrap: &mut Value) -> &mut Value {
    &mut plugin(bootstrap)["vm_config"]["code"]["local"]["filename"]
}

/// Finds the `PluginConfig` of keyless.
fn plugin(bootstrap: &mut Value) -> &mut Value {
    wasm_plugin(bootstrap).expect("envoy.yaml has the Wasm filter")
}

/// Finds the `PluginConfig` of keyless, if it is a Wasm filter.
fn wasm_plugin(bootstrap: &mut Value) -> Option<&mut Value> {
    list(&mut connection_manager(bootstrap)["http_filters"])
        .iter_mut()
        .find(|filter| filter["typed_config"]["@type"] == WASM)
        .map(|filter| &mut filter["typed_config"]["config"])
}

fn connection_manager(bootstrap: &mut Value) -> &mut Value {
    list(&mut bootstrap["static_resources"]["listeners"])
        .iter_mut()
        .flat_map(|listener| list(&mut listener["filter_chains"]))
        .flat_map(|chain| list(&mut chain["filters"]))
        .map(|filter| &mut filter["typed_config"])
        .find(|filter| filter["@type"] == HTTP_CONNECTION_MANAGER)
        .expect("envoy.yaml has the HTTP connection manager")
}

fn text(value: &Value) -> String {
    serde_yaml_ng::to_string(value).expect("what was YAML can be written")
}

fn clusters(bootstrap: &mut Value) -> &mut Vec<Value> {
    list(&mut bootstrap["static_resources"]["clusters"])
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    value.as_sequence_mut().expect("envoy.yaml has a list here")
}

fn table(value: &mut Value) -> &mut Mapping {
    value.as_mapping_mut().expect("envoy.yaml has a table here")
}
