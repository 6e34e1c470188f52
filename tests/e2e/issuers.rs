//! The ways to trust an issuer: Entra's tenants, discovery, and keys in the configuration.

use gateway::Blueprint;
use local_azure::{Issuer, Options};
use serde_json::{Value, json};

use testkit::reply::Refusal;
use testkit::world::{WORKERS, World};

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const SECOND: &str = "11111111-2222-4333-8444-555555555555";
const CLIENT: &str = "c0ffee00-1d2e-4f3a-9b4c-5d6e7f8091a2";
const STRANGER: &str = "99999999-1d2e-4f3a-9b4c-5d6e7f8091a2";

/// Starts a world whose only issuer is Entra with these tenants and clients.
async fn world_of(tenants: &[&str], clients: &[&str]) -> World {
    let entry = json!({
        "name": "entra",
        "entra": { "tenants": tenants, "clients": clients },
        "audiences": ["api://openai-gateway"],
        "jwks": { "cluster": "entra" },
    });
    World::with(|shipped| shipped.plugin(|plugin| plugin["issuers"] = json!([entry]))).await
}

/// Says how version 1 and version 2 differ in what concerns the gateway.
fn claims_of(version: u8, tenant: &str, client: &str) -> Value {
    if version == 1 {
        let issuer = format!("https://sts.windows.net/{tenant}/");
        json!({"iss": issuer, "tid": tenant, "ver": "1.0", "appid": client, "azp": null})
    } else {
        let issuer = format!("https://login.microsoftonline.com/{tenant}/v2.0");
        json!({"iss": issuer, "tid": tenant, "ver": "2.0", "azp": client})
    }
}

/// Counts the requests for a tenant's keys.
fn key_fetches(world: &World, tenant: &str) -> usize {
    let target = format!("/{tenant}/discovery/v2.0/keys");
    world.azure.issuer.requests().iter().filter(|request| request.target == target).count()
}

#[tokio::test]
async fn entras_tokens_of_both_versions_pass_from_one_entry() {
    let world = world_of(&[TENANT], &[]).await;
    for version in [1, 2] {
        let token = world.token_with(claims_of(version, TENANT, STRANGER));
        world.admits(&token, world.chat()).await;
    }
    world.assert_every_worker_admits().await;
    assert!((1..=WORKERS).contains(&key_fetches(&world, TENANT)), "both versions share the keys");
}

#[tokio::test]
async fn a_token_that_names_another_tenant_than_its_issuer_is_refused() {
    let world = world_of(&[TENANT, SECOND], &[]).await;
    for version in [1, 2] {
        for tid in [json!(SECOND), json!("other"), json!(TENANT.to_uppercase()), json!(null)] {
            let mut claims = claims_of(version, TENANT, CLIENT);
            claims["tid"] = tid;
            let refusal = Refusal::invalid_token("tenant_mismatch");
            world.refuses(world.chat_as(&world.token_with(claims)), refusal).await;
        }
    }
    assert_eq!(world.key_fetches(), 0, "nobody was asked for keys");
}

#[tokio::test]
async fn a_second_tenant_passes_with_its_own_keys_if_it_is_listed() {
    let world = world_of(&[TENANT, SECOND], &[]).await;
    for version in [1, 2] {
        for tenant in [TENANT, SECOND] {
            let token = world.token_with(claims_of(version, tenant, CLIENT));
            world.admits(&token, world.chat()).await;
        }
    }
    for tenant in [TENANT, SECOND] {
        let fetches = key_fetches(&world, tenant);
        assert!((1..=WORKERS).contains(&fetches), "{fetches} fetches of {tenant}");
    }
}

#[tokio::test]
async fn a_tenant_that_is_not_listed_is_refused() {
    let world = world_of(&[TENANT], &[]).await;
    for version in [1, 2] {
        let token = world.token_with(claims_of(version, SECOND, CLIENT));
        world.refuses(world.chat_as(&token), Refusal::invalid_token("issuer_unknown")).await;
    }
    assert_eq!(key_fetches(&world, SECOND), 0);
}

#[tokio::test]
async fn only_listed_clients_pass_in_either_version() {
    let world = world_of(&[TENANT], &[CLIENT]).await;
    for version in [1, 2] {
        let token = world.token_with(claims_of(version, TENANT, CLIENT));
        world.admits(&token, world.chat()).await;
        let token = world.token_with(claims_of(version, TENANT, STRANGER));
        let refusal = Refusal::forbidden("client_forbidden");
        world.refuses(world.chat_as(&token), refusal).await;
        world.refuses(world.chat_as(&token), refusal).await;
    }
}

