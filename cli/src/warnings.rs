//! What is valid and probably a mistake.

mod envoy;
mod files;
mod istio;
mod kind;
mod limits;
mod policy;
mod shadowing;

use std::fmt;

use keyless_core::config::Config;
use serde_json::{Value, json};

use crate::source::{Found, Surroundings};
pub(crate) use kind::Kind;

/// Holds one thing that is valid and probably a mistake.
#[derive(Debug)]
pub(crate) struct Warning {
    /// What kind of mistake it is.
    pub(crate) kind: Kind,
    /// Where in the configuration, or in the file around it.
    place: String,
    /// What was found there.
    found: String,
}

/// Returns everything in a configuration, and in what stands around it, that is probably a mistake:
/// `documents` are those of the file with the configuration.
pub(crate) fn of(config: &Config, found: &Found, documents: &[Value]) -> Vec<Warning> {
    let mut warnings = policy::warnings(config);
    warnings.extend(limits::warnings(config));
    warnings.extend(files::warnings(config, documents));
    match &found.surroundings {
        Surroundings::Envoy(envoy) => warnings.extend(envoy::warnings(config, envoy, documents)),
        Surroundings::Istio(resource) => warnings.extend(istio::warnings(config, resource)),
        Surroundings::None => {}
    }
    warnings
}

impl Warning {
    fn new(kind: Kind, place: impl Into<String>, found: impl fmt::Display) -> Self {
        Self { kind, place: place.into(), found: found.to_string() }
    }

    /// Returns the warning as an object of `check --output json`.
    pub(crate) fn json(&self) -> Value {
        let Self { kind, place, found } = self;
        json!({
            "code": kind.code(), "place": place, "found": found,
            "why": kind.why(), "instead": kind.instead(),
        })
    }
}

/// Shows the place and what was found; below that, why it matters and what to write instead.
impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, place, found } = self;
        writeln!(formatter, "{place}: {found} [{}]", kind.code())?;
        writeln!(formatter, "    why: {}", kind.why())?;
        write!(formatter, "    instead: {}", kind.instead())
    }
}
