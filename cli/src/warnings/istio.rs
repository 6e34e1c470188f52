//! What Istio accepts in a `WasmPlugin` or a `TrafficExtension`, and is probably not meant.

use keyless_core::config::Config;
use keyless_core::jwks::JwksSource;
use serde_json::Value;

use super::envoy::needed;
use super::{Kind, Warning};
use crate::istio::module;

/// Returns what is probably a mistake in such a resource, beside its `pluginConfig`.
pub(super) fn warnings(config: &Config, resource: &Value) -> Vec<Warning> {
    let (spec, path) = module(resource);
    let mut warnings = Vec::new();
    if resource.pointer("/spec/phase").is_some_and(|phase| phase == "AUTHN") {
        warnings.push(Warning::new(Kind::AuthnPhase, "spec.phase", "found AUTHN"));
    }
    let place = format!("{path}.failStrategy");
    match spec.get("failStrategy").and_then(Value::as_str) {
        Some("FAIL_OPEN") => {
            let found = "admits every request while the module has failed";
            warnings.push(Warning::new(Kind::FailOpen, place, found));
        }
        Some(_) => {}
        None => warnings.push(Warning::new(Kind::FailurePolicyMissing, place, "found none")),
    }
    let matches = resource.pointer("/spec/match").and_then(Value::as_array);
    let modes = matches.into_iter().flatten().filter_map(|one| one.get("mode")?.as_str());
    warnings.extend(
        modes
            .filter(|mode| *mode == "SERVER")
            .map(|mode| Warning::new(Kind::MatchModeServer, "spec.match", format!("found {mode}"))),
    );
    warnings.extend(environment(config, spec, path));
    warnings.extend(clusters(config));
    warnings
}

/// Environment variables that the module does not get, or that stand in the resource.
fn environment(config: &Config, spec: &Value, path: &str) -> Vec<Warning> {
    let place = format!("{path}.vmConfig.env");
    let listed = spec.pointer("/vmConfig/env").and_then(Value::as_array);
    let variable = |name: &str| listed?.iter().find(|one| one["name"] == *name);
    let mut warnings = Vec::new();
    for (name, is_secret) in needed(config) {
        match variable(name) {
            None => {
                let found = format!("found no {name}");
                warnings.push(Warning::new(Kind::EnvironmentVariableMissing, &*place, found));
            }
            Some(one) if is_secret && one.get("value").is_some() => {
                let found = format!("found the value of {name}");
                warnings.push(Warning::new(Kind::SecretInConfiguration, &*place, found));
            }
            Some(_) => {}
        }
    }
    warnings
}

/// Clusters of issuers that Istio does not name like this.
fn clusters(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for issuer in &config.issuers {
        if let JwksSource::Remote(remote) = &issuer.jwks
            && remote.cluster.split('|').count() != 4
        {
            let place = format!("issuers[{}].jwks.cluster", issuer.entry.0);
            let found = format!("found {:?}", remote.cluster);
            warnings.push(Warning::new(Kind::ClusterNameForeign, place, found));
        }
    }
    warnings
}
