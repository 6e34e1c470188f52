//! Callers in a browser, which ask before they come.

use gateway::Blueprint;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, World, assert_no_key, values};

const ORIGIN: &str = "https://app.example";

/// The shipped configuration with one route for browsers, without anybody who answers them.
fn for_browsers(shipped: Blueprint) -> Blueprint {
    shipped.plugin(|plugin| {
        let routes = plugin["routes"].as_array_mut().unwrap().iter_mut();
        let chat = routes.into_iter().find(|route| route["name"] == "chat");
        chat.unwrap()["cors"] = json!(true);
    })
}

/// The same, and Envoy's CORS filter between the guard and the router, as under Istio.
fn with_cors_filter(shipped: Blueprint) -> Blueprint {
    let yaml = |value: Value| serde_yaml_ng::to_value(value).unwrap();
    for_browsers(shipped).connection_manager(|manager| {
        let api = "type.googleapis.com/envoy.extensions.filters.http.cors.v3";
        let filters = manager["http_filters"].as_sequence_mut().unwrap();
        let filter = json!({
            "name": "envoy.filters.http.cors", "typed_config": {"@type": format!("{api}.Cors")}
        });
        filters.insert(filters.len() - 1, yaml(filter));
        let policy = json!({"envoy.filters.http.cors": {
            "@type": format!("{api}.CorsPolicy"),
            "allow_origin_string_match": [{"exact": ORIGIN}],
            "allow_methods": "POST", "allow_headers": "authorization,content-type",
            "forward_not_matching_preflights": false
        }});
        manager["route_config"]["virtual_hosts"][0]["typed_per_filter_config"] = yaml(policy);
    })
}

fn preflight(world: &World, origin: &str) -> RequestBuilder {
    let request = world.request(Method::OPTIONS, CHAT).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    request.header("access-control-request-headers", "authorization,content-type")
}

#[tokio::test]
async fn envoy_answers_a_preflight_and_the_call_itself_needs_a_token() {
    let world = World::with(with_cors_filter).await;
    let reply = Reply::to(preflight(&world, ORIGIN)).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("access-control-allow-origin"), Some(ORIGIN), "{reply:?}");
    assert_eq!(reply.header("access-control-allow-methods"), Some("POST"), "{reply:?}");
    let stranger = Reply::to(preflight(&world, "https://evil.example")).await.unwrap();
    assert_eq!(stranger.header("access-control-allow-origin"), None, "{stranger:?}");
    assert!(world.azure.openai.requests().is_empty(), "nothing of both went on");

    let token = world.token();
    world.refuses(world.chat().header("origin", ORIGIN), Refusal::token_missing()).await;
    let (reply, _) = world.admits(&token, world.chat().header("origin", ORIGIN)).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some(ORIGIN), "{reply:?}");
    let log = world.gateway.access_log_of(4).await.unwrap();
    assert_eq!((&log[0]["reason"], &log[0]["route"]), (&json!("preflight"), &json!("chat")));
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_preflight_that_nobody_answers_reaches_the_backend_without_any_credential() {
    let world = World::with(for_browsers).await;
    let request = preflight(&world, ORIGIN).bearer_auth(world.token()).header("api-key", "spoofed");
    let reply = Reply::to(request).await.unwrap();
    assert_ne!(reply.code().as_deref(), Some("route_unknown"), "the backend's: {reply:?}");
    let [seen] = &world.azure.openai.requests()[..] else { panic!("not one request") };
    assert_eq!((seen.method.as_str(), values(seen, "authorization").len()), ("OPTIONS", 0));
    assert_no_key(seen);
    assert_eq!(world.key_fetches() + world.identity_fetches(), 0, "nobody was asked for it");
}

#[tokio::test]
async fn nothing_else_passes_as_a_preflight() {
    let world = World::with(with_cors_filter).await;
    let options = |target| world.request(Method::OPTIONS, target);
    let asks = |request: RequestBuilder, method: &str| {
        request.header("origin", ORIGIN).header("access-control-request-method", method)
    };
    let requests = [
        options(CHAT),
        options(CHAT).header("origin", ORIGIN),
        options(CHAT).header("access-control-request-method", "POST"),
        asks(options(CHAT), "GET"),
        asks(options("/openai/deployments/ada-3/embeddings"), "POST"),
        asks(world.request(Method::HEAD, CHAT), "POST"),
        asks(world.request(Method::GET, CHAT), "POST"),
        asks(options(CHAT), "POST").body("{}"),
    ];
    for request in requests {
        let shown = format!("{request:?}");
        let reply = Reply::to(request.bearer_auth(world.token())).await.unwrap();
        assert_eq!(reply.status, 404, "{shown}: {reply:?}");
    }
    assert!(world.azure.openai.requests().is_empty());
    world.assert_unharmed().await;
}
