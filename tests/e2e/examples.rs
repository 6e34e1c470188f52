//! The folders of `examples/` do what their pages say.

use std::net::SocketAddr;
use std::path::Path;

use gateway::Blueprint;
use local_azure::{LocalAzure, Options};
use serde_json::{Value, json};

use crate::realtime::{PROTOCOLS, open, refused as refused_handshake, talks};
use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, World, chat_body, shipped, values};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Reads a file of an example.
fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join("../../examples").join(name)).unwrap()
}

/// Starts the shipped Envoy with an example's configuration, and the cluster that it names besides.
async fn world(example: &str, cluster: Option<&str>) -> World {
    world_with(example, cluster, |_| ()).await
}

/// The same with a change to the configuration.
async fn world_with(example: &str, cluster: Option<&str>, edit: impl FnOnce(&mut Value)) -> World {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let configuration: Value =
        serde_json::from_str(&file(&format!("{example}/keyless.json"))).unwrap();
    let issuer: SocketAddr = azure.issuer.address();
    let blueprint = shipped(&azure).plugin(|plugin| *plugin = configuration).plugin(edit);
    let blueprint = match cluster {
        Some(name) => blueprint.cluster(name, issuer),
        None => blueprint,
    };
    World::on(azure, blueprint).await
}

/// Sends a chat completion that must be refused with this status and code.
async fn refused(world: &World, token: &str, target: &str, status: u16, code: &str) {
    let before = world.azure.openai.requests().len();
    let reply = Reply::to(world.post(target, &chat_body(false)).bearer_auth(token)).await.unwrap();
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{reply:?}");
    assert_eq!(world.azure.openai.requests().len(), before, "it reached the backend");
}

#[tokio::test]
async fn the_minimal_envoy_admits_and_refuses() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let bootstrap = serde_yaml_ng::from_str(&file("minimal/envoy.yaml")).unwrap();
    let blueprint = Blueprint::shipped()
        .edit(|shipped| *shipped = bootstrap)
        .endpoint("entra", azure.issuer.address())
        .endpoint("imds", azure.imds.address())
        .endpoint("openai", azure.openai.address());
    let world = World::on(azure, blueprint).await;
    world.refuses(world.chat(), Refusal::token_missing()).await;
    let (_, seen) = world.admits(&world.token(), world.chat()).await;
    assert_eq!(values(&seen, "host"), ["my-openai.openai.azure.com"]);
}

#[tokio::test]
async fn entra_admits_people_by_scope_and_applications_by_role() {
    let world = world("entra", None).await;
    let (_, seen) = world.admits(&world.token(), world.chat()).await;
    assert_eq!(values(&seen, "x-caller-id").len(), 1);
    let application = world.token_with(json!({ "scp": null, "roles": ["OpenAI.Chat"] }));
    world.admits(&application, world.chat()).await;
    let nobody = world.token_with(json!({ "scp": "profile" }));
    refused(&world, &nobody, CHAT, 403, "scope_missing").await;
    let stranger = "https://login.microsoftonline.com/11111111-2222-4333-8444-555555555555/v2.0";
    let stranger = world.token_with(json!({ "iss": stranger }));
    refused(&world, &stranger, CHAT, 401, "issuer_unknown").await;
}

#[tokio::test]
async fn keycloak_admits_by_realm_role() {
    let world = world("keycloak", Some("keycloak")).await;
    let claims = |roles: Value, audience: &str| {
        json!({
            "iss": "https://keycloak.example.com/realms/acme", "aud": audience, "scp": null,
            "tid": null, "realm_access": { "roles": roles }, "preferred_username": "ada",
        })
    };
    let token = world.token_with(claims(json!(["offline_access", "chat"]), "openai-gateway"));
    let (_, seen) = world.admits(&token, world.chat()).await;
    assert_eq!(values(&seen, "x-caller-id"), ["ada"]);
    let token = world.token_with(claims(json!(["offline_access"]), "openai-gateway"));
    refused(&world, &token, CHAT, 403, "claim_missing").await;
    let token = world.token_with(claims(json!(["chat"]), "account"));
    refused(&world, &token, CHAT, 401, "audience_mismatch").await;
}

