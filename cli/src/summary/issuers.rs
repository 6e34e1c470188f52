//! Issuers: which tokens are accepted, and where the keys are.

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
        lines.push(format!("tid {}, the Entra tenant", tenant.id));
    }
    lines.push(format!("aud {}", joined(&issuer.audiences, "or")));
    if let Some(claim) = &issuer.audience_claim {
        lines.push(format!("the same in {claim}, which stands for aud"));
    }
    if !issuer.clients.is_empty() {
        lines.push(format!("client {}", joined(&issuer.clients, "or")));
    }
    let types: Vec<_> = issuer.token_types.iter().map(TokenType::as_str).collect();
    lines.push(format!("alg {}, typ {}", algorithms(issuer), joined(&types, "or")));
    let lifetime = issuer.max_lifetime.map_or_else(
        || "no max lifetime".to_owned(),
        |most| format!("max lifetime {}", format_duration(most)),
    );
    let leeway = format_duration(issuer.leeway);
    lines.push(format!("{lifetime}, leeway {leeway}"));
    lines.extend(keys(&issuer.jwks));
    lines
}

fn algorithms(issuer: &Issuer) -> String {
    let known = |algorithm: &Algorithm| Algorithm::ALL.iter().find(|(_, known)| known == algorithm);
    let names = issuer.algorithms.iter().filter_map(known).map(|(name, _)| *name);
    joined(&names.collect::<Vec<_>>(), "or")
}

fn keys(source: &JwksSource) -> Vec<String> {
    let remote = match source {
        JwksSource::Inline(keys) => {
            return vec![format!("keys: {} inline", keys.len())];
        }
        JwksSource::Remote(remote) => remote,
    };
    let address = |uri: &Uri| format!("{}{}", uri.authority, uri.path);
    let from = match &remote.location {
        JwksLocation::Discovery(uri) => format!("by discovery at {}", address(uri)),
        JwksLocation::Known(uri) => format!("from {}", address(uri)),
    };
    vec![
        format!("keys {from}, cluster {}", remote.cluster),
        format!(
            "refresh {}, max age {}, refetch on unknown kid 3 times at once, then every {}, timeout {}",
            format_duration(remote.refresh),
            format_duration(remote.max_age),
            format_duration(remote.unknown_kid_interval),
            format_duration(remote.timeout),
        ),
    ]
}
