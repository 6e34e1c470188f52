//! `keyless check`: a summary of each configuration in a file, or its mistakes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use keyless_core::config::Config;
use keyless_core::policy::DeploymentPlace;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::source::{self, Clusters, Found, Surroundings};
use crate::warnings::{self, Warning};
use crate::{Outcome, istio, read, summary};

/// Says how to check a file.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A plugin configuration, or a file of Envoy or Istio that holds one; `-` is stdin
    file: PathBuf,
    /// Takes a warning for a mistake
    #[arg(long)]
    strict: bool,
    /// The format of the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A list of objects, one for each configuration
    Json,
    /// For people
    Text,
}

/// What was found about one configuration.
struct Checked {
    name: String,
    summary: String,
    dynamic: Vec<String>,
    errors: Vec<String>,
    warnings: Vec<Warning>,
}

/// Checks all configurations of a file.
///
/// # Errors
///
/// Returns why the file could not be read, or that there is no configuration in it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, CliError> {
    let Arguments { file, strict, output } = arguments;
    let bytes = read(file).map_err(|error| CliError::Read { file: file.clone(), error })?;
    let found =
        source::find(&bytes).map_err(|error| CliError::Source { file: file.clone(), error })?;
    let documents = source::documents(&bytes).unwrap_or_default();
    let checked: Vec<_> = found.iter().map(|found| Checked::of(found, file, &documents)).collect();
    let passes = |one: &Checked| one.errors.is_empty() && (!strict || one.warnings.is_empty());
    let is_success = checked.iter().all(passes);
    let text = match output {
        Output::Json => {
            let list: Vec<_> = checked.iter().map(Checked::json).collect();
            format!("{:#}\n", Value::Array(list))
        }
        Output::Text => checked.iter().map(Checked::text).collect::<Vec<_>>().join("\n"),
    };
    Ok(Outcome { text, is_success })
}

impl Checked {
    fn of(found: &Found, file: &Path, documents: &[Value]) -> Self {
        let place = if found.place.is_empty() { "" } else { ", " };
        let name = format!("{}{place}{}", file.display(), found.place);
        let nothing = Self {
            name,
            summary: String::new(),
            dynamic: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        let bytes = match &found.bytes {
            Ok(bytes) => bytes,
            Err(error) => return Self { errors: vec![error.to_string()], ..nothing },
        };
        let config = match Config::parse(bytes) {
            Ok(config) => config,
            Err(errors) => {
                let errors = errors.iter().map(ToString::to_string).collect();
                return Self { errors, ..nothing };
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
        if let Surroundings::Istio(resource) = &found.surroundings {
            errors.extend(istio::errors(resource));
        }
        let summary = summary::of(&config, &found.clusters);
        let warnings = warnings::of(&config, found, documents);
        Self { summary, dynamic, errors, warnings, ..nothing }
    }

    fn text(&self) -> String {
        let Self { name, summary, dynamic, errors, warnings } = self;
        if summary.is_empty() {
            return format!("{name}: invalid\n  {}\n", errors.join("\n  "));
        }
        let word = if errors.is_empty() { "valid" } else { "invalid" };
        let mut text = format!("{name}: {word}\n{summary}");
        list(&mut text, "clusters that Envoy must get dynamically", dynamic);
        list(&mut text, "errors", errors);
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        list(&mut text, "warnings", &warnings);
        text
    }

    fn json(&self) -> Value {
        let Self { name, dynamic, errors, warnings, .. } = self;
        let warnings: Vec<_> = warnings.iter().map(Warning::json).collect();
        json!({
            "name": name, "valid": errors.is_empty(), "errors": errors, "warnings": warnings,
            "dynamic_clusters": dynamic,
        })
    }
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
