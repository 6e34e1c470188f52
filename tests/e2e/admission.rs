//! The main job: who is let in, and what the backend sees of it.

use std::time::Duration;

use local_azure::Fault;
use serde_json::{Value, json};

use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, EMBEDDINGS, WORKERS, World, chat_body, client, values};

#[tokio::test]
async fn a_caller_without_a_token_is_asked_for_one() {
    let world = World::start().await;
    world.refuses(world.chat(), Refusal::token_missing()).await;
    let basic = world.chat().basic_auth("user", Some("password"));
    world.refuses(basic, Refusal::token_missing()).await;
    assert_eq!(world.key_fetches() + world.identity_fetches(), 0, "nobody was asked for it");
}

#[tokio::test]
async fn a_caller_without_the_scope_is_told_which_one() {
    let world = World::start().await;
    let token = world.token_with(json!({"scp": "profile openai.chatter"}));
    let reply = world.refuses(world.chat_as(&token), Refusal::forbidden("scope_missing")).await;
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.ends_with(r#", scope="openai.chat""#), "{challenge}");
}

#[tokio::test]
async fn the_scope_of_one_route_does_not_open_another() {
    let world = World::start().await;
    let request = world.post(EMBEDDINGS, &json!({"input": "key"})).bearer_auth(world.token());
    let reply = world.refuses(request, Refusal::forbidden("scope_missing")).await;
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.ends_with(r#", scope="openai.embeddings""#), "{challenge}");
}

#[tokio::test]
async fn a_chat_completion_reaches_the_backend_as_the_managed_identity() {
    let world = World::start().await;
    let claims = world.azure.issuer.claims();
    let token = world.azure.issuer.mint(&claims);
    let (reply, seen) = world.admits(&token, world.chat()).await;
    let answer = &reply.json()["choices"][0]["message"];
    assert_eq!(answer["role"], "assistant", "{reply:?}");
    assert!(answer["content"].is_string(), "{reply:?}");
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.target, CHAT);
    assert_eq!(values(&seen, "host"), ["my-openai.openai.azure.com"]);
    assert_eq!(values(&seen, "x-caller-id"), [claims["oid"].as_str().unwrap()]);
}

#[tokio::test]
async fn embeddings_reach_the_backend_as_the_managed_identity() {
    let world = World::start().await;
    let token = world.token_with(json!({"scp": "profile openai.embeddings"}));
    let request = world.post(EMBEDDINGS, &json!({"input": ["one", "two"]}));
    let (reply, seen) = world.admits(&token, request).await;
    assert_eq!(reply.json()["data"].as_array().map(Vec::len), Some(2), "{reply:?}");
    assert_eq!(seen.target, EMBEDDINGS);
}

#[tokio::test]
async fn under_v1_the_same_scopes_count_and_the_body_names_the_model() {
    let world = World::start().await;
    let token = world.token_with(json!({"scp": "openai.chat"}));
    let (chat, embeddings) = ("/openai/v1/chat/completions", "/openai/v1/embeddings");
    let mut body = chat_body(false);
    body["model"] = json!("gpt-4o-mini");
    let (_, seen) = world.admits(&token, world.post(chat, &body)).await;
    assert_eq!(seen.target, chat);
    assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap(), body);
    let request = world.post(embeddings, &json!({"model": "ada", "input": "one"}));
    let expected = Refusal::forbidden("scope_missing");
    world.refuses(request.try_clone().unwrap().bearer_auth(&token), expected).await;
    world.admits(&world.token_with(json!({"scp": "openai.embeddings"})), request).await;
}

#[tokio::test]
async fn an_application_is_admitted_by_its_role() {
    let world = World::start().await;
    let token = world.token_with(json!({"scp": null, "roles": ["OpenAI.Chat", "Other"]}));
    world.admits(&token, world.chat()).await;
    let token = world.token_with(json!({"scp": null, "roles": ["OpenAI.Embeddings"]}));
    world.refuses(world.chat_as(&token), Refusal::forbidden("scope_missing")).await;
}

#[tokio::test]
async fn what_the_backend_answers_comes_back_unchanged() {
    let world = World::start().await;
    let token = world.token();
    let body = b"{\"error\": \xff}".to_vec();
    let content_type = "application/problem+json".to_owned();
    world.azure.openai.fault(Fault::Body { status: 418, content_type, body: body.clone() });
    let reply = Reply::to(world.chat_as(&token)).await.unwrap();
    assert_eq!((reply.status, &reply.body), (418, &body));
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));

    let after = Duration::from_millis(1500);
    world.azure.openai.fault(Fault::RetryAfter { status: 429, after });
    let reply = Reply::to(world.chat_as(&token)).await.unwrap();
    assert_eq!(reply.status, 429, "{reply:?}");
    assert_eq!(reply.header("retry-after"), Some("2"));
    assert_eq!(reply.header("retry-after-ms"), Some("1500"));
}

#[tokio::test]
async fn over_http_2_the_rules_are_the_same() {
    let world = World::start().await;
    let client = client().http2_prior_knowledge().build().unwrap();
    let chat = || client.post(format!("{}{CHAT}", world.gateway.url())).json(&chat_body(false));
    let token = world.token();
    world.refuses(chat(), Refusal::token_missing()).await;
    let twice = chat().bearer_auth(&token).bearer_auth(&token);
    world.refuses(twice, Refusal::invalid_request("authorization_ambiguous")).await;
    world.admits(&token, chat().header("api-key", "leftover")).await;
}

#[tokio::test]
async fn every_worker_asks_for_keys_and_identity_once_for_all_its_requests() {
    let world = World::start().await;
    for _ in 0..10 {
        world.assert_every_worker_admits().await;
    }
    assert_eq!(world.azure.openai.requests().len(), 200);
    assert!(world.key_fetches() <= WORKERS, "{} fetches", world.key_fetches());
    assert!(world.identity_fetches() <= WORKERS, "{} fetches", world.identity_fetches());
    assert_eq!(world.azure.issuer.requests().len(), world.key_fetches(), "and for nothing else");
    world.assert_unharmed().await;
}
