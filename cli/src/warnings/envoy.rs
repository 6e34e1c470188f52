//! What is probably a mistake in an Envoy around the filter: the guard, the clusters, the environment.

use keyless_core::config::Config;
use keyless_core::identity::{ClientSecret, Identity, Source};
use keyless_core::jwks::JwksSource;
use serde_json::Value;

use super::{Kind, Warning};
use crate::source::{Filter, Host};

const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// How the hosts of Azure end, in every cloud.
const AZURE: [&str; 3] = [".azure.com", ".azure.us", ".azure.cn"];

/// Returns what is probably a mistake around a filter; `documents` are those of its file.
pub(super) fn warnings(config: &Config, filter: &Filter, documents: &[Value]) -> Vec<Warning> {
    let mut warnings: Vec<_> = guard(filter).into_iter().collect();
    warnings.extend(clusters(config, documents));
    match filter.host {
        Host::Wasm => {
            warnings.extend(failure_policy(&filter.config));
            warnings.extend(environment(config, &filter.config));
        }
        Host::Dynamic => warnings.extend(forwarded(config, documents)),
    }
    for (kind, member) in [
        (Kind::RequestMirror, "request_mirror_policies"),
        (Kind::InternalRedirect, "internal_redirect_policy"),
    ] {
        if documents.iter().any(|document| has_member(document, member)) {
            warnings.push(Warning::new(kind, "route_config", format!("found `{member}`")));
        }
    }
    warnings
}

/// The filter that refuses whom keyless has not admitted, if it is not as it should be.
fn guard(filter: &Filter) -> Option<Warning> {
    let at = filter.at?;
    let guards: Vec<_> = filter.chain.iter().map(Guard::of).collect();
    let place = |at: usize| format!("http_filters[{at}]");
    let (before, after) = guards.split_at_checked(at)?;
    let is = |kind: Guard| move |one: &Guard| *one == kind;
    if after.iter().any(is(Guard::Strict)) {
        return None;
    }
    let warning = if let Some(at) = before.iter().position(is(Guard::Strict)) {
        Warning::new(Kind::GuardBefore, place(at), "the guard stands before keyless")
    } else if let Some(behind) = after.iter().position(is(Guard::Broken)) {
        let found = "its rules let pass what is not admitted";
        Warning::new(Kind::GuardWrong, place(at + behind), found)
    } else {
        Warning::new(Kind::GuardMissing, "http_filters", "found no guard")
    };
    Some(warning)
}

/// What an HTTP filter is to keyless.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Guard {
    /// An RBAC filter that allows what keyless has admitted, and nothing else.
    Strict,
    /// Another RBAC filter that looks at the verdict.
    Broken,
    /// Something else.
    None,
}

impl Guard {
    fn of(filter: &Value) -> Self {
        let kind = filter.pointer("/typed_config/@type").and_then(Value::as_str);
        let is_rbac = kind.is_some_and(|kind| kind.ends_with(".rbac.v3.RBAC"));
        if !is_rbac || !filter.to_string().contains("wasm.keyless.verdict") {
            return Self::None;
        }
        let rules = filter.pointer("/typed_config/rules");
        let action = rules.and_then(|rules| rules.get("action"));
        let is_allowing = action.is_none_or(|action| *action == "ALLOW");
        let policies = rules.and_then(|rules| rules.get("policies")?.as_object());
        let is_strict = policies.is_some_and(|policies| policies.values().all(asks_for_admission));
        if is_allowing && is_strict { Self::Strict } else { Self::Broken }
    }
}

/// Returns true if nobody satisfies the policy whom keyless has not admitted.
fn asks_for_admission(policy: &Value) -> bool {
    let principals = policy.get("principals").and_then(Value::as_array);
    principals.is_some_and(|principals| principals.iter().all(is_admitted))
}

fn is_admitted(principal: &Value) -> bool {
    if let Some(all) = principal.pointer("/and_ids/ids").and_then(Value::as_array) {
        return all.iter().any(is_admitted);
    }
    let state = principal.get("filter_state");
    state.is_some_and(|state| {
        state["key"] == "wasm.keyless.verdict"
            && state.pointer("/string_match/exact").is_some_and(|text| *text == "admitted")
    })
}

