//! A gateway that judges everybody and refuses nobody.

use reqwest::Method;
use serde_json::{Value, json};

use testkit::reply::Reply;
use testkit::world::{World, assert_absent, assert_no_key, values};

async fn world() -> World {
    World::with(|shipped| shipped.plugin(|plugin| plugin["report_only"] = json!(true))).await
}

#[tokio::test]
async fn what_would_be_refused_goes_on_as_the_managed_identity_and_is_recorded() {
    let world = world().await;
    let token = world.token_with(json!({"scp": "profile"}));
    let forged = format!("{}AA", world.token());
    let rows = [
        (world.chat(), "token_missing"),
        (world.chat().header("authorization", "Basic c3Bvb2ZlZA=="), "token_missing"),
        (world.chat_as(&forged), "signature_invalid"),
        (world.chat_as(&token).header("api-key", "spoofed"), "scope_missing"),
        (world.chat_as(&world.token()), "ok"),
    ];
    for (request, _) in rows.iter().map(|(request, code)| (request.try_clone().unwrap(), code)) {
        let reply = Reply::to(request).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    for seen in world.azure.openai.requests() {
        world.assert_swapped(&seen, &token);
        assert_absent(&seen, &forged);
        assert_absent(&seen, "c3Bvb2ZlZA");
    }
    let log = world.gateway.access_log_of(rows.len()).await.unwrap();
    for (entry, (_, code)) in log.iter().zip(&rows) {
        assert_eq!((&entry["verdict"], &entry["reason"]), (&json!("admitted"), &json!(code)));
    }
    let url = format!("{}/stats/prometheus", world.gateway.admin_url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    for reason in ["token_missing", "signature_invalid", "scope_missing", "ok"] {
        let is_counted = |line: &str| {
            line.starts_with("keyless_requests{")
                && line.contains("verdict=\"admitted\"")
                && line.contains(&format!("reason=\"{reason}\""))
        };
        assert!(text.lines().any(is_counted), "{reason}");
    }
    assert!(world.gateway.log().contains("report_only"), "the operator is told");
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_request_without_a_route_goes_on_without_an_identity() {
    let world = world().await;
    let request = world.request(Method::GET, "/nowhere?api-key=spoofed").bearer_auth("spoofed");
    let reply = Reply::to(request).await.unwrap();
    let code: Value = reply.json()["error"]["code"].clone();
    assert_eq!((reply.status, code), (404, json!("404")), "the backend's: {reply:?}");
    let seen = world.azure.openai.requests().pop().unwrap();
    assert_eq!((seen.target.as_str(), values(&seen, "authorization").len()), ("/nowhere", 0));
    assert_no_key(&seen);
}