#[tokio::test]
async fn of_two_issuers_the_partner_has_one_deployment() {
    let world = world("two-issuers", Some("partner")).await;
    world.admits(&world.token(), world.chat()).await;
    let claims = |roles: Value| {
        json!({
            "iss": "https://idp.example.com/", "aud": "openai-gateway", "scp": null, "tid": null,
            "roles": roles,
        })
    };
    let token = world.token_with(claims(json!(["ChatUser"])));
    world.admits(&token, world.chat()).await;
    let other = CHAT.replace("gpt-4o-mini", "gpt-4o");
    refused(&world, &token, &other, 403, "deployment_forbidden").await;
    let token = world.token_with(claims(json!(["Reader"])));
    refused(&world, &token, CHAT, 403, "role_missing").await;
}

#[tokio::test]
async fn usage_is_logged_with_its_cost_and_limits_refuse_except_for_a_trial() {
    // A minute might end while the test runs.
    let a_year = |plugin: &mut Value| plugin["limits"][0]["window"] = "365d".into();
    let world = world_with("usage-and-limits", None, a_year).await;
    let user = |name: &str| world.token_with(json!({ "sub": name, "department": "research" }));
    let (reply, _) = world.admits(&user("ada"), world.chat()).await;
    assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some("59"));
    let [entry] = world.gateway.access_log_of(1).await.unwrap().try_into().unwrap();
    let number = |name: &str| entry[name].to_string().trim_matches('"').parse::<f64>().unwrap();
    let cost = (number("tokens_input") * 0.15 + number("tokens_output") * 0.60) / 1e6;
    assert!((number("cost") - cost).abs() < 1e-12, "{entry}");
    let requests = (1..60).map(|_| world.chat_as(&user("ada")));
    let replies = Reply::to_each(requests).await.unwrap();
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    refused(&world, &user("ada"), CHAT, 429, "requests_exhausted").await;
    world.admits(&user("grace"), world.chat()).await;
    let name = "keyless_limit_checks.limit=.=department;.;result=.=within;.;";
    assert_eq!(world.gateway.metric(name).await.unwrap(), 62, "each request was looked at");
}

#[tokio::test]
async fn a_browser_opens_a_realtime_session_for_the_model_that_is_granted() {
    let world = world("realtime", None).await;
    let token = world.token_with(json!({ "scp": "openai.realtime" }));
    let target = "/openai/v1/realtime?model=gpt-realtime";
    let protocols = format!("realtime, openai-insecure-api-key.{token}");
    let (mut socket, _) = open(&world, target, &[(PROTOCOLS, &protocols)]).await.unwrap();
    let seen = talks(&world, &mut socket).await;
    world.assert_swapped(&seen, &token);
    let bearer = format!("Bearer {token}");
    let other = "/openai/v1/realtime?model=gpt-4o";
    let both = [("authorization", bearer.as_str()), (PROTOCOLS, protocols.as_str())];
    for (target, headers, refusal) in [
        (other, &both[1..], (403, "deployment_forbidden")),
        (target, &both[..], (400, "authorization_ambiguous")),
        (target, &[], (401, "token_missing")),
    ] {
        refused_handshake(&world, target, headers, refusal).await;
    }
}

#[tokio::test]
async fn a_dry_run_refuses_nobody_and_says_why_it_would() {
    let world = world("dry-run", None).await;
    let profile = world.token_with(json!({ "scp": "profile" }));
    let requests = [world.chat(), world.chat_as(&profile), world.chat_as(&world.token())];
    for request in requests {
        assert_eq!(Reply::to(request).await.unwrap().status, 200);
    }
    let log = world.gateway.access_log_of(3).await.unwrap();
    let found: Vec<_> =
        log.iter().map(|entry| json!([entry["verdict"], entry["reason"]])).collect();
    let reasons = ["token_missing", "scope_missing", "ok"];
    assert_eq!(found, reasons.map(|reason| json!(["admitted", reason])));
}
