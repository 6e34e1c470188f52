//! The configuration of the service that counts for a fleet.

use std::fmt::Write as _;

use super::protocol::{KEY, LIMIT};
use crate::limit::{Amount, Limit};

/// Returns the file that envoyproxy/ratelimit needs to count these limits: one descriptor for each,
/// with a counter for each of its keys.
pub fn service_file(domain: &str, limits: &[Limit]) -> String {
    let mut file = format!("domain: \"{domain}\"\ndescriptors:\n");
    for Limit { name, amount, window, .. } in limits {
        let (most, (unit, _)) = (amount.most_in_grains(), window.unit());
        let counted = match amount {
            Amount::Cost(_) => "thousandths of a currency unit",
            Amount::Requests(_) => "requests",
            Amount::Tokens(..) => "tokens",
        };
        let window = window.name();
        _ = writeln!(file, "  - key: {LIMIT}");
        _ = writeln!(file, "    value: \"{name}\"");
        _ = writeln!(file, "    descriptors:");
        _ = writeln!(file, "      - key: {KEY}");
        _ = writeln!(file, "        rate_limit: # {counted} in {window}");
        _ = writeln!(file, "          unit: {unit}");
        _ = writeln!(file, "          requests_per_unit: {most}");
    }
    file
}
