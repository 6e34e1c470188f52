//! A model server of one's own, which has nothing to do with Azure.

use gateway::Blueprint;
use local_azure::{Fault, Recorded};
use serde_json::json;

use super::{Tiers, full};
use testkit::reply::{Refusal, Reply};
use testkit::world::{RESOURCE, assert_absent, chat_body, values};

const TARGET: &str = "/on-prem/v1/chat/completions";
const MODELS: &str = "api://models";

/// Asks the model server, which answers 200, and returns what it saw.
async fn ask(tiers: &Tiers, token: &str) -> Recorded {
    let body = b"{}".to_vec();
    let content_type = "application/json".to_owned();
    tiers.on_prem.fault(Fault::Body { status: 200, content_type, body });
    let request = tiers.world.post(TARGET, &chat_body(false)).bearer_auth(token);
    let reply = Reply::to(request.header("api-key", "leftover")).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(tiers.counts(), [0, 0, 0], "nothing went to Azure");
    let [seen] = tiers.on_prem.requests().try_into().unwrap();
    assert_absent(&seen, token);
    assert_eq!(values(&seen, "api-key"), [""; 0]);
    seen
}

/// Gives the model server an identity of its own.
fn with_identity(shipped: Blueprint) -> Blueprint {
    shipped.plugin(|plugin| {
        plugin["identities"]["models"] =
            json!({ "resource": MODELS, "imds": { "cluster": "imds" } });
        let routes = plugin["routes"].as_array_mut().unwrap();
        routes.iter_mut().find(|route| route["name"] == "on-prem").unwrap()["identity"] =
            "models".into();
    })
}

#[tokio::test]
async fn a_model_server_on_premises_sees_no_token_at_all() {
    let tiers = Tiers::start().await;
    let claims = tiers.world.azure.issuer.claims();
    let seen = ask(&tiers, &tiers.world.azure.issuer.mint(&claims)).await;
    assert_eq!(seen.target, "/v1/chat/completions");
    assert_eq!(values(&seen, "host"), ["models.example.com"]);
    assert_eq!(values(&seen, "authorization"), [""; 0]);
    assert_eq!(values(&seen, "x-caller-id"), [claims["oid"].as_str().unwrap()]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&seen.body).unwrap(), chat_body(false));
}

#[tokio::test]
async fn a_model_server_may_have_an_identity_of_its_own() {
    let tiers = Tiers::with(with_identity).await;
    let seen = ask(&tiers, &tiers.world.token()).await;
    let authorization = values(&seen, "authorization");
    let [value] = &authorization[..] else { panic!("{authorization:?}") };
    let token = value.strip_prefix("Bearer ").unwrap();
    assert!(tiers.world.azure.imds.accepts(token, MODELS));
    assert!(!tiers.world.azure.imds.accepts(token, RESOURCE), "Azure's would be too much");
}

#[tokio::test]
async fn no_retry_leads_from_one_to_the_other() {
    let tiers = Tiers::start().await;
    tiers.on_prem.fault(full(9));
    let ask = || tiers.world.post(TARGET, &chat_body(false)).bearer_auth(tiers.world.token());
    let reply = Reply::to(ask()).await.unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("9")), "{reply:?}");
    tiers.on_prem.stop().await;
    assert_eq!(Reply::to(ask()).await.unwrap().status, 503);
    assert_eq!(tiers.counts(), [0, 0, 0]);

    tiers.on_prem.resume().await.unwrap();
    for backend in &tiers.azure {
        backend.fault(full(9));
    }
    assert_eq!(tiers.chat().await.status, 429);
    assert_eq!(tiers.on_prem.requests().len(), 1, "the one from before");
}

#[tokio::test]
async fn the_route_to_it_is_no_way_around_the_policy() {
    let tiers = Tiers::start().await;
    let chat = |target: &str| tiers.world.post(target, &chat_body(false));
    tiers.world.refuses(chat(TARGET), Refusal::token_missing()).await;
    let poor = tiers.world.token_with(json!({ "scp": "openai.embeddings" }));
    let refusal = Refusal::forbidden("scope_missing");
    tiers.world.refuses(chat(TARGET).bearer_auth(&poor), refusal).await;
    for target in ["/on-prem/v1/models", "/on-prem/", "/on-prem/openai/v1/chat/completions"] {
        let request = chat(target).bearer_auth(tiers.world.token());
        tiers.world.refuses(request, Refusal::route_unknown()).await;
    }
    assert_eq!(tiers.on_prem.requests().len(), 0);
}
