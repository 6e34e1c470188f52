//! How Entra refuses: by the number of its error, never by its description, which quotes what was sent.

use serde_json::Value;

use super::answer;
use crate::http::FetchError;
use crate::json;

/// Returns what a refusal of a token endpoint means.
///
/// Entra names the reason in `error_codes` (Microsoft: "Microsoft Entra authentication and
/// authorization error codes"); those that an operator can do something about have a result of their
/// own.
pub(super) fn refusal(status: u16, body: &[u8]) -> FetchError {
    let number = number(body).unwrap_or_default();
    match number {
        // No federated credential at all; of this issuer; of this subject, which is compared in exact
        // case.
        70_021 | 70_025 | 700_211 | 700_213 | 7_002_137 | 7_002_138 => {
            FetchError::NoFederatedCredential(number)
        }
        700_212 => FetchError::AssertionAudience(number),
        700_024 => FetchError::AssertionExpired(number),
        // The signature; its key is not found; Entra cannot read the issuer's keys.
        50_013 | 50_027 | 700_027 | 700_222 => FetchError::AssertionInvalid(number),
        700_016 => FetchError::ClientUnknown(number),
        90_002 => FetchError::TenantUnknown(number),
        7_000_215 => FetchError::ClientSecretInvalid(number),
        7_000_222 => FetchError::ClientSecretExpired(number),
        0 => FetchError::Status { status, error: answer::error(body) },
        _ => {
            let word = answer::error(body).map_or_else(String::new, |word| format!("{word}, "));
            FetchError::Status { status, error: Some(format!("{word}AADSTS{number}").into()) }
        }
    }
}

fn number(body: &[u8]) -> Option<u32> {
    let answer = json::object(body).ok()?;
    let first = answer.get("error_codes").and_then(Value::as_array)?.first()?;
    first.as_u64()?.try_into().ok()
}
