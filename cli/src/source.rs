//! Where plugin configurations are: alone in a file, in an Envoy's, or in resources of Istio.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize as _;
use serde_json::Value;

use crate::error::SourceError;

/// Holds a plugin configuration as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where in the file it is; empty if it is the file.
    pub(crate) place: String,
    /// The bytes that the plugin would get, or why it would get none.
    pub(crate) bytes: Result<Vec<u8>, SourceError>,
    /// What the file says about Envoy's clusters.
    pub(crate) clusters: Clusters,
    /// True if the module sees no body before the request has been forwarded.
    pub(crate) hides_bodies: bool,
    /// What it is in.
    pub(crate) surroundings: Surroundings,
}

/// Holds what a configuration is in, as far as the file shows it.
#[derive(Debug)]
pub(crate) enum Surroundings {
    /// A filter of Envoy.
    Envoy(Box<Filter>),
    /// A resource of Istio.
    Istio(Value),
    /// It stands alone.
    None,
}

/// Holds a filter of Envoy, and the chain that it is in.
#[derive(Debug)]
pub(crate) struct Filter {
    /// What loads keyless.
    pub(crate) host: Host,
    /// What Envoy is told of the filter: a `PluginConfig` or a `DynamicModuleFilter`.
    pub(crate) config: Value,
    /// All HTTP filters of the chain, if the file shows it.
    pub(crate) chain: Vec<Value>,
    /// The place of the filter in the chain.
    pub(crate) at: Option<usize>,
}

/// Says what loads keyless.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    /// A Wasm VM.
    Wasm,
    /// Envoy itself, as a dynamic module.
    Dynamic,
}

/// Says what a file tells about the clusters of its Envoy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Clusters {
    /// There are these static clusters, and Envoy gets more while it runs.
    Dynamic(Vec<String>),
    /// These static clusters are all.
    Static(Vec<String>),
    /// The file says nothing about clusters.
    Unknown,
}

/// Finds every configuration of keyless in a file.
///
/// # Errors
///
/// Returns why the text is neither JSON nor YAML, or that there is no such configuration in it.
pub(crate) fn find(text: &[u8]) -> Result<Vec<Found>, SourceError> {
    if text.trim_ascii_start().starts_with(b"{") || text.trim_ascii().is_empty() {
        let document = serde_json::from_slice(text).unwrap_or_default();
        let found = within(&document, "");
        // What is no other kind of file is the configuration, and broken JSON is its mistake.
        return Ok(if found.is_empty() { vec![Found::alone("", text.to_vec())] } else { found });
    }
    let documents = documents(text)?;
    let place = |at: usize| match documents.len() {
        1 => String::new(),
        _ => format!("document {}", at + 1),
    };
    let documents = documents.iter().enumerate();
    let found: Vec<_> = documents.flat_map(|(at, one)| of_document(one, &place(at))).collect();
    if found.is_empty() {
        return Err(SourceError::NoConfiguration);
    }
    Ok(found)
}

/// Parses all documents of a text.
pub(crate) fn documents(text: &[u8]) -> Result<Vec<Value>, SourceError> {
    let documents = serde_yaml_ng::Deserializer::from_slice(text);
    let read = |document| {
        // YAML's own values first: they refuse a key that is there twice.
        let document = serde_yaml_ng::Value::deserialize(document)?;
        Ok(serde_json::to_value(document)?)
    };
    documents.map(read).collect()
}

fn of_document(document: &Value, place: &str) -> Vec<Found> {
    if document.get("issuers").is_some() || document.get("routes").is_some() {
        return vec![Found::alone(place, document.to_string().into_bytes())];
    }
    within(document, place)
}

impl Found {
    fn alone(place: &str, bytes: Vec<u8>) -> Self {
        Self {
            place: place.to_owned(),
            bytes: Ok(bytes),
            clusters: Clusters::Unknown,
            hides_bodies: false,
            surroundings: Surroundings::None,
        }
    }
}

fn within(document: &Value, place: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let search = Search { place, clusters: Clusters::of(document) };
    search.visit(document, "", None, &mut found);
    found
}

/// A search for configurations in one document.
struct Search<'a> {
    place: &'a str,
    clusters: Clusters,
}

/// The HTTP filters of a chain, and which of them is looked at.
type Chain<'a> = Option<(&'a [Value], usize)>;

