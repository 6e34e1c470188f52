//! `keyless schema`: the configuration's JSON Schema.

use keyless_core::config;

use crate::Outcome;

/// Prints the schema.
pub(crate) fn run() -> Outcome {
    Outcome { text: format!("{:#}\n", config::schema()), is_success: true }
}
