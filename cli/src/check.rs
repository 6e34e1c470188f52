//! `keyless check`: each configuration in a file, in words, or what is wrong with it.

use std::fmt::Write as _;
use std::path::Path;

use keyless_core::config::Config;
use keyless_core::policy::DeploymentPlace;

use crate::source::{self, Clusters, Found};
use crate::{Outcome, doubts, istio, read, words};

/// Checks all configurations of a file.
///
/// # Errors
///
/// Says why the file could not be read.
pub(crate) fn run(file: &Path) -> Result<Outcome, String> {
    let unread = |problem: String| format!("{}: {problem}", file.display());
    let bytes = read(file).map_err(|error| unread(error.to_string()))?;
    let found = source::find(&bytes).map_err(unread)?;
    let mut outcome = Outcome { text: String::new(), is_well: true };
    for (at, found) in found.into_iter().enumerate() {
        let gap = if at > 0 { "\n" } else { "" };
        let place = if found.place.is_empty() { "" } else { ", " };
        let (text, is_well) = judged(&found);
        let name = format!("{}{place}{}", file.display(), found.place);
        _ = write!(outcome.text, "{gap}{name}: {text}");
        outcome.is_well &= is_well;
    }
    Ok(outcome)
}

/// The rest of the line about a configuration, and the lines below.
fn judged(found: &Found) -> (String, bool) {
    let bytes = match &found.bytes {
        Ok(bytes) => bytes,
        Err(problem) => return (format!("wrong\n  {problem}\n"), false),
    };
    let config = match Config::parse(bytes) {
        Ok(config) => config,
        Err(errors) => {
            let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            return (format!("wrong\n  {}\n", lines.join("\n  ")), false);
        }
    };
    let meaning = words::meaning(&config, &found.clusters);
    let missing = words::missing(&config, &found.clusters);
    let (untold, mut wrong) = match found.clusters {
        Clusters::Begun(_) => (missing, Vec::new()),
        Clusters::Listed(_) | Clusters::Untold => (Vec::new(), missing),
    };
    if found.hides_bodies {
        wrong.extend(unread(&config));
    }
    let mut doubts = doubts::of(&config);
    if found.fails_open {
        doubts.push("FAIL_OPEN: admits everybody while the module fails".to_owned());
    }
    if let Some(resource) = &found.resource {
        wrong.extend(istio::mistakes(resource));
        doubts.extend(istio::doubts(resource));
    }
    let mut text = String::new();
    let mut list = |heading: &str, lines: &[String]| {
        if !lines.is_empty() {
            _ = write!(text, "\n{heading}\n  {}\n", lines.join("\n  "));
        }
    };
    list("clusters that Envoy must be told", &untold);
    list("wrong", &wrong);
    list("probably not meant", &doubts);
    let is_well = wrong.is_empty();
    (format!("{}\n{meaning}{text}", if is_well { "sound" } else { "wrong" }), is_well)
}

/// Routes that wait for bodies which Envoy will not show.
fn unread(config: &Config) -> Vec<String> {
    let routes = config.routes.iter().enumerate();
    let waiting = routes.filter(|(_, route)| route.deployment == DeploymentPlace::Body);
    let problem = |(at, _)| {
        format!(
            "routes[{at}].deployment: found \"body.model\" without \
             `allow_on_headers_stop_iteration: true` beside `failure_policy`, wanted both: else \
             requests with a body end with 408, and Istio has no such setting"
        )
    };
    waiting.map(problem).collect()
}
