//! Why a command could not run. What a command finds wrong is no error: it is an [`Outcome`].
//!
//! [`Outcome`]: crate::Outcome

use std::io;
use std::path::PathBuf;

use keyless_core::config;
use keyless_core::http::FetchError;
use thiserror::Error;

/// Says why a command could not run; the exit status is 2.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The file that an option names could not be read; its name may be a token, given by mistake.
    #[error("the file of {option}: {error}")]
    Argument {
        /// The option, such as `--jwks`.
        option: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The one configuration of the file is invalid.
    #[error("{}: {error}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// The mistakes, with their paths.
        error: config::Errors,
    },
    /// The file of `--jwks` is not a key set.
    #[error("the file of --jwks: {0}")]
    Jwks(FetchError),
    /// The file could not be read.
    #[error("{}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file holds several configurations, and the command takes one.
    #[error("{}: expected one configuration, found {}: {}", file.display(), places.len(), places.join("; "))]
    Several {
        /// The file.
        file: PathBuf,
        /// Where in it they are.
        places: Vec<String>,
    },
    /// No configuration could be found in the file.
    #[error("{}: {error}", file.display())]
    Source {
        /// The file.
        file: PathBuf,
        /// Why.
        error: SourceError,
    },
    /// The result could not be written.
    #[error("stdout: {0}")]
    Write(io::Error),
}

/// Says why there is no plugin configuration in a file, or in a filter of it.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    /// A `BytesValue` of a filter is not base64.
    #[error("`configuration.value`: expected base64: {0}")]
    Base64(base64::DecodeError),
    /// A number of a YAML document cannot be one of JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Nothing in the file loads keyless.
    #[error(
        "expected a configuration of keyless, found none: no Wasm filter, WasmPlugin or \
         TrafficExtension that loads it, and no `issuers` at the top level"
    )]
    NoConfiguration,
    /// A `StringValue` of a filter holds no string.
    #[error(
        "`configuration.value`: expected a string, such as what follows `value: |`; for an object \
         use google.protobuf.Struct"
    )]
    NotString,
    /// A filter's configuration is of a type that Envoy does not pass to a module.
    #[error(
        "`configuration.@type`: expected type.googleapis.com/google.protobuf.StringValue, Struct or \
         BytesValue"
    )]
    UnknownType,
    /// The file is neither JSON nor YAML.
    #[error(transparent)]
    Yaml(#[from] serde_yaml_ng::Error),
}

/// Says why `--at` is not a time.
#[derive(Debug, Error)]
pub(crate) enum TimeError {
    /// It is neither Unix seconds nor a date.
    #[error(transparent)]
    Malformed(#[from] humantime::TimestampError),
    /// It is later than the clock of this machine can say.
    #[error("out of range")]
    OutOfRange,
}