fn failure_policy(plugin: &Value) -> Option<Warning> {
    let policy = plugin.get("failure_policy");
    let is_open = policy.is_some_and(|policy| *policy == "FAIL_OPEN")
        || plugin.get("fail_open").is_some_and(|open| *open == true);
    if is_open {
        let found = "admits every request while the module has failed";
        return Some(Warning::new(Kind::FailOpen, "failure_policy", found));
    }
    policy
        .is_none()
        .then(|| Warning::new(Kind::FailurePolicyMissing, "failure_policy", "found none"))
}

/// The clusters that lead to issuers, to Entra or to Azure OpenAI, and do not verify whom they reach.
fn clusters(config: &Config, documents: &[Value]) -> Vec<Warning> {
    let called = called(config);
    let mut warnings = Vec::new();
    for cluster in listed(documents) {
        let name = cluster["name"].as_str().unwrap_or_default();
        let hosts = hosts(cluster);
        let is_azure = hosts.iter().any(|host| AZURE.iter().any(|end| host.ends_with(end)));
        let is_local = !hosts.is_empty() && hosts.iter().all(|host| is_local(host));
        if (called.contains(&name) || is_azure) && !is_local {
            let place = format!("static_resources.clusters {name}");
            let warning = |(kind, found)| Warning::new(kind, place, found);
            warnings.extend(unverified(cluster).map(warning));
        }
        let is_of_fleet = config.fleet.as_ref().is_some_and(|fleet| fleet.cluster == name);
        if is_of_fleet && !speaks_http2(cluster) {
            let place = format!("static_resources.clusters {name}");
            let found = "found no `http2_protocol_options`";
            warnings.push(Warning::new(Kind::ClusterNotForGrpc, place, found));
        }
    }
    warnings
}

/// The clusters of a file.
fn listed(documents: &[Value]) -> impl Iterator<Item = &Value> {
    let lists =
        documents.iter().filter_map(|document| document.pointer("/static_resources/clusters"));
    lists.filter_map(Value::as_array).flatten()
}

/// The clusters of Azure's own endpoints, where calls of a dynamic module look forwarded.
fn forwarded(config: &Config, documents: &[Value]) -> Vec<Warning> {
    let is_particular = |identity: &Identity| match identity.source {
        Source::AppService(_) | Source::Imds(_) => true,
        Source::ClientCredentials(_) | Source::WorkloadIdentity(_) => false,
    };
    let names: Vec<_> = config.identities.iter().filter(|one| is_particular(one)).collect();
    let is_called = |cluster: &&Value| names.iter().any(|one| cluster["name"] == *one.cluster);
    let is_forwarded = |cluster: &&Value| {
        let options =
            format!("/typed_extension_protocol_options/{HTTP_PROTOCOL_OPTIONS}/http_filters");
        let filters = cluster.pointer(&options).map(Value::to_string).unwrap_or_default();
        !filters.contains(r#""remove":"x-forwarded-for""#)
    };
    let warning = |cluster: &Value| {
        let place =
            format!("static_resources.clusters {}", cluster["name"].as_str().unwrap_or_default());
        Warning::new(Kind::ClusterLooksForwarded, place, "nothing removes `x-forwarded-for`")
    };
    listed(documents).filter(is_called).filter(is_forwarded).map(warning).collect()
}

/// Does Envoy speak HTTP/2 to it, whatever the other side offers?
fn speaks_http2(cluster: &Value) -> bool {
    let options = format!(
        "/typed_extension_protocol_options/{HTTP_PROTOCOL_OPTIONS}\
         /explicit_http_config/http2_protocol_options"
    );
    cluster.pointer(&options).is_some() || cluster.get("http2_protocol_options").is_some()
}

/// The clusters whose answers decide whom keyless trusts, or that get a secret of the gateway.
fn called(config: &Config) -> Vec<&str> {
    let keys = config.issuers.iter().filter_map(|issuer| match &issuer.jwks {
        JwksSource::Inline(_) => None,
        JwksSource::Remote(remote) => Some(remote.cluster.as_str()),
    });
    let tokens = config.identities.iter().filter(|one| match one.source {
        Source::ClientCredentials(_) | Source::WorkloadIdentity(_) => true,
        Source::AppService(_) | Source::Imds(_) => false,
    });
    keys.chain(tokens.map(|one| one.cluster.as_str())).collect()
}

/// What a cluster does not verify, and what it lacks for that.
fn unverified(cluster: &Value) -> Option<(Kind, &'static str)> {
    if cluster.get("transport_socket_matches").is_some() {
        return None;
    }
    let Some(socket) = cluster.get("transport_socket") else {
        return Some((Kind::ClusterWithoutTls, "found no `transport_socket`"));
    };
    let tls = socket.get("typed_config")?;
    let common = tls.get("common_tls_context");
    let context = |name| common.and_then(|common| common.get(name));
    let combined = context("combined_validation_context");
    // What comes by SDS is not in the file.
    if context("validation_context_sds_secret_config").is_some() || combined.is_some() {
        return None;
    }
    let validation = context("validation_context");
    let has = |name| validation.is_some_and(|validation| validation.get(name).is_some());
    if has("verify_certificate_spki") || has("verify_certificate_hash") {
        return None;
    }
    if !has("trusted_ca") && !has("system_root_certs") && !has("ca_certificate_provider_instance") {
        let found = "found no CA to verify the certificate with";
        return Some((Kind::ClusterTrustsAnyCertificate, found));
    }
    let by_sni = tls.get("auto_sni_san_validation").is_some_and(|on| *on == true);
    let is_named = by_sni || has("match_typed_subject_alt_names") || has("match_subject_alt_names");
    let found = "found no name to compare the certificate with";
    (!is_named).then_some((Kind::ClusterVerifiesNoName, found))
}

/// The addresses of a cluster's endpoints.
fn hosts(cluster: &Value) -> Vec<&str> {
    let mut hosts = Vec::new();
    collect(cluster.get("load_assignment").unwrap_or(&Value::Null), "address", &mut hosts);
    hosts
}

fn is_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let is_link_local = host.starts_with("169.254.") || host.starts_with("fe80:");
    is_link_local || host == "localhost" || host == "::1" || host.starts_with("127.")
}

