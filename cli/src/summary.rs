//! A configuration as a summary in plain words.

mod identities;
mod issuers;
pub(crate) mod routes;

use std::fmt::Write as _;

use keyless_core::config::Config;
use keyless_core::jwks::JwksSource;

use crate::source::Clusters;

/// Summarises a configuration, in aligned lines.
pub(crate) fn of(config: &Config, clusters: &Clusters) -> String {
    let mut text = String::new();
    if config.report_only {
        text += "\nreport_only: dry run, denials are recorded but not enforced\n";
    }
    if let Some(resource) = &config.protected_resource {
        _ = writeln!(text, "\nprotected resource metadata at {}", resource.path);
        _ = writeln!(text, "  {}", resource.metadata);
    }
    let mut section = |heading: &str, entries: Vec<Entry>| {
        _ = writeln!(text, "\n{heading}");
        text += &aligned(&entries);
    };
    section("issuers: whose tokens are accepted", issuers::entries(config));
    section("identities: credentials for the backends", identities::entries(config));
    section("routes: first match wins, no match is 404", routes::entries(config));
    section("clusters: required in Envoy", clusters_needed(config, clusters));
    text
}

/// A name, and the lines beside it.
pub(crate) type Entry = (String, Vec<String>);

/// Puts each entry's lines beside its name.
pub(crate) fn aligned(entries: &[Entry]) -> String {
    let mut text = String::new();
    let width = entries.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    for (label, lines) in entries {
        for (at, line) in lines.iter().enumerate() {
            let label = if at == 0 { label.as_str() } else { "" };
            _ = writeln!(text, "  {label:<width$}  {line}");
        }
    }
    text
}

/// The clusters that keyless calls, and what for.
fn needed(config: &Config) -> Vec<(String, String)> {
    let keys = config.issuers.iter().filter_map(|issuer| match &issuer.jwks {
        JwksSource::Inline(_) => None,
        JwksSource::Remote(remote) => {
            Some((remote.cluster.clone(), format!("keys of issuer {}", issuer.name)))
        }
    });
    let tokens = config.identities.iter();
    let tokens =
        tokens.map(|one| (one.cluster.clone(), format!("tokens of identity {}", one.name)));
    let fleet = config.fleet.iter();
    let fleet = fleet.map(|fleet| (fleet.cluster.clone(), "limits of a fleet".to_owned()));
    let mut needed: Vec<(String, Vec<String>)> = Vec::new();
    for (cluster, purpose) in keys.chain(tokens).chain(fleet) {
        match needed.iter_mut().find(|(known, _)| *known == cluster) {
            Some((_, purposes)) if purposes.contains(&purpose) => {}
            Some((_, purposes)) => purposes.push(purpose),
            None => needed.push((cluster, vec![purpose])),
        }
    }
    needed.into_iter().map(|(cluster, purposes)| (cluster, purposes.join(", "))).collect()
}

fn clusters_needed(config: &Config, clusters: &Clusters) -> Vec<Entry> {
    let note = |cluster: &String| match clusters {
        Clusters::Unknown => "",
        Clusters::Dynamic(names) | Clusters::Static(names) if names.contains(cluster) => "; found",
        Clusters::Dynamic(_) => "; not in this file",
        Clusters::Static(_) => "; MISSING",
    };
    let entry = |(cluster, purpose): (String, String)| {
        let line = format!("{purpose}{}", note(&cluster));
        (cluster, vec![line])
    };
    let entries: Vec<_> = needed(config).into_iter().map(entry).collect();
    or_none(entries, "none: keyless makes no calls")
}

/// Returns an error for each cluster that keyless would call and that the file does not have.
pub(crate) fn missing(config: &Config, clusters: &Clusters) -> Vec<String> {
    let (Clusters::Dynamic(names) | Clusters::Static(names)) = clusters else { return Vec::new() };
    let missing = needed(config).into_iter().filter(|(cluster, _)| !names.contains(cluster));
    let line = |(cluster, purpose)| {
        format!(
            "static_resources.clusters: expected a cluster {cluster:?} for {purpose}, found none"
        )
    };
    missing.map(line).collect()
}

fn or_none(entries: Vec<Entry>, none: &str) -> Vec<Entry> {
    if entries.is_empty() { vec![("–".to_owned(), vec![none.to_owned()])] } else { entries }
}

/// Several texts as one: `a`, `a or b`, `a, b or c`.
pub(crate) fn joined(texts: &[impl AsRef<str>], word: &str) -> String {
    match texts {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(AsRef::as_ref).collect();
            format!("{} {word} {}", first.join(", "), last.as_ref())
        }
    }
}
