//! What operators see.

use reqwest::Method;
use serde_json::{Value, json};

use testkit::reply::{Refusal, Reply};
use testkit::world::{CONNECTIONS, World};

/// Returns the entry of the only request so far, as far as keyless has written it.
async fn record(world: &World) -> Value {
    let [mut entry] = world.gateway.access_log_of(1).await.unwrap().try_into().unwrap();
    let fields = entry.as_object_mut().unwrap();
    let own = ["verdict", "reason", "issuer", "client", "subject", "route", "deployment", "status"];
    fields.retain(|name, _| own.contains(&name.as_str()));
    entry
}

#[tokio::test]
async fn the_access_log_tells_who_was_admitted_to_what() {
    let world = World::start().await;
    let claims = world.azure.issuer.claims();
    world.admits(&world.azure.issuer.mint(&claims), world.chat()).await;
    let expected = json!({
        "verdict": "admitted", "reason": "ok", "status": 200, "issuer": "entra", "route": "chat",
        "client": claims["azp"], "subject": claims["sub"], "deployment": "gpt-4o-mini",
    });
    assert_eq!(record(&world).await, expected);
}

#[tokio::test]
async fn the_access_log_tells_who_was_refused_and_why() {
    let world = World::start().await;
    let token = world.token_with(json!({"scp": "profile"}));
    world.refuses(world.chat_as(&token), Refusal::forbidden("scope_missing")).await;
    let claims = world.azure.issuer.claims();
    let expected = json!({
        "verdict": "refused", "reason": "scope_missing", "status": 403, "issuer": "entra",
        "route": "chat", "client": claims["azp"], "subject": claims["sub"], "deployment": null,
    });
    assert_eq!(record(&world).await, expected);
}

#[tokio::test]
async fn the_access_log_believes_no_token_that_is_not_verified() {
    let world = World::start().await;
    let forged = format!("{}AA", world.token());
    world.refuses(world.chat_as(&forged), Refusal::invalid_token("signature_invalid")).await;
    let expected = json!({
        "verdict": "refused", "reason": "signature_invalid", "status": 401, "issuer": "entra",
        "route": "chat", "client": null, "subject": null, "deployment": null,
    });
    assert_eq!(record(&world).await, expected);
}

#[tokio::test]
async fn the_access_log_tells_what_was_public() {
    let world = World::start().await;
    let health = world.request(Method::GET, "/healthz").bearer_auth(world.token());
    assert_eq!(Reply::to(health).await.unwrap().status, 200);
    let expected = json!({
        "verdict": "admitted", "reason": "public", "status": 200, "issuer": null,
        "route": "health", "client": null, "subject": null, "deployment": null,
    });
    assert_eq!(record(&world).await, expected);
}

#[tokio::test]
async fn the_counters_add_up_over_all_workers_under_configured_names_alone() {
    let world = World::start().await;
    world.assert_every_worker_admits().await;
    for _ in 0..CONNECTIONS {
        world.refuses(world.chat(), Refusal::token_missing()).await;
    }
    let nowhere = world.request(Method::GET, "/spoofed-path").bearer_auth(world.token());
    world.refuses(nowhere, Refusal::route_unknown()).await;
    let stranger = world.token_with(json!({"iss": "https://spoofed.example", "azp": "spoofed"}));
    world.refuses(world.chat_as(&stranger), Refusal::invalid_token("issuer_unknown")).await;

    let url = format!("{}/stats/prometheus", world.gateway.admin_url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let expected = [
        ("entra", "chat", "admitted", "ok", CONNECTIONS),
        ("none", "chat", "refused", "token_missing", CONNECTIONS),
        ("none", "none", "refused", "route_unknown", 1),
        ("none", "chat", "refused", "issuer_unknown", 1),
    ];
    for (issuer, route, verdict, reason, count) in expected {
        let labels =
            [("issuer", issuer), ("route", route), ("verdict", verdict), ("reason", reason)];
        assert_eq!(counted(&text, "keyless_requests", &labels), Some(count), "{labels:?}");
    }
    for (kind, name) in [("jwks", "entra"), ("identity", "openai")] {
        let labels = [("kind", kind), ("name", name), ("result", "ok")];
        let fetches = counted(&text, "keyless_fetches", &labels);
        assert!(matches!(fetches, Some(1 | 2)), "{labels:?}: {fetches:?}");
    }
    assert!(!text.contains("spoofed"), "a caller has made up a name");
}

/// Returns the value of the one series of that name with these labels.
fn counted(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<usize> {
    let has =
        |line: &str, (label, value): &(&str, &str)| line.contains(&format!("{label}=\"{value}\""));
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")))
        .filter(|line| labels.iter().all(|label| has(line, label)));
    let value = lines.next()?.rsplit_once(' ')?.1.parse().ok();
    value.filter(|_| lines.next().is_none())
}