impl Search<'_> {
    /// Looks at a value and, if it holds no configuration itself, at all that is in it.
    fn visit(&self, value: &Value, path: &str, chain: Chain<'_>, found: &mut Vec<Found>) {
        if let Some((host, config)) = filter(value) {
            if is_keyless(config) {
                let (filters, at) = chain.unzip();
                let chain = filters.unwrap_or_default().to_vec();
                let filter = Filter { host, config: config.clone(), chain, at };
                let surroundings = Surroundings::Envoy(Box::new(filter));
                let (member, hides_bodies) = match host {
                    Host::Wasm => ("configuration", hides_bodies(config)),
                    Host::Dynamic => ("filter_config", false),
                };
                let bytes = payload(config.get(member));
                found.push(self.found(path, bytes, hides_bodies, surroundings));
            }
        } else if let Some((name, spec)) = extension(value) {
            if is_keyless(spec) {
                let configuration =
                    spec.get("pluginConfig").map_or_else(String::new, Value::to_string);
                let surroundings = Surroundings::Istio(value.clone());
                let bytes = Ok(configuration.into_bytes());
                found.push(self.found(&name, bytes, hides_bodies(spec), surroundings));
            }
        } else if let Value::Object(members) = value {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{name}");
                match member.as_array().filter(|_| name == "http_filters") {
                    Some(filters) => self.visit_chain(filters, &path, found),
                    None => self.visit(member, &path, chain, found),
                }
            }
        } else if let Value::Array(items) = value {
            for (at, item) in items.iter().enumerate() {
                self.visit(item, &format!("{path}[{at}]"), chain, found);
            }
        }
    }

    fn visit_chain(&self, filters: &[Value], path: &str, found: &mut Vec<Found>) {
        for (at, filter) in filters.iter().enumerate() {
            self.visit(filter, &format!("{path}[{at}]"), Some((filters, at)), found);
        }
    }

    fn found(
        &self,
        path: &str,
        bytes: Result<Vec<u8>, SourceError>,
        hides_bodies: bool,
        surroundings: Surroundings,
    ) -> Found {
        let place = [self.place, path].into_iter().filter(|part| !part.is_empty());
        let place = place.collect::<Vec<_>>().join(", ");
        Found { place, bytes, clusters: self.clusters.clone(), hides_bodies, surroundings }
    }
}

/// The `PluginConfig` of a Wasm filter, or a filter of a dynamic module; its type may stand in a
/// `TypedStruct`, too.
fn filter(value: &Value) -> Option<(Host, &Value)> {
    let of = |kind: &str| match kind.rsplit_once("/envoy.extensions.filters.http.")?.1 {
        "wasm.v3.Wasm" => Some(Host::Wasm),
        "dynamic_modules.v3.DynamicModuleFilter" => Some(Host::Dynamic),
        _ => None,
    };
    let kind = |name| value.get(name).and_then(Value::as_str).and_then(of);
    let (host, filter) = match (kind("@type"), kind("type_url")) {
        (Some(host), _) => (host, value),
        (None, Some(host)) => (host, value.get("value")?),
        (None, None) => return None,
    };
    Some((
        host,
        match host {
            Host::Wasm => filter.get("config")?,
            Host::Dynamic => filter,
        },
    ))
}

/// The name of a resource of Istio that loads a module, and the part that says which and how.
fn extension(value: &Value) -> Option<(String, &Value)> {
    let kind = value.get("kind")?.as_str()?;
    let spec = match kind {
        "TrafficExtension" => value.get("spec")?.get("wasm")?,
        "WasmPlugin" => value.get("spec")?,
        _ => return None,
    };
    let text = |name| value.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
    let name = text("name").unwrap_or("without a name");
    let namespace = text("namespace").map_or_else(String::new, |space| format!("{space}/"));
    Some((format!("{kind} {namespace}{name}"), spec))
}

/// A file may load other modules; ours is named after itself, or its configuration has issuers.
fn is_keyless(config: &Value) -> bool {
    let text = config.to_string();
    text.contains("keyless") || text.contains("issuers")
}

/// Envoy shows bodies with this setting only, and no resource of Istio has it.
fn hides_bodies(config: &Value) -> bool {
    config.get("allow_on_headers_stop_iteration").is_none_or(|allowed| *allowed != true)
}

/// What Envoy passes to the module of an `Any` (`envoy.extensions.wasm.v3.PluginConfig`).
fn payload(configuration: Option<&Value>) -> Result<Vec<u8>, SourceError> {
    let Some(any) = configuration else { return Ok(Vec::new()) };
    let kind = any.get("@type").and_then(Value::as_str).unwrap_or_default();
    let value = any.get("value").unwrap_or(&Value::Null);
    match (kind.rsplit('.').next().unwrap_or_default(), value) {
        ("Struct", value) => Ok(value.to_string().into_bytes()),
        ("StringValue", Value::String(text)) => Ok(text.clone().into_bytes()),
        ("StringValue", _) => Err(SourceError::NotString),
        ("BytesValue", Value::String(text)) => STANDARD.decode(text).map_err(SourceError::Base64),
        _ => Err(SourceError::UnknownType),
    }
}

