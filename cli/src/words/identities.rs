//! Identities in words: for which resource, and where their tokens come from.

use keyless_core::config::Config;
use keyless_core::identity::{Identity, Selector, Source};

use super::{Entry, or_none};

pub(super) fn entries(config: &Config) -> Vec<Entry> {
    let entries = config.identities.iter().map(|one| (one.name.clone(), lines(one))).collect();
    or_none(entries, "none: no route sets a credential")
}

fn lines(identity: &Identity) -> Vec<String> {
    let source = match &identity.source {
        Source::AppService(selector) => format!(
            "{}, from App Service's endpoint (environment: IDENTITY_ENDPOINT, IDENTITY_HEADER)",
            selected(selector, "application")
        ),
        Source::ClientCredentials(credentials) => format!(
            "the application {}, by its secret (environment: {}), from {}{}, for the scope {}",
            credentials.client_id,
            credentials.client_secret_env,
            credentials.token_uri.authority,
            credentials.token_uri.path,
            credentials.scope
        ),
        Source::Imds(selector) => format!("{}, from IMDS", selected(selector, "machine")),
    };
    let through = format!("{source}, through cluster {}", identity.cluster);
    vec![format!("for {}", identity.resource), through]
}

fn selected(selector: &Selector, whose: &str) -> String {
    match selector {
        Selector::ClientId(id) => format!("the {whose}'s identity with the client id {id}"),
        Selector::ObjectId(id) => format!("the {whose}'s identity with the object id {id}"),
        Selector::ResourceId(id) => format!("the {whose}'s identity {id}"),
        Selector::System => format!("the {whose}'s own identity"),
    }
}
