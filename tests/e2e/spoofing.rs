//! What callers send in the hope that the backend believes it.

use keyless_core::credentials::HEADERS;
use reqwest::Method;

use testkit::reply::Reply;
use testkit::world::{World, assert_absent, assert_no_key, values};

#[tokio::test]
async fn keys_of_the_caller_do_not_reach_the_backend() {
    let world = World::start().await;
    let request = world
        .chat()
        .header("api-key", "spoofed-1")
        .header("API-Key", "spoofed-2")
        .header("Ocp-Apim-Subscription-Key", "spoofed-3");
    let (_, seen) = world.admits(&world.token(), request).await;
    assert_absent(&seen, "spoofed");
}

#[tokio::test]
async fn what_other_proxies_and_sdks_call_a_credential_does_not_reach_the_backend() {
    let world = World::start().await;
    let names = HEADERS.into_iter().filter(|name| *name != "authorization");
    let of_patterns = ["x-ms-token-aad-access-token", "x-ms-client-principal", "x-amzn-oidc-data"];
    let more = ["x-auth-request-access-token", "x-vouch-idp-accesstoken"];
    let names = names.chain(of_patterns).chain(more);
    let request = names.fold(world.chat(), |request, name| request.header(name, "spoofed"));
    let protocols = "realtime, openai-insecure-api-key.spoofed, openai-beta.realtime-v1";
    let request = request.header("Sec-WebSocket-Protocol", protocols);
    let (_, seen) = world.admits(&world.token(), request).await;
    assert_absent(&seen, "spoofed");
    assert_eq!(values(&seen, "sec-websocket-protocol"), ["realtime, openai-beta.realtime-v1"]);
}

#[tokio::test]
async fn the_caller_cannot_say_who_it_is() {
    let world = World::start().await;
    let claims = world.azure.issuer.claims();
    let request = world.chat().header("x-caller-id", "admin").header("X-Caller-Id", "root");
    let (_, seen) = world.admits(&world.azure.issuer.mint(&claims), request).await;
    assert_eq!(values(&seen, "x-caller-id"), [claims["oid"].as_str().unwrap()]);

    let token = world.token_with(serde_json::json!({"oid": null}));
    let (_, seen) = world.admits(&token, world.chat().header("x-caller-id", "admin")).await;
    assert_eq!(values(&seen, "x-caller-id"), [""; 0], "none is better than a spoofed one");
}

#[tokio::test]
async fn a_header_that_a_backend_could_take_for_another_is_refused() {
    let world = World::start().await;
    for name in ["x_caller_id", "api_key", "x-caller_id", "ocp_apim_subscription_key"] {
        let request = world.chat_as(&world.token()).header(name, "spoofed");
        let reply = Reply::to(request).await.unwrap();
        assert_eq!(reply.status, 400, "{name}: {reply:?}");
    }
    assert_eq!(world.azure.openai.requests().len(), 0);
}

#[tokio::test]
async fn credentials_in_the_query_do_not_reach_the_backend() {
    let world = World::start().await;
    let path = "/openai/deployments/gpt-4o-mini/chat/completions";
    let queries = [
        ("api-version=1&api-key=spoofed", "api-version=1"),
        ("api-key=spoofed&api-version=1", "api-version=1"),
        ("a=b&access_token=spoofed&api-version=1&subscription-key=spoofed", "a=b&api-version=1"),
        ("API-Key=spoofed&api-version=1&api%2Dkey=spoofed&api-key", "api-version=1"),
    ];
    for (query, left) in queries {
        let request = world.post(&format!("{path}?{query}"), &testkit::world::chat_body(false));
        let (_, seen) = world.admits(&world.token(), request).await;
        assert_eq!(seen.target, format!("{path}?{left}"));
        assert_absent(&seen, "spoofed");
    }
}

#[tokio::test]
async fn headers_that_speak_for_proxies_do_not_reach_the_backend() {
    let world = World::start().await;
    let names = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-envoy-external-address",
        "x-envoy-original-path",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-retry-on",
    ];
    let request = names.iter().fold(world.chat(), |one, name| one.header(*name, "spoofed"));
    let (_, seen) = world.admits(&world.token(), request).await;
    assert_absent(&seen, "spoofed");
    assert!(seen.headers.iter().all(|(name, _)| !name.starts_with("x-envoy-")), "{seen:?}");
}

#[tokio::test]
async fn a_public_route_needs_no_token_and_passes_none_on() {
    // As shipped, Envoy answers this route itself.
    let world = World::with(|shipped| {
        shipped.connection_manager(|manager| {
            let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
            routes.as_sequence_mut().unwrap().remove(0);
        })
    });
    let world = world.await;
    let bare = Reply::to(world.request(Method::GET, "/healthz")).await.unwrap();
    assert_eq!((bare.status, bare.body.as_slice()), (200, b"ok".as_slice()));
    let request = world
        .request(Method::GET, "/healthz?api-key=spoofed&deep=1")
        .bearer_auth("spoofed")
        .header("api-key", "spoofed")
        .header("ocp-apim-subscription-key", "spoofed")
        .header("x-caller-id", "spoofed");
    assert_eq!(Reply::to(request).await.unwrap().status, 200);
    let seen = world.azure.openai.requests();
    assert_eq!(seen.len(), 2);
    for seen in &seen {
        assert_eq!(values(seen, "authorization"), [""; 0]);
        assert_eq!(values(seen, "x-caller-id"), [""; 0]);
        assert_no_key(seen);
        assert_absent(seen, "spoofed");
    }
    assert_eq!(seen[1].target, "/healthz?deep=1");
    assert_eq!(world.key_fetches(), 0, "nobody was asked for keys");
}
