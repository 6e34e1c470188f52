//! Identities: for which resource, and where their tokens come from.

use keyless_core::config::Config;
use keyless_core::identity::{Identity, Selector, Source};

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
            "client credentials of {} (secret in environment: {}), from {}{}, scope {}",
            credentials.client_id,
            credentials.client_secret_env,
            credentials.token_uri.authority,
            credentials.token_uri.path,
            credentials.scope
        ),
        Source::Imds(selector) => format!("{}, from IMDS", selected(selector)),
    };
    let through = format!("{source}, cluster {}", identity.cluster);
    vec![format!("resource {}", identity.resource), through]
}

fn selected(selector: &Selector) -> String {
    match selector {
        Selector::ClientId(id) => format!("user-assigned identity, client id {id}"),
        Selector::ObjectId(id) => format!("user-assigned identity, object id {id}"),
        Selector::ResourceId(id) => format!("user-assigned identity {id}"),
        Selector::System => "system-assigned identity".to_owned(),
    }
}