/// Collects the texts of all members of this name.
fn collect<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, found)),
        Value::Object(members) => {
            found.extend(members.get(name).and_then(Value::as_str));
            members.values().for_each(|member| collect(member, name, found));
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

fn has_member(value: &Value, name: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| has_member(item, name)),
        Value::Object(members) => {
            members.contains_key(name) || members.values().any(|member| has_member(member, name))
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}

/// Environment variables that the module does not get, or that stand in the file.
fn environment(config: &Config, plugin: &Value) -> Vec<Warning> {
    let place = "vm_config.environment_variables";
    let variables = plugin.pointer("/vm_config/environment_variables");
    let listed = variables.and_then(|one| one.get("host_env_keys")?.as_array());
    let is_passed = |name: &str| listed.is_some_and(|keys| keys.iter().any(|key| key == name));
    let is_written =
        |name: &str| variables.is_some_and(|one| one["key_values"].get(name).is_some());
    let mut warnings = Vec::new();
    for (name, is_secret) in needed(config) {
        if !is_passed(name) && !is_written(name) {
            warnings.push(Warning::new(
                Kind::EnvironmentVariableMissing,
                place,
                format!("found no {name}"),
            ));
        } else if is_secret && is_written(name) {
            warnings.push(Warning::new(
                Kind::SecretInConfiguration,
                place,
                format!("found {name}"),
            ));
        }
    }
    warnings
}

/// The environment variables that a configuration reads, and whether each is a secret.
pub(super) fn needed(config: &Config) -> Vec<(&str, bool)> {
    let mut needed = Vec::new();
    for identity in &config.identities {
        match &identity.source {
            Source::AppService(_) => {
                needed.extend([("IDENTITY_ENDPOINT", false), ("IDENTITY_HEADER", true)]);
            }
            Source::ClientCredentials(credentials) => match &credentials.client_secret {
                ClientSecret::Environment(name) => needed.push((name.as_str(), true)),
                ClientSecret::File(_) => {}
            },
            Source::Imds(_) => {}
            Source::WorkloadIdentity(workload) => {
                needed.extend(workload.tenant_id.is_none().then_some(("AZURE_TENANT_ID", false)));
                needed.extend(workload.client_id.is_none().then_some(("AZURE_CLIENT_ID", false)));
            }
        }
    }
    needed.sort_unstable();
    needed.dedup();
    needed
}
