//! Identities: for which resource, and where their tokens come from.

use keyless_core::config::Config;
use keyless_core::identity::{ClientSecret, File, Identity, Selector, Source, WorkloadIdentity};

use super::{Entry, or_none};

pub(super) fn entries(config: &Config) -> Vec<Entry> {
    let entries = config.identities.iter().map(|one| (one.name.clone(), lines(one))).collect();
    or_none(entries, "none: no route sets an upstream credential")
}

fn lines(identity: &Identity) -> Vec<String> {
    let source = match &identity.source {
        Source::AppService(selector) => format!(
            "{}, from App Service (environment: IDENTITY_ENDPOINT, IDENTITY_HEADER)",
            selected(selector)
        ),
        Source::ClientCredentials(credentials) => format!(
            "client credentials of {} ({}), from {}{}, scope {}",
            credentials.client_id,
            secret(&credentials.client_secret),
            credentials.token_uri.authority,
            credentials.token_uri.path,
            credentials.scope
        ),
        Source::Imds(selector) => format!("{}, from IMDS", selected(selector)),
        Source::WorkloadIdentity(workload) => exchanged(workload),
    };
    let through = format!("{source}, cluster {}", identity.cluster);
    vec![format!("resource {}", identity.resource), through]
}

fn secret(secret: &ClientSecret) -> String {
    match secret {
        ClientSecret::Environment(name) => format!("secret in environment: {name}"),
        ClientSecret::File(file) => format!("secret in {}", place(file)),
    }
}

fn exchanged(workload: &WorkloadIdentity) -> String {
    let given = |value: &Option<String>, variable: &str| {
        value.clone().unwrap_or_else(|| format!("in environment: {variable}"))
    };
    let authority = workload.authority_host.as_ref().map_or_else(
        || "Entra (environment: AZURE_AUTHORITY_HOST)".to_owned(),
        |uri| format!("{}{}", uri.authority, uri.path),
    );
    format!(
        "workload identity, client {}, tenant {}, token in {}, from {authority}",
        given(&workload.client_id, "AZURE_CLIENT_ID"),
        given(&workload.tenant_id, "AZURE_TENANT_ID"),
        place(&workload.token_file),
    )
}

fn place(file: &File) -> String {
    format!("the file of cluster {}, path {}", file.cluster, file.path)
}

fn selected(selector: &Selector) -> String {
    match selector {
        Selector::ClientId(id) => format!("user-assigned identity, client id {id}"),
        Selector::ObjectId(id) => format!("user-assigned identity, object id {id}"),
        Selector::ResourceId(id) => format!("user-assigned identity {id}"),
        Selector::System => "system-assigned identity".to_owned(),
    }
}
