//! `keyless limits`: the configuration of the service that counts for a fleet.

use std::path::PathBuf;

use clap::Args;
use keyless_core::settle::service_file;

use crate::error::CliError;
use crate::{Outcome, explain};

/// Says whose limits to write.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A plugin configuration, or a file of Envoy or Istio that holds one; `-` is stdin
    file: PathBuf,
}

/// What the file begins with.
const HEADER: &str = "# Made by `keyless limits`: make it again when the limits change.\n";

/// Writes the limits of a configuration as envoyproxy/ratelimit reads them.
///
/// # Errors
///
/// Returns why the file could not be read, or that it has not one valid configuration.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, CliError> {
    let config = explain::configuration(&arguments.file)?;
    let domain = config.fleet.as_ref().map_or("keyless", |fleet| &fleet.domain);
    let file = service_file(domain, &config.limits);
    Ok(Outcome { text: format!("{HEADER}{file}"), is_success: true })
}
