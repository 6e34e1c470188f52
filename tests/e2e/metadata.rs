//! Clients that look for the issuer (RFC 9728).

use reqwest::Method;
use serde_json::json;

use testkit::reply::Reply;
use testkit::world::World;

#[tokio::test]
async fn a_client_without_a_token_finds_the_issuer_by_itself() {
    let resource = "https://gateway.example.com";
    let world = World::with(|shipped| {
        shipped.plugin(|plugin| plugin["protected_resource"] = json!({"resource": resource}))
    })
    .await;
    let reply = Reply::to(world.chat()).await.unwrap();
    let challenge = reply.header("www-authenticate").unwrap();
    let url = challenge.strip_prefix("Bearer realm=\"keyless\", resource_metadata=\"").unwrap();
    let path = url.strip_suffix('"').unwrap().strip_prefix(resource).unwrap();
    let reply = Reply::to(world.request(Method::GET, path)).await.unwrap();
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let metadata = reply.json();
    let claims = world.azure.issuer.claims();
    assert_eq!(metadata["authorization_servers"], json!([claims["iss"]]), "{metadata}");
    assert_eq!(
        metadata["scopes_supported"],
        json!([
            "openai.audio",
            "openai.chat",
            "openai.embeddings",
            "openai.files",
            "openai.images",
            "openai.realtime"
        ])
    );
    let head = Reply::to(world.request(Method::HEAD, path)).await.unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(world.azure.openai.requests().is_empty(), "the gateway itself answers");
    assert_eq!(world.key_fetches() + world.identity_fetches(), 0, "nobody was asked for it");
    world.assert_unharmed().await;
}
