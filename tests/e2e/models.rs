//! The interface under `/openai/v1/`, where the body names the model: it is read before anything of
//! the request goes on.

use std::time::Duration;

use gateway::Blueprint;
use local_azure::{Fault, Recorded};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::trailers::with_trailers;
use testkit::reply::{Refusal, Reply};
use testkit::world::{
    CHAT, WITHOUT_FOREIGN_FUNCTIONS, World, chat_body, client, shipped_with, values,
};

const V1: &str = "/openai/v1/chat/completions?api-version=preview";
const AUDIO: &str = "/openai/v1/audio/transcriptions";

/// The shipped configuration and a route that reads bodies.
fn with_models(shipped: Blueprint) -> Blueprint {
    shipped_with(json!({
        "name": "v1",
        "match": { "methods": ["DELETE", "GET", "POST"], "path": "/openai/v1/{*rest}" },
        "deployment": "body.model",
        "allow": [
            { "scopes": ["openai.chat"], "deployments": ["gpt-4o-mini", "whisper-1"] },
            { "roles": ["OpenAI.Chat"] }
        ],
        "identity": "openai",
        "forward_claims": { "x-caller-id": "oid" }
    }))(shipped)
    .connection_manager(|manager| {
        let plugin = &mut manager["http_filters"][0]["typed_config"]["config"];
        plugin["allow_on_headers_stop_iteration"] = true.into();
    })
}

fn question(model: &str) -> Value {
    let mut body = chat_body(false);
    body["model"] = json!(model);
    body
}

/// The head of a request with a token, up to the fields that say how long it is.
fn head(target: &str, token: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n\
        content-type: application/json\r\n"
    )
}

/// The last request that the backend saw.
fn last(world: &World) -> Recorded {
    world.azure.openai.requests().pop().expect("a request")
}

#[tokio::test]
async fn the_model_in_the_body_decides() {
    let world = World::with(with_models).await;
    let token = world.token();
    let (reply, seen) = world.admits(&token, world.post(V1, &question("gpt-4o-mini"))).await;
    assert_eq!(reply.json()["model"], "gpt-4o-mini", "{reply:?}");
    assert_eq!((seen.target.as_str(), values(&seen, "x-caller-id").len()), (V1, 1));

    let other = world.post(V1, &question("gpt-4o")).bearer_auth(&token);
    let reply = world.refuses(other, Refusal::forbidden("deployment_forbidden")).await;
    let message = reply.json()["error"]["message"].clone();
    assert_eq!(message, "The caller is not allowed to use the deployment 'gpt-4o'.");
    let none = world.post(V1, &chat_body(false)).bearer_auth(&token);
    world.refuses(none, Refusal::bad_request("model_missing")).await;
    let twice = r#"{"model":"gpt-4o-mini","messages":[],"\u006dodel":"gpt-4o"}"#;
    let twice = world.post(V1, &json!(0)).body(twice).bearer_auth(&token);
    world.refuses(twice, Refusal::bad_request("model_malformed")).await;
    let broken = world.post(V1, &json!(["model"])).bearer_auth(&token);
    world.refuses(broken, Refusal::bad_request("body_malformed")).await;
    let text = world.request(Method::POST, V1).body("model=gpt-4o-mini").bearer_auth(&token);
    world.refuses(text, Refusal::unsupported("body_unsupported")).await;
    world.assert_unharmed().await;
}

/// Envoy 1.36 goes by the listener's `per_connection_buffer_limit_bytes` until a request is on its way
/// (envoyproxy/envoy#42607).
#[tokio::test]
async fn a_body_may_be_as_long_as_the_route_says() {
    let world = World::with(with_models).await;
    let mut body = question("gpt-4o-mini");
    body["x"] = "y".repeat(1_900_000).into();
    if version(&world).await.starts_with("1.36.") {
        let reply = Reply::to(world.post(V1, &body).bearer_auth(world.token())).await.unwrap();
        assert_eq!(reply.status, 413, "{reply:?}");
        assert_eq!(world.azure.openai.requests().len(), 0);
    } else {
        let (_, seen) = world.admits(&world.token(), world.post(V1, &body)).await;
        assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap(), body);
    }
}

