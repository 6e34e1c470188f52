//! What a real istiod made of the files of `istio/` (`tests/istio/recorded/`), in a real Envoy.

use std::time::Duration;

use gateway::Blueprint;
use local_azure::Fault;
use serde_json::{Value, json};

use testkit::mesh::{world, world_of};
use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, assert_absent, chat_body, eventually, values};

const EXTENSIONS: [&str; 2] = ["TrafficExtension", "WasmPlugin"];

#[tokio::test]
async fn a_users_token_becomes_the_managed_identity_in_both_forms() {
    for kind in EXTENSIONS {
        let (world, standard) = world(kind).await;
        let claims = world.azure.issuer.claims();
        let token = world.azure.issuer.mint(&claims);
        let forwarded = world.chat().header("x-forwarded-for", "192.0.2.1");
        let (_, seen) = world.admits(&token, forwarded).await;
        assert_eq!(values(&seen, "host"), ["my-openai.openai.azure.com"], "{kind}");
        assert_eq!(values(&seen, "x-caller-id"), [claims["oid"].as_str().unwrap()]);
        assert_eq!(values(&seen, "x-forwarded-for"), [""; 0]);
        assert_eq!(standard.requests(), 0, "provisioned capacity first");
        let imds = &world.azure.imds.requests()[0];
        assert!(imds.target.contains("client_id=00000000-0000-0000-0000-000000000000"), "{imds:?}");
        world.refuses(world.chat(), Refusal::token_missing()).await;
        world.assert_every_worker_admits().await;
    }
}

#[tokio::test]
async fn the_access_log_shows_what_keyless_found() {
    let (world, _) = world("TrafficExtension").await;
    world.admits(&world.token(), world.chat()).await;
    let [entry] = world.gateway.access_log_of(1).await.unwrap().try_into().unwrap();
    let expected = json!({
        "verdict": "admitted", "reason": "ok", "issuer": "entra", "route": "chat",
        "deployment": "gpt-4o-mini", "cluster": "outbound|443||openai.internal", "status": 200,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(entry[name], *value, "{name} in {entry}");
    }
}

#[tokio::test]
async fn the_metrics_have_their_labels() {
    let (world, _) = world("TrafficExtension").await;
    world.admits(&world.token(), world.chat()).await;
    let url = format!("{}/stats/prometheus", world.gateway.admin_url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let ours: Vec<&str> = text.lines().filter(|line| line.starts_with("keyless_")).collect();
    let expected = [
        r#"keyless_requests{issuer="entra",route="chat",verdict="admitted",reason="ok"} 1"#,
        r#"keyless_fetches{kind="jwks",name="entra",result="ok"} 1"#,
        r#"keyless_fetches{kind="identity",name="openai",result="ok"} 1"#,
    ];
    for line in expected {
        assert!(ours.contains(&line), "{ours:#?}");
    }
}

#[tokio::test]
async fn the_guard_refuses_whom_keyless_did_not_see() {
    let skip = |blueprint: Blueprint| {
        blueprint.connection_manager(|manager| {
            let skipped = &mut manager["route_config"]["virtual_hosts"][0]["typed_per_filter_config"]
                ["extensions.istio.io/trafficextension/openai-gateway.keyless"];
            skipped["@type"] = "type.googleapis.com/envoy.config.route.v3.FilterConfig".into();
            skipped["disabled"] = true.into();
        })
    };
    let (world, standard) = world_of("TrafficExtension", |_| (), skip).await;
    let health = world.request(reqwest::Method::GET, "/healthz");
    for request in [world.chat(), world.chat_as(&world.token()), health] {
        let reply = Reply::to(request).await.unwrap();
        assert_eq!((reply.status, reply.code()), (403, None), "not by keyless: {reply:?}");
    }
    assert_eq!(world.azure.openai.requests().len() + standard.requests(), 0);
}

#[tokio::test]
async fn the_connection_manager_is_as_strict_as_the_shipped_one() {
    let (world, _) = world("TrafficExtension").await;
    let health = Reply::to(world.request(reqwest::Method::GET, "/healthz")).await.unwrap();
    assert_eq!(health.status, 200, "{health:?}");
    let (token, escaped) = (world.token(), CHAT.replacen("gpt-4o-mini", "gpt-4o%2fmini", 1));
    let underscore = world.chat_as(&token).header("x_caller_id", "somebody");
    let slash = world.post(&escaped, &chat_body(false)).bearer_auth(&token);
    for request in [underscore, slash] {
        let reply = Reply::to(request).await.unwrap();
        assert_eq!((reply.status, reply.code()), (400, None), "by Envoy: {reply:?}");
    }
}

#[tokio::test]
async fn a_full_provisioned_deployment_hands_the_request_on_within_it() {
    let (world, standard) = world("TrafficExtension").await;
    let token = world.token();
    world.azure.openai.fault(Fault::RetryAfter { status: 429, after: Duration::from_secs(9) });
    let reply = Reply::to(world.chat_as(&token)).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(standard.requests(), 1, "one of the pay-as-you-go resources");
    let names = ["my-openai-sweden.openai.azure.com", "my-openai-france.openai.azure.com"];
    for (backend, name) in standard.0.iter().zip(names) {
        for seen in backend.requests() {
            assert_eq!(values(&seen, "host"), [name], "the retry has its endpoint's name");
            assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap(), chat_body(false));
            assert_absent(&seen, &token);
        }
    }
}

#[tokio::test]
async fn a_deployment_that_is_full_again_and_again_is_left_alone() {
    let (world, standard) = world("TrafficExtension").await;
    let token = world.token();
    world.azure.openai.fault(Fault::Status(429));
    eventually("it is left alone", async || {
        let before = world.azure.openai.requests().len();
        let reply = Reply::to(world.chat_as(&token)).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        (world.azure.openai.requests().len() == before).then_some(())
    })
    .await;
    assert!(standard.requests() > 0);
}

#[tokio::test]
async fn a_model_server_on_premises_sees_no_token_at_all() {
    let (world, standard) = world("TrafficExtension").await;
    let token = world.token();
    let answer = Fault::Body { status: 200, content_type: "text/plain".into(), body: Vec::new() };
    standard.0[1].fault(answer);
    let request = world.post("/on-prem/v1/chat/completions", &chat_body(false));
    let reply = Reply::to(request.bearer_auth(&token)).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let [seen] = standard.0[1].requests().try_into().unwrap();
    assert_eq!(
        (seen.target.as_str(), values(&seen, "host")),
        ("/v1/chat/completions", vec!["models.example.com".to_owned()])
    );
    assert_eq!(values(&seen, "authorization"), [""; 0]);
    assert_absent(&seen, &token);
    assert_eq!(world.azure.openai.requests().len() + standard.0[0].requests().len(), 0);
}
