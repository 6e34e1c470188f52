//! What answers used: read as they pass, asked for, accounted when the stream is over.

mod asking;
mod changes;
mod ends;
mod reading;
mod sums;

use std::net::SocketAddr;

use gateway::Blueprint;
use local_azure::{LocalAzure, Options};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use testkit::backend::{Act, Backend, Heard};
use testkit::reply::Reply;
use testkit::world::{CHAT, World, chat_body};

/// The events of a streamed chat, as Azure sends them to those who ask what it used.
const EVENTS: [&str; 6] = [
    r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}],"usage":null}"#,
    r#"{"choices":[{"delta":{"content":"","role":"assistant"},"index":0}],"id":"c","usage":null}"#,
    r#"{"choices":[{"delta":{"content":"Hel"},"index":0}],"id":"c","usage":null}"#,
    r#"{"choices":[{"delta":{"content":"lo"},"index":0}],"id":"c","usage":null}"#,
    r#"{"choices":[{"delta":{},"finish_reason":"stop","index":0}],"id":"c","usage":null}"#,
    r#"{"choices":[],"id":"c","usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":4}}}"#,
];

const ANSWER: &str = r#"{"choices":[{"message":{"content":"Hello"}}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":4}}}"#;

/// What eleven, three of them cached, and seven tokens cost by [`with_prices`].
const COST: &str = "0.000093750000";

fn events(events: &[&str]) -> String {
    events.iter().flat_map(|event| ["data: ", event, "\n\n"]).collect()
}

fn whole_stream() -> String {
    events(&EVENTS) + "data: [DONE]\n\n"
}

/// The events without the one that only says what was used.
fn hidden_stream() -> String {
    events(&EVENTS[..5]) + "data: [DONE]\n\n"
}

fn with_prices(shipped: Blueprint) -> Blueprint {
    let price = json!({ "input": "2.50", "cached_input": "1.25", "output": "10.00" });
    shipped.plugin(|plugin| plugin["prices"] = json!({ "gpt-4o-mini": price }))
}

/// Leads the shipped configuration, with prices, to an Azure on this machine whose first tier is one backend
/// and whose others are another.
fn leading_to(azure: &LocalAzure, first: SocketAddr, others: SocketAddr) -> Blueprint {
    let shipped = Blueprint::shipped()
        .endpoint("entra", azure.issuer.address())
        .endpoint("imds", azure.imds.address())
        .endpoint("openai_provisioned", first)
        .endpoint("openai_pay_as_you_go", others)
        .endpoint("openai_pay_as_you_go", others)
        .endpoint("openai_single", others)
        .endpoint("on_prem", others);
    with_prices(shipped)
}

/// Starts a world whose backend answers by a script.
async fn scripted(script: impl Fn(&Heard) -> Vec<Act> + Send + Sync + 'static) -> (World, Backend) {
    scripted_with(script, |shipped| shipped).await
}

async fn scripted_with(
    script: impl Fn(&Heard) -> Vec<Act> + Send + Sync + 'static,
    change: impl FnOnce(Blueprint) -> Blueprint,
) -> (World, Backend) {
    let backend = Backend::start(script).await;
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = change(leading_to(&azure, backend.address(), backend.address()));
    (World::on(azure, blueprint).await, backend)
}

fn chat(world: &World, is_streamed: bool) -> RequestBuilder {
    world.post(CHAT, &chat_body(is_streamed)).bearer_auth(world.token())
}

/// Sends a request, and returns the reply with what the access log says of its usage.
async fn answered(world: &World, request: RequestBuilder) -> (Reply, Value) {
    let before = world.gateway.access_log().len();
    let reply = Reply::to(request).await.unwrap();
    (reply, logged(world, before + 1).await)
}

/// Returns what the access log says of the usage of the last of so many requests.
async fn logged(world: &World, count: usize) -> Value {
    let mut entry = world.gateway.access_log_of(count).await.unwrap().pop().unwrap();
    let own = |name: &str| name == "usage" || name == "cost" || name.starts_with("tokens_");
    entry.as_object_mut().unwrap().retain(|name, value| own(name) && !value.is_null());
    entry
}

/// What the access log says of [`ANSWER`] and [`EVENTS`].
fn exact() -> Value {
    json!({
        "usage": "exact", "tokens_input": "11", "tokens_output": "7", "tokens_total": "18",
        "tokens_cached": "3", "tokens_reasoning": "4", "cost": COST,
    })
}

/// Returns every series whose name begins so, with its labels, and its value.
/// Writes the labels of a series in the order of `stats_tags` in `envoy.yaml`, which is not that in which
/// the dynamic module names them.
fn canonical(series: &str) -> String {
    let Some((name, labels)) = series.trim_end_matches('}').split_once('{') else {
        return series.to_owned();
    };
    let mut labels: Vec<_> = labels.split(',').collect();
    let order = ["issuer", "route", "deployment", "basis", "part", "type"];
    labels.sort_by_key(|label| order.iter().position(|known| label.starts_with(known)));
    format!("{name}{{{}}}", labels.join(","))
}

async fn counters(world: &World, name: &str) -> Vec<(String, u64)> {
    let url = format!("{}/stats/prometheus", world.gateway.admin_url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name));
    let mut series: Vec<_> = lines
        .filter_map(|line| {
            let (labels, value) = line.rsplit_once(' ')?;
            Some((canonical(labels), value.parse().ok()?))
        })
        .collect();
    series.sort();
    series
}
