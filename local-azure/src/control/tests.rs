use serde_json::{Value, json};

use crate::{LocalAzure, Options};

#[tokio::test]
async fn the_root_lists_the_commands() {
    let azure = start().await;
    assert!(get(&azure, "/").await.contains("POST /issuer/rotate"));
}

#[tokio::test]
async fn a_token_comes_as_text() {
    let azure = start().await;
    let (status, token) = post(&azure, "/issuer/token", r#"{"claims": {"scp": null}}"#).await;
    assert_eq!((status, token.trim_end().split('.').count()), (200, 3));
    assert_eq!(post(&azure, "/issuer/token", "").await.0, 200);
    assert_eq!(post(&azure, "/issuer/token", "[").await.0, 400);
}

#[tokio::test]
async fn keys_rotate_and_retire() {
    let azure = start().await;
    let old = azure.issuer.kid();
    let (status, text) = post(&azure, "/issuer/rotate", "").await;
    assert_eq!(status, 200);
    assert_ne!(azure.issuer.kid(), old);
    assert!(text.contains(&azure.issuer.kid()));
    assert_eq!(post(&azure, "/issuer/retire", "").await.0, 200);
    let jwks = format!("http://{}/jwks.json", azure.issuer.address());
    let jwks: Value = reqwest::get(jwks).await.unwrap().json().await.unwrap();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_arrived_is_shown_without_credentials() {
    let azure = start().await;
    let url = format!("http://{}/healthz?a=b", azure.openai.address());
    let request = reqwest::Client::new().get(url);
    let request = request.header("authorization", "Bearer 0123456789abcdefghij");
    let request =
        request.header("api-key", "ABCDEFGHIJKLMNOP").header("x-two", "1").header("x-two", "2");
    request.send().await.unwrap();

    let text = get(&azure, "/openai/requests").await;
    assert!(!text.contains("cdefghij") && !text.contains("MNOP"));
    let requests: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&requests[0]["method"], &requests[0]["target"]),
        (&json!("GET"), &json!("/healthz?a=b"))
    );
    assert_eq!(requests[0]["headers"]["authorization"], "Bearer 0123456789ab…");
    assert_eq!(requests[0]["headers"]["api-key"], "ABCDEFGHIJKL…");
    assert_eq!(requests[0]["headers"]["x-two"], "1, 2");
    assert_eq!(get(&azure, "/imds/requests").await, "[]");
}

#[tokio::test]
async fn any_service_breaks_and_heals() {
    let azure = start().await;
    let jwks = format!("http://{}/jwks.json", azure.issuer.address());
    let status = async || reqwest::get(&jwks).await.map(|answer| answer.status().as_u16()).ok();
    for (fault, expected) in [
        (r#"{"kind": "status", "status": 503}"#, Some(503)),
        (r#"{"kind": "status", "status": 429, "retry_after": 1}"#, Some(429)),
        (r#"{"kind": "delay", "millis": 1}"#, Some(200)),
        (r#"{"kind": "garbage"}"#, Some(200)),
        (r#"{"kind": "giant", "bytes": 100}"#, Some(200)),
        (r#"{"kind": "truncated"}"#, Some(200)),
        (r#"{"kind": "changed", "members": {"keys": []}}"#, Some(200)),
        (r#"{"kind": "close"}"#, None),
    ] {
        assert_eq!(post(&azure, "/issuer/fault", fault).await.0, 200, "{fault}");
        assert_eq!(status().await, expected, "{fault}");
    }
    assert_eq!(post(&azure, "/issuer/heal", "").await.0, 200);
    assert_eq!(status().await, Some(200));

    for service in ["imds", "appservice", "oauth", "openai"] {
        assert_eq!(post(&azure, &format!("/{service}/fault"), r#"{"kind": "hang"}"#).await.0, 200);
        assert_eq!(post(&azure, &format!("/{service}/heal"), "").await.0, 200);
    }
}

#[tokio::test]
async fn a_command_that_is_not_understood_changes_nothing() {
    let azure = start().await;
    for (path, body, expected) in [
        ("/nobody/heal", "", 400),
        ("/issuer/fault", r#"{"kind": "fire"}"#, 400),
        ("/issuer/fault", r#"{"kind": "status"}"#, 400),
        ("/issuer/fault", r#"{"kind": "delay", "seconds": 1}"#, 400),
        ("/issuer/fault", r#"{"kind": "changed", "members": 1}"#, 400),
        ("/imds/lifetime", r#"{"seconds": -1}"#, 400),
        ("/issuer/lifetime", r#"{"seconds": 1}"#, 400),
        ("/elsewhere", "", 404),
    ] {
        assert_eq!(post(&azure, path, body).await.0, expected, "{path} {body}");
    }
    let jwks = format!("http://{}/jwks.json", azure.issuer.address());
    assert_eq!(reqwest::get(jwks).await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_lifetime_of_identity_tokens_is_set() {
    let azure = start().await;
    for service in ["imds", "appservice", "oauth"] {
        let path = format!("/{service}/lifetime");
        assert_eq!(post(&azure, &path, r#"{"seconds": 7}"#).await.0, 200, "{service}");
    }
    let query = "?api-version=2018-02-01&resource=r";
    let url = format!("http://{}/metadata/identity/oauth2/token{query}", azure.imds.address());
    let request = reqwest::Client::new().get(url).header("metadata", "true");
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["expires_in"], "7");
}

async fn start() -> LocalAzure {
    LocalAzure::start(Options::default()).await.unwrap()
}

async fn get(azure: &LocalAzure, path: &str) -> String {
    let url = format!("{}{path}", azure.control_url());
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

async fn post(azure: &LocalAzure, path: &str, body: &'static str) -> (u16, String) {
    let url = format!("{}{path}", azure.control_url());
    let answer = reqwest::Client::new().post(url).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}
