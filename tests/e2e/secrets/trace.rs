//! What Envoy itself prints of secrets when its log says everything, and how it is kept from that.

use std::collections::BTreeSet;

use gateway::StartOptions;
use local_azure::{Fault, LocalAzure, Options};
use serde_json::json;

use super::{KEY, PAGES, UNUSABLE, requests, tokens};
use crate::sources;
use testkit::reply::Reply;
use testkit::world::{CHAT, World, chat_body, client};

/// What must not be printed, by kind.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    /// A caller's token, good or bad, or its key.
    Callers,
    /// The secret of the client, as it is or as a form has it.
    ClientSecret,
    /// A token of the gateway's.
    Identity,
    /// The value that the platform's endpoint wants to see, `IDENTITY_HEADER`.
    IdentityHeader,
}

/// Names a place in Envoy's log: a level, and a logger.
type Place = (String, String);

/// What Envoy prints if its log is not restrained: the heads of requests, callers' on their way in
/// and the gateway's own on their way out. docs/operations.md says the same.
const PRINTED: [(Kind, &str, &str); 5] = [
    (Kind::Callers, "debug", "http"),
    (Kind::Callers, "trace", "http"),
    (Kind::Identity, "debug", "rbac"),
    (Kind::Identity, "debug", "router"),
    (Kind::IdentityHeader, "debug", "router"),
];

/// With these, as docs/operations.md says, Envoy prints none of it, whatever else is at `trace`.
const RESTRAINED: &str = "wasm:trace,http:info,router:info,rbac:info";

/// What is left to see of a world of all three sources after all kinds of traffic and of trouble.
struct Aftermath {
    log: String,
    /// Replies, pages of the administration interface, and the access log.
    shown: Vec<String>,
    secrets: Vec<(Kind, String)>,
}

impl Aftermath {
    async fn of(component_log_level: &str) -> Self {
        let azure = LocalAzure::start(Options::default()).await.unwrap();
        let (blueprint, environment) = (sources::blueprint(&azure), sources::environment(&azure));
        let options = StartOptions {
            environment,
            log_level: "trace".to_owned(),
            component_log_level: component_log_level.to_owned(),
            is_dynamic: true,
            ..StartOptions::default()
        };
        let mut world = World::run(azure, blueprint.clone(), options).await;
        let mut shown = super::outage(&world, &sources::token(&world)).await;
        let tokens = tokens(&world);
        shown.extend(traffic(&world, &tokens).await);
        shown.push(rejection(&world).await);
        let other = blueprint.plugin(|plugin| plugin["token_cache"] = json!({ "max_entries": 7 }));
        world.gateway.push(&other).await.unwrap();
        shown.extend(from_each_source(&world).await);
        for page in PAGES {
            let url = format!("{}/{page}", world.gateway.admin_url());
            shown.push(reqwest::get(url).await.unwrap().text().await.unwrap());
        }
        world.gateway.stop().await.unwrap();
        let entries = world.gateway.access_log();
        assert!(entries.len() > tokens.len(), "{} entries", entries.len());
        shown.extend(entries.iter().map(ToString::to_string));
        Self { log: world.gateway.log(), shown, secrets: secrets(&world, &tokens) }
    }

    /// Where in the log is what.
    fn printed(&self) -> BTreeSet<(Kind, Place)> {
        let mut printed = BTreeSet::new();
        let mut place = Place::default();
        for line in self.log.lines() {
            // A message may have many lines, of which the first has the head.
            place = head(line).unwrap_or(place);
            let found = self.secrets.iter().filter(|(_, secret)| line.contains(secret));
            printed.extend(found.map(|(kind, _)| (*kind, place.clone())));
        }
        printed
    }

    fn assert_nothing_is_shown(&self) {
        for text in &self.shown {
            let found = self.secrets.iter().find(|(_, secret)| text.contains(secret));
            assert!(found.is_none(), "{found:?} is in {text}");
        }
    }
}