impl Clusters {
    fn of(document: &Value) -> Self {
        let Some(resources) = document.get("static_resources") else { return Self::Unknown };
        let clusters = resources.get("clusters").and_then(Value::as_array).into_iter().flatten();
        let names = clusters.filter_map(|cluster| cluster.get("name")?.as_str());
        let names = names.map(str::to_owned).collect();
        match document.get("dynamic_resources") {
            Some(_) => Self::Dynamic(names),
            None => Self::Static(names),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = r#"{"issuers":[]}"#;

    fn only(text: &str) -> Found {
        let [found] = find(text.as_bytes()).unwrap().try_into().unwrap();
        found
    }

    /// An Envoy's file with one filter, whose `config` has these members.
    fn envoy(config: &str) -> String {
        let kind = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
        format!("filters:\n- typed_config:\n    '@type': {kind}\n    config: {config}\n")
    }

    fn any(kind: &str, value: &str) -> String {
        format!(r#"{{"@type":"type.googleapis.com/google.protobuf.{kind}","value":{value}}}"#)
    }

    #[test]
    fn a_file_that_is_nothing_else_is_the_configuration() {
        for text in [CONFIGURATION, "{", "", " {}", "issuers: []"] {
            let found = only(text);
            assert_eq!((found.place.as_str(), found.clusters), ("", Clusters::Unknown), "{text}");
        }
        assert_eq!(only("issuers: []").bytes.unwrap(), CONFIGURATION.as_bytes());
    }

    #[test]
    fn a_filters_configuration_is_what_envoy_would_pass_to_the_module() {
        let text = serde_json::to_string(CONFIGURATION).unwrap();
        let bytes = format!("{:?}", STANDARD.encode(CONFIGURATION));
        for (kind, value) in
            [("StringValue", text.as_str()), ("Struct", CONFIGURATION), ("BytesValue", &bytes)]
        {
            let found =
                only(&envoy(&format!("{{name: keyless, configuration: {}}}", any(kind, value))));
            assert_eq!(found.bytes.unwrap(), CONFIGURATION.as_bytes(), "{kind}");
            assert_eq!(found.place, "filters[0].typed_config");
        }
        assert_eq!(only(&envoy("{name: keyless}")).bytes.unwrap(), b"", "none at all");
    }

    #[test]
    fn a_dynamic_module_is_found_by_its_name_and_shows_bodies() {
        let kind = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
        let filter = |module: &str, configuration: &str| {
            let any = any("StringValue", configuration);
            format!(
                "http_filters:\n- typed_config:\n    '@type': {kind}\n    \
                 dynamic_module_config: {{name: {module}}}\n    filter_config: {any}\n"
            )
        };
        let text = serde_json::to_string(CONFIGURATION).unwrap();
        let found = only(&filter("keyless_dynamic_module", &text));
        assert_eq!(found.bytes.unwrap(), CONFIGURATION.as_bytes());
        assert_eq!(found.place, "http_filters[0].typed_config");
        assert!(!found.hides_bodies);
        let Surroundings::Envoy(filter_of_envoy) = found.surroundings else {
            panic!("it is in one")
        };
        assert_eq!((filter_of_envoy.host, filter_of_envoy.at), (Host::Dynamic, Some(0)));
        assert!(find(filter("other", "x").as_bytes()).is_err(), "that of somebody else");
    }

    #[test]
    fn what_envoy_could_not_pass_to_the_module_is_an_error() {
        let with =
            |any: &str| only(&envoy(&format!("{{name: keyless, configuration: {any}}}"))).bytes;
        assert!(
            with(CONFIGURATION)
                .unwrap_err()
                .to_string()
                .contains("`configuration.@type`: expected")
        );
        assert!(
            with(&any("StringValue", CONFIGURATION))
                .unwrap_err()
                .to_string()
                .contains("expected a string")
        );
        assert!(
            with(&any("BytesValue", "issuers"))
                .unwrap_err()
                .to_string()
                .contains("expected base64")
        );
    }

    #[test]
    fn modules_of_others_are_not_ours() {
        let other = format!("{{name: other, configuration: {}}}", any("StringValue", "x"));
        assert!(find(envoy(&other).as_bytes()).is_err());
        assert!(find(b"kind: WasmPlugin\nspec: {url: other}").is_err());
        assert!(find(b"kind: TrafficExtension\nspec: {lua: {}}").is_err());
        assert!(find(b"a: 1").is_err() && find(b"a: [").is_err() && find(b"a: 1\na: 2").is_err());
    }

    #[test]
    fn resources_of_istio_are_distinguished_by_document_kind_and_name() {
        let resources = "kind: Gateway\n---\n\
                         kind: WasmPlugin\n\
                         metadata: {name: a, namespace: b}\n\
                         spec: {pluginConfig: {issuers: []}}\n---\n\
                         kind: TrafficExtension\n\
                         metadata: {name: c}\n\
                         spec: {wasm: {url: keyless}}";
        let found = find(resources.as_bytes()).unwrap();
        let places: Vec<_> = found.iter().map(|one| one.place.as_str()).collect();
        assert_eq!(places, ["document 2, WasmPlugin b/a", "document 3, TrafficExtension c"]);
        assert_eq!(found[0].bytes.as_deref().unwrap(), CONFIGURATION.as_bytes());
        assert_eq!(found[1].bytes.as_deref().unwrap(), b"");
    }

    #[test]
    fn the_clusters_are_those_of_the_file() {
        let clusters = |more: &str| only(&(envoy("{name: keyless}") + more)).clusters;
        let names = || vec!["a".to_owned()];
        let listed = "static_resources: {clusters: [{name: a}]}\n";
        assert_eq!(clusters(""), Clusters::Unknown);
        assert_eq!(clusters(listed), Clusters::Static(names()));
        assert_eq!(
            clusters(&format!("{listed}dynamic_resources: {{}}")),
            Clusters::Dynamic(names())
        );
    }
}
