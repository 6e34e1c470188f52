//! SDKs stream through the gateway, which counts every answer: what they show is what they asked for,
//! and the counters are exact.

use gateway::Blueprint;
use local_azure::{LocalAzure, Options};
use serde_json::{Value, json};
use testkit::backend::{Act, Backend, Heard, plain, stream};
use testkit::world::World;

use crate::openai_sdk::{Call, Interface, Sdk, TEXT};
use crate::program::Program;

const LANGCHAIN: Program = Program::Python("langchain_sdk.py");
const ANTHROPIC: Program = Program::Python("anthropic_sdk.py");

/// What local-azure says that an answer has.
const OUTPUT: u64 = 8;

/// Returns the sum of the series of this name, of those with this text in their labels.
async fn counted(world: &World, name: &str, label: &str) -> u64 {
    let url = format!("{}/stats/prometheus", world.gateway.admin_url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let own =
        text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    own.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// Fails unless so many answers were counted, all of them exactly, with eight tokens of output each.
async fn assert_exact(world: &World, answers: u64, input: u64) {
    assert_eq!(counted(world, "keyless_answers", r#"basis="exact""#).await, answers);
    assert_eq!(counted(world, "keyless_answers", "").await, answers);
    assert_eq!(counted(world, "keyless_tokens", r#"type="output""#).await, answers * OUTPUT);
    assert_eq!(counted(world, "keyless_tokens", r#"type="input""#).await, input);
}

#[tokio::test]
async fn the_openai_sdks_show_usage_to_those_who_asked_and_every_stream_is_counted() {
    let world = World::start().await;
    let (mut answers, mut input) = (0, 0);
    let rows = [
        json!({ "include_usage": true }),
        json!({ "include_usage": false }),
        json!({}),
        Value::Null,
    ];
    for sdk in Sdk::BOTH {
        for interface in Interface::BOTH {
            let mut asked = 0;
            for options in &rows {
                let order = sdk.order(&world.gateway.url(), &world.token()).through(interface);
                let seen = order.with("stream_options", options.clone()).ask(Call::Count).await;
                assert_eq!(seen["text"], TEXT, "{sdk:?} {interface:?} {options}");
                let usages = seen["usages"].as_array().unwrap();
                if options["include_usage"] == true {
                    asked = usages[0].as_u64().unwrap();
                    assert_eq!((usages.len(), &seen["empty"]), (1, &json!(2)), "{seen}");
                } else {
                    // The one without choices is Azure's own, at the beginning.
                    assert_eq!(
                        (usages.len(), &seen["empty"]),
                        (0, &json!(1)),
                        "{sdk:?} {options}: {seen}"
                    );
                }
                answers += 1;
                input += asked - OUTPUT;
            }
        }
    }
    assert_exact(&world, answers, input).await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn langchain_shows_usage_to_those_who_asked_and_every_stream_is_counted() {
    let world = World::start().await;
    let (mut answers, mut input) = (0, 0);
    for interface in ["deployments", "v1"] {
        let mut asked = 0;
        for is_shown in [true, false] {
            let order = json!({
                "credential": { "token": world.token() }, "endpoint": world.gateway.url(),
                "interface": interface, "model": "gpt-4o-mini", "stream_usage": is_shown,
            });
            let seen = LANGCHAIN.run(&[], &order).await;
            assert_eq!(seen["text"], TEXT, "{interface} {is_shown}");
            let usages = seen["usages"].as_array().unwrap();
            assert_eq!(usages.len(), usize::from(is_shown), "{interface}: {seen}");
            asked = usages.first().map_or(asked, |total| total.as_u64().unwrap());
            answers += 1;
            input += asked - OUTPUT;
        }
    }
    assert_exact(&world, answers, input).await;
    world.assert_unharmed().await;
}

/// Answers as Claude does on Foundry, whole or as a stream.
fn claude(heard: &Heard) -> Vec<Act> {
    let asked: Value = serde_json::from_slice(&heard.body).unwrap();
    let usage = json!({ "input_tokens": 21, "cache_read_input_tokens": 5, "output_tokens": 1 });
    let message = |content: Value, usage: Value| {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"],
            "content": content, "stop_reason": null, "stop_sequence": null, "usage": usage,
        })
    };
    if asked["stream"] != true {
        let mut whole = message(json!([{ "type": "text", "text": TEXT }]), usage);
        whole["stop_reason"] = "end_turn".into();
        whole["usage"]["output_tokens"] = OUTPUT.into();
        return plain(&whole.to_string());
    }
    let mut events = vec![
        json!({ "type": "message_start", "message": message(json!([]), usage) }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "ping" }),
    ];
    events.extend(TEXT.split_inclusive(' ').map(|word| {
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": word } })
    }));
    events.extend([
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({
            "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": { "output_tokens": OUTPUT },
        }),
        json!({ "type": "message_stop" }),
    ]);
    let written = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
    let written: Vec<String> = written.collect();
    stream(written.iter().map(String::as_bytes))
}

/// Starts a gateway in front of a stand-in for Claude.
pub(crate) async fn claude_world() -> (World, Backend) {
    let backend = Backend::start(claude).await;
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let tiers = [
        "openai_provisioned",
        "openai_pay_as_you_go",
        "openai_pay_as_you_go",
        "openai_single",
        "on_prem",
    ];
    let blueprint = Blueprint::shipped()
        .endpoint("entra", azure.issuer.address())
        .endpoint("imds", azure.imds.address());
    let blueprint = tiers
        .into_iter()
        .fold(blueprint, |blueprint, tier| blueprint.endpoint(tier, backend.address()));
    (World::on(azure, blueprint).await, backend)
}

#[tokio::test]
async fn anthropics_sdk_shows_what_the_answer_says_and_it_is_counted() {
    let (world, _backend) = claude_world().await;
    for call in ["create", "stream"] {
        let order = json!({
            "call": call, "credential": { "token": world.token() }, "endpoint": world.gateway.url(),
            "model": "claude-sonnet-4-5",
        });
        let seen = ANTHROPIC.run(&[], &order).await;
        assert_eq!(
            seen,
            json!({ "text": TEXT, "input": 21, "cached": 5, "output": OUTPUT }),
            "{call}"
        );
    }
    // What came from the cache is a part of the input here, and beside it there.
    assert_exact(&world, 2, 2 * (21 + 5)).await;
    assert_eq!(counted(&world, "keyless_token_parts", r#"part="cached""#).await, 2 * 5);
    world.assert_unharmed().await;
}
