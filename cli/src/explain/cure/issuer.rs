//! An `iss` that no entry has, and the entry that was likely meant.

use keyless_core::config::Config;

use super::{Said, kind};

/// What people append to an issuer because its documents are there.
const WELL_KNOWN: [&str; 2] =
    ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

/// Entra's issuers of version 2 and 1, in all clouds.
const ENTRA: [&str; 5] = [
    "https://login.microsoftonline.com/",
    "https://login.microsoftonline.us/",
    "https://login.partner.microsoftonline.cn/",
    "https://sts.windows.net/",
    "https://sts.chinacloudapi.cn/",
];

/// Returns how `iss` differs from that of an entry that was likely meant.
pub(super) fn cure(config: &Config, said: &Said) -> Option<String> {
    let Some(iss) = said.claim("iss") else {
        let found = kind(said.claims.get("iss"));
        return Some(format!("iss is {found}; it must be a text"));
    };
    let of_entry = config.issuers.iter().find_map(|issuer| {
        let accepted = issuer.accepted.iter().find(|accepted| base(accepted) == base(iss))?;
        Some(difference(accepted, iss, issuer.entry.0))
    });
    of_entry.or_else(|| of_entra(config, iss)).or_else(|| of_host(config, iss))
}

/// An issuer that an entry names with another host: an inner address, or a domain of the customer's.
fn of_host(config: &Config, iss: &str) -> Option<String> {
    let path = |url: &str| {
        let (_, rest) = url.trim_end_matches('/').split_once("://")?;
        rest.split_once('/').map(|(_, path)| path.to_owned())
    };
    let own = path(iss)?;
    let is_of_path = |accepted: &String| path(accepted).as_ref() == Some(&own);
    let issuer = config.issuers.iter().find(|issuer| issuer.accepted.iter().any(is_of_path))?;
    Some(format!(
        "iss differs from issuers[{}].issuer in its host alone: an inner address, or a domain of its \
         own; have the issuer use one name for all (Keycloak: --hostname), or write it as the token \
         does (--show-claims)",
        issuer.entry.0
    ))
}

/// An issuer without all that people confuse.
fn base(iss: &str) -> String {
    let iss = WELL_KNOWN.iter().find_map(|end| iss.strip_suffix(end)).unwrap_or(iss);
    let iss = iss.trim_end_matches('/').to_ascii_lowercase();
    iss.split_once("://").map_or(iss.clone(), |(_, rest)| rest.to_owned())
}

fn difference(accepted: &str, iss: &str, at: usize) -> String {
    let entry = format!("issuers[{at}].issuer");
    if let Some(end) = WELL_KNOWN.iter().find(|end| accepted.ends_with(**end)) {
        let right = accepted.strip_suffix(end).unwrap_or(accepted);
        let slash = if iss.ends_with('/') { "/" } else { "" };
        return format!(
            "{entry} is the address of a document; write the issuer, {:?}, and `\"discovery\": true`",
            format!("{}{slash}", right.trim_end_matches('/'))
        );
    }
    let trimmed = accepted.trim_end_matches('/');
    match (iss.trim_end_matches('/') == trimmed, iss.ends_with('/')) {
        (true, true) => format!(
            "iss ends with a slash and {entry} does not; they are compared exactly, so write \
             \"{trimmed}/\""
        ),
        (true, false) => format!(
            "{entry} ends with a slash and iss does not; they are compared exactly, so write \
             {trimmed:?}"
        ),
        (false, _) => format!(
            "iss differs from {entry} in case, in http or https, or by a document's name at its end; \
             they are compared exactly, so write it as the token does (--show-claims)"
        ),
    }
}

/// An issuer of Entra that no entry has: of the other version, or of another tenant.
fn of_entra(config: &Config, iss: &str) -> Option<String> {
    let rest = ENTRA.iter().find_map(|host| iss.strip_prefix(host))?;
    let tenant = rest.split('/').next().filter(|tenant| !tenant.is_empty())?;
    let is_of_tenant = |accepted: &String| accepted.contains(tenant);
    let entry = config.issuers.iter().find(|issuer| issuer.accepted.iter().any(is_of_tenant));
    Some(match entry {
        Some(issuer) => format!(
            "iss is the same Entra tenant's of the other version; replace issuers[{}].issuer by \
             `entra` with its `tenants`, which takes both",
            issuer.entry.0
        ),
        None => "iss is of an Entra tenant that no entry has; if it is to be trusted, add it to \
                 `entra.tenants`"
            .to_owned(),
    })
}