/// Returns the level and the logger at the beginning of a line: `[time][thread][level][logger]`.
fn head(line: &str) -> Option<Place> {
    let mut parts = line.strip_prefix('[')?.split(['[', ']']).filter(|part| !part.is_empty());
    let (level, logger) = (parts.nth(2)?, parts.next()?);
    let is_level = ["trace", "debug", "info", "warning", "error", "critical"].contains(&level);
    is_level.then(|| (level.to_owned(), logger.to_owned()))
}

/// Sends all sorts of tokens in all ways, also over HTTP/2, and returns the replies.
async fn traffic(world: &World, tokens: &[String]) -> Vec<String> {
    let mut replies = from_each_source(world).await;
    let http2 = client().http2_prior_knowledge().build().unwrap();
    for token in tokens {
        let chat = http2.post(format!("{}{CHAT}", world.gateway.url())).json(&chat_body(true));
        let chat = chat.bearer_auth(token).header("api-key", KEY);
        for request in requests(world, token).into_iter().chain([chat]) {
            replies.push(format!("{:?}", Reply::to(request).await.unwrap()));
        }
    }
    replies
}

/// Sends a request to the route of each source.
async fn from_each_source(world: &World) -> Vec<String> {
    let token = sources::token(world);
    let mut replies = Vec::new();
    for request in [world.chat(), sources::embeddings(world), sources::v1(world)] {
        let reply = Reply::to(request.bearer_auth(&token)).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        replies.push(format!("{reply:?}"));
    }
    replies
}

/// Lets the backend refuse the gateway's token, and quote it.
async fn rejection(world: &World) -> String {
    let issued = world.azure.imds.issued().concat();
    let body = json!({ "error": { "code": "401", "message": format!("No good: {issued}") } });
    let pieces = vec![body.to_string().into_bytes()];
    world.azure.openai.fault(Fault::Pieces { status: 401, headers: Vec::new(), pieces });
    let reply = Reply::to(world.chat_as(&sources::token(world))).await.unwrap();
    assert_eq!(reply.status, 502, "{reply:?}");
    world.azure.openai.heal();
    format!("{reply:?}")
}

/// Returns the claims and the signatures of all tokens, and the rest as it is.
fn secrets(world: &World, tokens: &[String]) -> Vec<(Kind, String)> {
    let parts = |tokens: &[String]| {
        let parts = tokens.iter().flat_map(|token| token.split('.').skip(1));
        parts.filter(|part| part.len() > 16).map(str::to_owned).collect::<Vec<_>>()
    };
    let azure = &world.azure;
    let issued = [azure.imds.issued(), azure.app_service.issued(), azure.oauth.issued()].concat();
    let rows = [
        (Kind::Callers, parts(tokens)),
        (Kind::Callers, vec![KEY.to_owned()]),
        (Kind::Identity, parts(&issued)),
        (Kind::Identity, vec![UNUSABLE.to_owned()]),
        (Kind::IdentityHeader, vec![azure.app_service.header().to_owned()]),
        (Kind::ClientSecret, vec![sources::SECRET.to_owned(), Options::default().client_secret]),
    ];
    rows.into_iter().flat_map(|(kind, all)| all.into_iter().map(move |one| (kind, one))).collect()
}

#[tokio::test]
async fn at_trace_envoy_prints_the_heads_of_requests_and_nothing_shows_more() {
    let aftermath = Aftermath::of("wasm:trace").await;
    aftermath.assert_nothing_is_shown();
    let documented = PRINTED.map(|(kind, level, logger)| (kind, (level.into(), logger.into())));
    assert_eq!(aftermath.printed(), BTreeSet::from(documented));
}

#[tokio::test]
async fn with_three_loggers_at_info_envoy_prints_no_secret_at_trace() {
    let aftermath = Aftermath::of(RESTRAINED).await;
    aftermath.assert_nothing_is_shown();
    assert_eq!(aftermath.printed(), BTreeSet::new());
    assert!(aftermath.log.contains("[trace][connection]"), "it is at trace");
    assert!(
        aftermath.log.contains("upstream rejected the identity token"),
        "the module says its own"
    );
}
