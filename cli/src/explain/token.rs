//! The checks of the token, as the gate made them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyless_core::config::Config;
use keyless_core::denial::Denial;
use keyless_core::gate::Step;

use super::end::said;
use crate::summary::Entry;

/// Returns a line for each check of the token.
pub(super) fn checks(config: &Config, steps: &[Step]) -> Vec<Entry> {
    steps.iter().filter_map(|step| check(config, step)).collect()
}

fn check(config: &Config, step: &Step) -> Option<Entry> {
    let entry = |name: &str, good: &str, outcome: &Result<(), Denial>| {
        let line = match outcome {
            Ok(()) => good.to_owned(),
            Err(denial) => format!("FAILS: {}", said(denial)),
        };
        Some((name.to_owned(), vec![line]))
    };
    match step {
        Step::Client(outcome) => entry("client", "one that the issuer's entry lists", outcome),
        Step::Credential(outcome) => entry("credential", "one token", outcome),
        Step::Form(outcome) => entry("form", "a signed JWT", outcome),
        Step::Grants { .. } | Step::Route(..) => None,
        Step::Issuer(Err(denial)) => entry("issuer", "", &Err(denial.clone())),
        Step::Issuer(Ok(index)) => {
            let issuer = config.issuers.get(index.0)?;
            let name = format!("{} (issuers[{}])", issuer.name, issuer.entry.0);
            entry("issuer", &name, &Ok(()))
        }
        Step::Registered(name, outcome) => entry(name, "holds", outcome),
        Step::Signature(outcome) => entry("signature", "good", outcome),
        Step::SignatureUnchecked => {
            let line = "UNCHECKED: the keys are the issuer's; give them with --jwks FILE";
            Some(("signature".to_owned(), vec![line.to_owned()]))
        }
    }
}

/// What a token says, whoever made it.
pub(super) fn payload(token: &[u8]) -> Option<String> {
    let payload = token.split(|byte| *byte == b'.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    serde_json::to_string_pretty(&claims).ok()
}
