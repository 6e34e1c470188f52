//! What must be seen nowhere: callers' tokens and keys, the gateway's own tokens, and what it gets
//! them for.

mod trace;

use local_azure::Fault;
use reqwest::RequestBuilder;
use serde_json::json;

use testkit::reply::Reply;
use testkit::world::{CHAT, EMBEDDINGS, World, chat_body, eventually};

const KEY: &str = "5f0d8c3e7b1a4962";
const UNUSABLE: &str = "c2VjcmV0LXRva2VuLW9mLWFub3RoZXItdHlwZQ";

/// The pages of the administration interface that tell of requests or of the configuration.
const PAGES: [&str; 9] = [
    "certs",
    "clusters",
    "config_dump?include_eds",
    "init_dump",
    "listeners",
    "runtime",
    "server_info",
    "stats",
    "stats/prometheus",
];

#[tokio::test]
async fn no_token_and_no_key_is_seen_in_any_log_statistic_or_reply() {
    let mut world = World::start().await;
    let tokens = tokens(&world);
    let mut shown = outage(&world, &tokens[0]).await;
    for token in &tokens {
        for request in requests(&world, token) {
            shown.push(Reply::to(request).await.map(|reply| format!("{reply:?}")).unwrap());
        }
    }
    for page in PAGES {
        let url = format!("{}/{page}", world.gateway.admin_url());
        shown.push(reqwest::get(url).await.unwrap().text().await.unwrap());
    }
    world.gateway.stop().await.unwrap();
    let entries = world.gateway.access_log();
    assert!(entries.len() > tokens.len(), "{} entries", entries.len());
    shown.extend(entries.iter().map(ToString::to_string));
    shown.push(world.gateway.log());

    let issued = world.azure.imds.issued();
    let secrets = tokens.iter().chain(&issued).flat_map(|token| token.split('.').skip(1));
    let secrets: Vec<&str> =
        secrets.filter(|part| part.len() > 16).chain([KEY, UNUSABLE]).collect();
    for (text, secret) in shown.iter().flat_map(|text| secrets.iter().map(move |one| (text, one))) {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert!(shown.iter().any(|text| text.contains("token_type is not Bearer")), "nothing is shown");
}

/// Returns good tokens and all sorts of bad ones.
fn tokens(world: &World) -> Vec<String> {
    let issuer = &world.azure.issuer;
    let claims = [
        json!({}),
        json!({"scp": "openai.embeddings"}),
        json!({"scp": "profile"}),
        json!({"exp": 1}),
        json!({"aud": "other"}),
        json!({"iss": "https://evil.example"}),
        json!({"iss": 1}),
    ];
    let headers = [json!({"alg": "none"}), json!({"kid": "unknown"}), json!({"crit": ["b64"]})];
    let mut tokens: Vec<_> = claims.into_iter().map(|one| world.token_with(one)).collect();
    tokens.extend(headers.iter().map(|one| issuer.mint_with_header(one, &issuer.claims())));
    let (signed, signature) = tokens[0].rsplit_once('.').unwrap();
    tokens.extend([format!("{signed}.AAAA{}", &signature[4..]), format!("{signed}.{signature}.x")]);
    tokens
}

/// Sends a token in all ways in which callers do.
fn requests(world: &World, token: &str) -> [RequestBuilder; 7] {
    [
        world.chat_as(token).header("api-key", KEY).header("ocp-apim-subscription-key", KEY),
        world.post(CHAT, &chat_body(true)).bearer_auth(token),
        world.post(EMBEDDINGS, &json!({"input": "key"})).bearer_auth(token),
        world.post(&format!("{CHAT}&api-key={KEY}&access_token={token}"), &chat_body(false)),
        world.post(&format!("/nowhere?access_token={token}"), &json!({})).bearer_auth(token),
        world.chat_as(token).bearer_auth(token),
        world.chat().header("authorization", format!("Key {token} {KEY}")),
    ]
}

/// Lets fetches fail in ways that could be quoted, until the gateway has recovered.
async fn outage(world: &World, token: &str) -> Vec<String> {
    let answer = json!({"access_token": UNUSABLE, "token_type": "pop", "expires_in": "3600"});
    let body = answer.to_string().into_bytes();
    let content_type = "application/json".to_owned();
    world.azure.imds.fault(Fault::Body { status: 200, content_type, body });
    let refused = Reply::to(world.chat_as(token)).await.unwrap();
    assert_eq!(refused.code().as_deref(), Some("identity_unavailable"), "{refused:?}");
    world.azure.imds.heal();
    eventually("it recovers", async || {
        let reply = Reply::to(world.chat_as(token)).await.unwrap();
        (reply.status == 200).then_some(())
    })
    .await;
    vec![format!("{refused:?}")]
}