#[tokio::test]
async fn keys_that_say_they_are_of_another_issuer_are_not_a_tenants() {
    let options = Options { issuer: "https://idp.example.com/".into(), ..Options::default() };
    let other = Issuer::start(&options).await.unwrap();
    let world = World::with(|shipped| {
        shipped.cluster("other", other.address()).plugin(|plugin| {
            let entry = &mut plugin["issuers"][0];
            entry.as_object_mut().unwrap().remove("issuer");
            entry["entra"] = json!({"tenants": [TENANT]});
            entry["jwks"] = json!({"cluster": "other"});
        })
    });
    let world = world.await;
    let claims = world.azure.issuer.claims();
    let refusal = Refusal::unavailable("keys_unavailable");
    world.refuses(world.chat_as(&other.mint(&claims)), refusal).await;
    assert_eq!(other.requests()[0].target, format!("/{TENANT}/discovery/v2.0/keys"));
}

/// Starts an issuer whose name is the URL that it listens on.
async fn discoverable() -> Issuer {
    let options = Options { issuer: String::new(), ..Options::default() };
    Issuer::start(&options).await.unwrap()
}

/// Trusts an issuer of this name beside the shipped one, wherever its keys are.
fn trust(shipped: Blueprint, issuer: &Issuer, name: &str, jwks: Value) -> Blueprint {
    let entry = json!({
        "name": "partner", "issuer": name, "audiences": ["api://openai-gateway"], "jwks": jwks,
    });
    let add = |plugin: &mut Value| plugin["issuers"].as_array_mut().unwrap().push(entry);
    shipped.cluster("partner", issuer.address()).plugin(add)
}

#[tokio::test]
async fn discovery_finds_the_keys_of_an_issuer() {
    let partner = discoverable().await;
    let name = format!("http://{}/", partner.address());
    let jwks = json!({"cluster": "partner", "discovery": true});
    let world = World::with(|shipped| trust(shipped, &partner, &name, jwks)).await;
    for _ in 0..10 {
        world.admits(&partner.mint(&partner.claims()), world.chat()).await;
    }
    let targets: Vec<_> = partner.requests().into_iter().map(|request| request.target).collect();
    let count = |target| targets.iter().filter(|asked| *asked == target).count();
    let (documents, keys) = (count("/.well-known/openid-configuration"), count("/jwks.json"));
    assert!((1..=WORKERS).contains(&documents) && keys == documents, "{targets:?}");
    assert_eq!(documents + keys, targets.len(), "and nothing else");
    assert_eq!(partner.requests()[0].header_values("host"), [&name.as_bytes()[7..name.len() - 1]]);
}

#[tokio::test]
async fn the_discovery_document_of_another_issuer_vouches_for_nobody() {
    let partner = discoverable().await;
    // The document is of the issuer with the slash.
    let name = format!("http://{}", partner.address());
    let jwks = json!({"cluster": "partner", "discovery": true});
    let world = World::with(|shipped| trust(shipped, &partner, &name, jwks)).await;
    let token = partner.mint(&partner.claims_with(&json!({"iss": name})));
    world.refuses(world.chat_as(&token), Refusal::unavailable("keys_unavailable")).await;
    assert!(partner.requests().iter().all(|request| !request.target.ends_with("jwks.json")));
    world.admits(&world.token(), world.chat()).await;
}

#[tokio::test]
async fn keys_in_the_configuration_are_asked_of_nobody() {
    let partner = discoverable().await;
    let name = format!("http://{}/", partner.address());
    let keys = reqwest::get(format!("{name}jwks.json")).await.unwrap().json::<Value>().await;
    let jwks = json!({"inline": keys.unwrap()});
    let world = World::with(|shipped| trust(shipped, &partner, &name, jwks)).await;
    for _ in 0..10 {
        world.admits(&partner.mint(&partner.claims()), world.chat()).await;
    }
    let rotating = partner.clone();
    tokio::task::spawn_blocking(move || rotating.rotate()).await.unwrap();
    let token = partner.mint(&partner.claims());
    world.refuses(world.chat_as(&token), Refusal::invalid_token("key_unknown")).await;
    assert_eq!(partner.requests().len(), 1, "the test alone has asked");
}