/// Envoy's own version, such as 1.40.0.
async fn version(world: &World) -> String {
    let url = format!("{}/server_info", world.gateway.admin_url());
    let info: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let version = info["version"].as_str().and_then(|text| text.split('/').nth(1));
    version.expect("a commit, a version, …").to_owned()
}

#[tokio::test]
async fn the_body_arrives_as_it_was_sent() {
    let world = World::with(with_models).await;
    for length in [0, 1, 20_000, 900_000] {
        let body = format!(
            " {{\r\n\"messages\" : [], \"x\": \"{}\",\t\"model\":\"gpt\\u002d4o-mini\"}}\n",
            "y".repeat(length)
        );
        let request = world.request(Method::POST, V1).header("content-type", "application/json");
        let (_, seen) = world.admits(&world.token(), request.body(body.clone())).await;
        assert!(seen.body == body.as_bytes(), "{length}: {} bytes", seen.body.len());
    }
    let client = client().http2_prior_knowledge().build().unwrap();
    let body =
        format!("{{\"messages\":[],\"x\":\"{}\",\"model\":\"gpt-4o-mini\"}}", "y".repeat(900_000));
    let request = client.post(format!("{}{V1}", world.gateway.url())).body(body.clone());
    let (_, seen) =
        world.admits(&world.token(), request.header("content-type", "application/json")).await;
    assert!(seen.body == body.as_bytes(), "HTTP/2: {} bytes", seen.body.len());
}

#[tokio::test]
async fn nothing_goes_on_before_the_whole_body_has_come() {
    let world = World::with(with_models).await;
    let body = question("gpt-4o-mini").to_string();
    let (first, rest) = body.split_at(10);
    let head = head(V1, &world.token());
    for mut line in world.lines().await {
        let before = world.azure.openai.requests().len();
        let start =
            format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n", first.len());
        line.say(start.as_bytes()).await.unwrap();
        for byte in rest.chars() {
            sleep(Duration::from_millis(5)).await;
            line.say(format!("1\r\n{byte}\r\n").as_bytes()).await.unwrap();
        }
        assert_eq!(world.azure.openai.requests().len(), before, "not before the end");
        let reply = line.ask(b"0\r\n\r\n").await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(last(&world).body, body.as_bytes());
    }
}

