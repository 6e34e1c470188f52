//! `keyless check`: a summary of each configuration in a file, or its mistakes.

use std::fmt::Write as _;
use std::path::Path;

use keyless_core::config::Config;
use keyless_core::policy::DeploymentPlace;
use serde_json::Value;

use crate::error::CliError;
use crate::source::{self, Clusters, Found};
use crate::{Outcome, files, istio, read, summary, warnings};

/// Checks all configurations of a file.
///
/// # Errors
///
/// Returns why the file could not be read, or that there is no configuration in it.
pub(crate) fn run(file: &Path) -> Result<Outcome, CliError> {
    let bytes = read(file).map_err(|error| CliError::Read { file: file.into(), error })?;
    let found =
        source::find(&bytes).map_err(|error| CliError::Source { file: file.into(), error })?;
    let documents = source::documents(&bytes).unwrap_or_default();
    let mut outcome = Outcome { text: String::new(), is_success: true };
    for (at, found) in found.into_iter().enumerate() {
        let gap = if at > 0 { "\n" } else { "" };
        let place = if found.place.is_empty() { "" } else { ", " };
        let (text, is_valid) = checked(&found, &documents);
        let name = format!("{}{place}{}", file.display(), found.place);
        _ = write!(outcome.text, "{gap}{name}: {text}");
        outcome.is_success &= is_valid;
    }
    Ok(outcome)
}

/// The rest of the line about a configuration, and the lines below.
fn checked(found: &Found, documents: &[Value]) -> (String, bool) {
    let bytes = match &found.bytes {
        Ok(bytes) => bytes,
        Err(error) => return invalid(&[error.to_string()]),
    };
    let config = match Config::parse(bytes) {
        Ok(config) => config,
        Err(errors) => {
            let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            return invalid(&lines);
        }
    };
    let missing = summary::missing(&config, &found.clusters);
    let (dynamic, mut errors) = match found.clusters {
        Clusters::Dynamic(_) => (missing, Vec::new()),
        Clusters::Static(_) | Clusters::Unknown => (Vec::new(), missing),
    };
    if found.hides_bodies {
        errors.extend(hidden_bodies(&config));
    }
    let mut warnings = warnings::of(&config);
    warnings.extend(files::warnings(&config, documents));
    if found.fails_open {
        warnings.push("FAIL_OPEN: admits every request while the module has failed".to_owned());
    }
    if let Some(resource) = &found.resource {
        errors.extend(istio::errors(resource));
        warnings.extend(istio::warnings(resource));
    }
    let mut text = summary::of(&config, &found.clusters);
    list(&mut text, "clusters that Envoy must get dynamically", &dynamic);
    list(&mut text, "errors", &errors);
    list(&mut text, "warnings", &warnings);
    let is_valid = errors.is_empty();
    (format!("{}\n{text}", if is_valid { "valid" } else { "invalid" }), is_valid)
}

fn invalid(errors: &[String]) -> (String, bool) {
    (format!("invalid\n  {}\n", errors.join("\n  ")), false)
}

fn list(text: &mut String, heading: &str, lines: &[String]) {
    if !lines.is_empty() {
        _ = write!(text, "\n{heading}\n  {}\n", lines.join("\n  "));
    }
}

/// Routes that read bodies which Envoy will not show.
fn hidden_bodies(config: &Config) -> Vec<String> {
    let routes = config.routes.iter().enumerate();
    let reading = routes.filter(|(_, route)| route.deployment == DeploymentPlace::Body);
    let error = |(at, _)| {
        format!(
            "routes[{at}].deployment: expected `allow_on_headers_stop_iteration: true` beside \
             `failure_policy`, found \"body.model\" without it: requests with a body would end \
             with 408. Istio has no such setting"
        )
    };
    reading.map(error).collect()
}
