//! What changes while an answer passes: the tier, the module's VM, the configuration; and answers that come
//! in another way, or are long.

use std::env;
use std::time::Duration;

use gateway::StartOptions;
use testkit::backend::{Act, begun_stream, stream};
use testkit::world::eventually;

use super::*;

/// A stream whose end comes when the test says so.
fn halting() -> (impl Fn(&Heard) -> Vec<Act> + Send + Sync + 'static, Duration) {
    let pause = Duration::from_secs(4);
    let script = move |heard: &Heard| {
        if !heard.head.contains("x-slow") {
            return stream([whole_stream().as_bytes()]);
        }
        let (first, rest) = (events(&EVENTS[..3]), events(&EVENTS[3..]) + "data: [DONE]\n\n");
        let mut acts = begun_stream([first.as_bytes()]);
        let size = format!("{:x}\r\n", rest.len());
        acts.push(Act::Wait(pause));
        acts.push(Act::Say([size.as_bytes(), rest.as_bytes(), b"\r\n0\r\n\r\n"].concat()));
        acts
    };
    (script, pause)
}

/// Returns how many answers were counted, of any series.
async fn answers(world: &World) -> u64 {
    counters(world, "keyless_answers").await.iter().map(|(_, count)| count).sum()
}

#[tokio::test]
async fn an_answer_of_the_next_tier_is_counted_once() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n";
    let busy = format!("{busy}content-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    let full = Backend::start(move |_| vec![Act::Say(busy.clone().into_bytes())]).await;
    let backend = Backend::start(|_| stream([whole_stream().as_bytes()])).await;
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = leading_to(&azure, full.address(), backend.address());
    let world = World::on(azure, blueprint).await;
    let (reply, logged) = answered(&world, chat(&world, true)).await;
    assert_eq!(String::from_utf8(reply.body).unwrap(), hidden_stream());
    assert_eq!(logged, exact());
    assert_eq!((full.requests().len(), backend.requests().len()), (1, 1));
    assert_eq!(answers(&world).await, 1);
}

#[tokio::test]
async fn a_trap_in_the_middle_of_a_stream_charges_nobody_wrongly() {
    let module = env::var_os("KEYLESS_CHAOS_WASM").expect("run through make, it builds the module");
    let (script, _) = halting();
    let (world, _backend) =
        scripted_with(script, |shipped| shipped.running(module.clone().into())).await;
    world.assert_every_worker_admits().await;
    let before = answers(&world).await;
    let slow = chat(&world, true).header("x-slow", "1").send().await.unwrap();
    for line in &mut world.lines().await {
        let trap = format!("GET {CHAT} HTTP/1.1\r\nhost: gateway\r\nx-keyless-trap: 1\r\n\r\n");
        assert_eq!(line.ask(trap.as_bytes()).await.map(|reply| reply.status), Some(503));
    }
    // It is cut off, or goes on without being read.
    _ = slow.bytes().await;
    eventually("every worker counts again", async || {
        let reply = Reply::to(chat(&world, true)).await.unwrap();
        (reply.status == 200).then_some(())
    })
    .await;
    eventually("it is counted", async || (answers(&world).await > before).then_some(())).await;
    let basis = counters(&world, "keyless_answers").await;
    assert!(basis.iter().all(|(name, _)| name.contains(r#"basis="exact""#)), "{basis:?}");
    assert_eq!(answers(&world).await, before + 1, "the one that was cut off is in no sum");
}

#[tokio::test]
async fn a_new_configuration_in_the_middle_of_a_stream_charges_the_same_counter() {
    let (script, _) = halting();
    let backend = Backend::start(script).await;
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let shipped = || leading_to(&azure, backend.address(), backend.address());
    let first = shipped();
    let second = shipped()
        .plugin(|plugin| plugin["prices"]["other"] = json!({ "input": "1", "output": "1" }));
    let options = StartOptions { is_dynamic: true, ..StartOptions::default() };
    let world = World::run(azure, first, options).await;
    let slow = chat(&world, true).header("x-slow", "1").send().await.unwrap();
    world.gateway.push(&second).await.unwrap();
    assert_eq!(slow.bytes().await.unwrap(), hidden_stream());
    assert_eq!(logged(&world, 1).await, exact());
    let (_, logged) = answered(&world, chat(&world, true)).await;
    assert_eq!(logged, exact());
    let counted = counters(&world, "keyless_answers").await;
    assert!(matches!(counted.as_slice(), [(_, 2)]), "{counted:?}");
}

#[tokio::test]
async fn an_event_of_five_megabytes_is_read() {
    let text = "x".repeat(5 << 20);
    let response = events(&[&format!(
        r#"{{"type":"response.completed","response":{{"output":[{{"text":"{text}"}}],"usage":{{"input_tokens":11,"output_tokens":7}}}}}}"#
    )]);
    let sent = response.clone();
    let (world, _backend) = scripted(move |_| stream(sent.as_bytes().chunks(1 << 16))).await;
    let (reply, logged) = answered(&world, chat(&world, true)).await;
    assert!(reply.body == response.as_bytes());
    assert_eq!((&logged["usage"], &logged["tokens_total"]), (&json!("exact"), &json!("18")));
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_leaves_what_came_before_it() {
    let error = r#"{"error":{"code":"content_filter","message":"usage"}}"#;
    let text = events(&[EVENTS[0], EVENTS[1], EVENTS[2], EVENTS[3], error]);
    let sent = text.clone();
    let (world, _backend) = scripted(move |_| stream([sent.as_bytes()])).await;
    let (reply, logged) = answered(&world, chat(&world, true)).await;
    assert_eq!(String::from_utf8(reply.body).unwrap(), text);
    assert_eq!((&logged["usage"], &logged["tokens_output"]), (&json!("estimated"), &json!("2")));
}

/// Two gateways in a row: between them is HTTP/2.
#[tokio::test]
async fn over_http_2_from_the_backend_a_stream_is_counted_too() {
    let open = json!({
        "name": "open", "match": { "methods": ["POST"], "path": "/openai/deployments/{deployment}/chat/completions" },
        "public": true,
    });
    let open = |shipped: Blueprint| {
        shipped.plugin(|plugin| plugin["routes"].as_array_mut().unwrap().insert(0, open))
    };
    let (behind, backend) = scripted_with(|_| stream([whole_stream().as_bytes()]), open).await;
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let next = behind.gateway.address();
    let blueprint = leading_to(&azure, next, next).edit(|bootstrap| {
        for cluster in bootstrap["static_resources"]["clusters"].as_sequence_mut().unwrap() {
            if matches!(cluster["name"].as_str(), Some("openai_provisioned" | "openai_pay_as_you_go")) {
                let options = &mut cluster["typed_extension_protocol_options"]
                    ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
                options.as_mapping_mut().unwrap().remove("auto_config");
                options["explicit_http_config"] = serde_yaml_ng::from_str("http2_protocol_options: {}").unwrap();
            }
        }
    });
    let world = World::on(azure, blueprint).await;
    let (reply, logged) = answered(&world, chat(&world, true)).await;
    assert_eq!(String::from_utf8(reply.body).unwrap(), hidden_stream());
    assert_eq!(logged, exact());
    let asked: Value = serde_json::from_slice(&backend.requests().pop().unwrap().body).unwrap();
    assert_eq!(asked["stream_options"], json!({ "include_usage": true }));
    let stats = world.gateway.stats().await.unwrap();
    assert!(stats["cluster.openai_provisioned.upstream_cx_http2_total"] > 0);
}