#[tokio::test]
async fn a_body_may_end_with_trailers() {
    let world = World::with(|shipped| with_trailers(with_models(shipped))).await;
    let body = question("gpt-4o-mini").to_string();
    let request = |body: &str| {
        let (head, length) = (head(V1, &world.token()), body.len());
        format!(
            "{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\
            api-key: spoofed\r\nx-checksum: 1\r\n\r\n"
        )
    };
    for mut line in world.lines().await {
        let reply = line.ask(request(&body).as_bytes()).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let seen = last(&world);
        assert_eq!(seen.body, body.as_bytes());
        assert_eq!(seen.trailers, [("x-checksum".to_owned(), b"1".to_vec())]);
        let reply = line.ask(request(r#"{"model":"gpt-4o"}"#).as_bytes()).await.unwrap();
        Refusal::forbidden("deployment_forbidden").is(&reply);
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_form_names_the_model_in_a_field_wherever_it_stands() {
    let world = World::with(with_models).await;
    let part = |head: &str, value: &str| {
        format!("--Form.B\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    };
    let audio = part("name=\"file\"; filename=\"a.wav\"", &"RIFF\n--\r\n\u{1}".repeat(3000));
    let model = |name: &str| part("name=\"model\"", name);
    let post = |body: String| {
        let request = world.request(Method::POST, AUDIO).bearer_auth(world.token()).body(body);
        request.header("content-type", "multipart/form-data; boundary=\"Form.B\"")
    };
    for parts in [[audio.clone(), model("whisper-1")], [model("whisper-1"), audio.clone()]] {
        let body = format!("{}--Form.B--\r\n", parts.concat());
        let reply = Reply::to(post(body.clone())).await.unwrap();
        assert_eq!(reply.status, 404, "the stand-in has no audio: {reply:?}");
        let seen = last(&world);
        world.assert_swapped(&seen, &world.token());
        assert!(seen.target == AUDIO && seen.body == body.as_bytes());
    }
    let rows = [
        ([audio.clone(), model("whisper-2")].concat(), Refusal::forbidden("deployment_forbidden")),
        (
            [model("whisper-1"), audio.clone(), model("x")].concat(),
            Refusal::bad_request("model_malformed"),
        ),
        (audio.clone(), Refusal::bad_request("model_missing")),
        (format!("preamble\r\n{}", model("whisper-1")), Refusal::bad_request("body_malformed")),
    ];
    for (parts, refusal) in rows {
        world.refuses(post(format!("{parts}--Form.B--\r\n")), refusal).await;
    }
}

#[tokio::test]
async fn a_request_without_a_body_names_no_model() {
    let world = World::with(with_models).await;
    for method in [Method::GET, Method::DELETE] {
        let request = || world.request(method.clone(), "/openai/v1/models/x");
        let limited = request().bearer_auth(world.token());
        world.refuses(limited, Refusal::bad_request("model_missing")).await;
        let free = world.token_with(json!({"scp": null, "roles": ["OpenAI.Chat"]}));
        let reply = Reply::to(request().bearer_auth(&free)).await.unwrap();
        assert_eq!(reply.status, 404, "the stand-in has no models: {reply:?}");
        world.assert_swapped(&last(&world), &free);
    }
}

#[tokio::test]
async fn a_caller_who_may_not_is_told_so_before_its_body_comes() {
    let world = World::with(with_models).await;
    let expired = world.token_with(json!({"exp": 1_700_000_000}));
    let other = world.token_with(json!({"scp": "profile"}));
    assert_eq!(Reply::to(world.chat_as(&world.token())).await.unwrap().status, 200, "warm");
    for mut line in world.lines().await {
        let warm = format!(
            "GET /openai/v1/x HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {}\r\n\r\n",
            world.token()
        );
        let reply = line.ask(warm.as_bytes()).await.unwrap();
        assert_eq!(reply.code().as_deref(), Some("model_missing"), "{reply:?}");
    }
    let too_long = world.token();
    let rows = [
        (&expired, 1000, Refusal::invalid_token("token_expired")),
        (&other, 1000, Refusal::forbidden("scope_missing")),
        (&too_long, 33_554_433, Refusal::too_large("body_too_large")),
    ];
    for (token, length, refusal) in rows {
        for mut line in world.lines().await {
            let begun = Instant::now();
            let head = format!("{}content-length: {length}\r\n\r\n{{", head(V1, token));
            refusal.is(&line.ask(head.as_bytes()).await.unwrap());
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    }
}

#[tokio::test]
async fn a_body_beyond_what_envoy_holds_is_too_large() {
    let world = World::with(with_models).await;
    let mut body = question("gpt-4o-mini");
    body["x"] = json!("y".repeat(9 << 20));
    let before = world.azure.openai.requests().len();
    let reply = Reply::to(world.post(V1, &body).bearer_auth(world.token())).await.unwrap();
    assert_eq!(reply.status, 413, "{reply:?}");
    assert_eq!(world.azure.openai.requests().len(), before);
    world.admits(&world.token(), world.post(V1, &question("gpt-4o-mini"))).await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_stops_on_its_way_is_given_up() {
    let world = World::with(with_models).await;
    world.admits(&world.token(), world.chat()).await;
    let before = world.azure.openai.requests().len();
    let start = format!("{}content-length: 1000\r\n\r\n{{\"model\":", head(V1, &world.token()));
    let mut lines = world.lines().await;
    for line in &mut lines {
        line.say(start.as_bytes()).await.unwrap();
    }
    for mut line in lines {
        Refusal::late("body_late").is(&line.hear().await.unwrap());
    }
    assert_eq!(world.azure.openai.requests().len(), before);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_of_its_body_is_forgotten() {
    let world = World::with(with_models).await;
    let start = format!("{}content-length: 1000\r\n\r\n{{\"model\":", head(V1, &world.token()));
    let mut lines = world.lines().await;
    for line in &mut lines {
        line.say(start.as_bytes()).await.unwrap();
    }
    sleep(Duration::from_millis(500)).await;
    drop(lines);
    world.assert_every_worker_admits().await;
    sleep(Duration::from_secs(11)).await;
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_waits_for_keys_and_for_the_identity_token_too() {
    for (issuer, imds) in [(1, 0), (0, 1), (2, 1)] {
        let world = World::with(with_models).await;
        world.azure.issuer.fault(Fault::Delay(Duration::from_secs(issuer)));
        world.azure.imds.fault(Fault::Delay(Duration::from_secs(imds)));
        let (token, body) = (world.token(), question("gpt-4o-mini"));
        let (_, seen) = world.admits(&token, world.post(V1, &body)).await;
        assert_eq!(seen.body, body.to_string().as_bytes());
        let other = world.post(V1, &question("gpt-4o")).bearer_auth(&token);
        world.refuses(other, Refusal::forbidden("deployment_forbidden")).await;
    }
}

/// Envoy, 1.40 included, loses a part or the connection if a request is resumed between two parts of
/// its body.
#[tokio::test]
async fn a_body_that_comes_in_parts_while_its_request_waits_for_keys_arrives_whole() {
    for target in [CHAT, V1] {
        let world = World::with(with_models).await;
        world.azure.issuer.fault(Fault::Delay(Duration::from_secs(1)));
        let mut body = question("gpt-4o-mini");
        body["x"] = json!((0..60_000).map(|n: u32| n.to_string()).collect::<Vec<_>>());
        let body = body.to_string();
        let start =
            format!("{}content-length: {}\r\n\r\n", head(target, &world.token()), body.len());
        for mut line in world.lines().await {
            line.say(start.as_bytes()).await.unwrap();
            for part in body.as_bytes().chunks(20_000) {
                line.say(part).await.unwrap();
                sleep(Duration::from_millis(100)).await;
            }
            let reply = line.hear().await.unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
            assert!(last(&world).body == body.as_bytes(), "{} bytes", last(&world).body.len());
        }
    }
}

/// As Envoy is by default, and always under Istio: bodies are not shown.
#[tokio::test]
async fn without_a_look_at_bodies_nothing_goes_on() {
    let world = World::with(|shipped| {
        with_models(shipped).connection_manager(|manager| {
            let plugin = &mut manager["http_filters"][0]["typed_config"]["config"];
            plugin["allow_on_headers_stop_iteration"] = false.into();
        })
    })
    .await;
    world.admits(&world.token(), world.chat()).await;
    let request = world.post(V1, &question("gpt-4o-mini")).bearer_auth(world.token());
    world.refuses(request, Refusal::late("body_late")).await;
    let request = world.request(Method::GET, "/openai/v1/models/x").bearer_auth(world.token());
    world.refuses(request, Refusal::bad_request("model_missing")).await;
    world.assert_unharmed().await;
}

/// Where a capability list lets the module see no body, a body takes its undecided head along; then
/// there is no verdict, and the guard refuses.
#[tokio::test]
async fn a_body_that_is_withheld_from_the_module_is_stopped_by_the_guard() {
    let seen = WITHOUT_FOREIGN_FUNCTIONS.into_iter().chain([
        "proxy_on_request_body",
        "proxy_get_property",
        "proxy_get_shared_data",
        "proxy_set_shared_data",
    ]);
    for withheld in ["", "proxy_on_request_body"] {
        let allowed: Vec<_> = seen.clone().filter(|name| *name != withheld).collect();
        let world = World::with(|shipped| with_models(shipped).capabilities(&allowed)).await;
        let token = world.token();
        if withheld.is_empty() {
            world.admits(&token, world.post(V1, &question("gpt-4o-mini"))).await;
            continue;
        }
        for model in ["gpt-4o-mini", "gpt-4o"] {
            let request = world.post(V1, &question(model)).bearer_auth(&token);
            let reply = Reply::to(request).await.unwrap();
            assert_eq!((reply.status, reply.body.as_slice()), (403, &b"RBAC: access denied"[..]));
        }
        assert!(world.azure.openai.requests().is_empty());
    }
}
