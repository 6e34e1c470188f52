//! Issuers in words: whose tokens, what they must be like, where the keys are.

use humantime::format_duration;
use keyless_core::config::Config;
use keyless_core::http::Uri;
use keyless_core::jwks::{JwksLocation, JwksSource};
use keyless_core::jwt::{Issuer, TokenType};
use keyless_core::signature::Algorithm;

use super::{Entry, joined};

pub(super) fn entries(config: &Config) -> Vec<Entry> {
    config.issuers.iter().map(|issuer| (issuer.name.to_string(), lines(issuer))).collect()
}

fn lines(issuer: &Issuer) -> Vec<String> {
    let accepted = issuer.accepted.iter().enumerate();
    let iss = |(at, iss)| format!("{} {iss}", if at == 0 { "iss" } else { "or " });
    let mut lines: Vec<_> = accepted.map(iss).collect();
    if let Some(tenant) = &issuer.tenant {
        lines.push(format!("of Entra's tenant {}, which tid must name", tenant.id));
    }
    lines.push(format!("for the audience {}", joined(&issuer.audiences, "or")));
    if !issuer.clients.is_empty() {
        lines.push(format!("only from the application {}", joined(&issuer.clients, "or")));
    }
    let types: Vec<_> = issuer.token_types.iter().map(TokenType::as_str).collect();
    lines.push(format!("signed with {}, of type {}", algorithms(issuer), joined(&types, "or")));
    let lifetime = issuer.max_lifetime.map_or_else(
        || "of any lifetime".to_owned(),
        |most| format!("living {} at most", format_duration(most)),
    );
    let leeway = format_duration(issuer.leeway);
    lines.push(format!("{lifetime}, clocks may differ by {leeway}"));
    lines.extend(keys(&issuer.jwks));
    lines
}

fn algorithms(issuer: &Issuer) -> String {
    let known = |wanted: &Algorithm| Algorithm::ALL.iter().find(|(_, known)| known == wanted);
    let names = issuer.algorithms.iter().filter_map(known).map(|(name, _)| *name);
    joined(&names.collect::<Vec<_>>(), "or")
}

fn keys(source: &JwksSource) -> Vec<String> {
    let remote = match source {
        JwksSource::Inline(keys) => {
            return vec![format!("keys: {} in this configuration", keys.len())];
        }
        JwksSource::Remote(remote) => remote,
    };
    let address = |uri: &Uri| format!("{}{}", uri.authority, uri.path);
    let from = match &remote.location {
        JwksLocation::Discovery(uri) => format!("where {} says", address(uri)),
        JwksLocation::Known(uri) => format!("from {}", address(uri)),
    };
    vec![
        format!("keys {from}, through cluster {}", remote.cluster),
        format!(
            "fetched anew after {}, good for {}; an unknown kid asks again every {} at most; \
             time-out {}",
            format_duration(remote.refresh),
            format_duration(remote.max_age),
            format_duration(remote.unknown_kid_interval),
            format_duration(remote.timeout),
        ),
    ]
}
