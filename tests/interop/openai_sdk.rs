//! The OpenAI SDKs call through the gateway, and show their users why they may not.

use std::time::{Duration, SystemTime};

use gateway::Blueprint;
use local_azure::Fault;
use serde_json::{Value, json};

use crate::program::{Program, node};
use testkit::mesh;
use testkit::world::{World, assert_absent, assert_no_key, values};

const DEPLOYMENT: &str = "gpt-4o-mini";
pub(crate) const TEXT: &str = "Hello from the far side of the gateway.";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Names an SDK.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sdk(Program);

/// Names how an SDK speaks to Azure OpenAI: with the deployment in the path (`AzureOpenAI`), or in
/// the body's `model` (`OpenAI` with a base URL that ends in `/openai/v1/`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Interface {
    Deployments,
    V1,
}

/// Names what is asked of an SDK.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    Chat,
    Count,
    Embeddings,
    Models,
    Realtime,
    Stream,
    Tuning,
}

/// What an SDK is told; by default `AzureOpenAI` with a token and the SDK's own number of retries.
#[derive(Clone)]
pub(crate) struct Order {
    sdk: Sdk,
    order: Value,
}

impl Sdk {
    const PYTHON: Self = Self(Program::Python("openai_sdk.py"));
    const NODE: Self = Self(Program::Node("openai-sdk.mjs"));
    pub(crate) const BOTH: [Self; 2] = [Self::PYTHON, Self::NODE];

    pub(crate) fn order(self, endpoint: &str, token: &str) -> Order {
        let order = json!({
            "credential": { "token": token },
            "endpoint": endpoint,
            "headers": {},
            "http2": false,
            "interface": "deployments",
            "max_retries": 2,
            "model": DEPLOYMENT,
        });
        Order { sdk: self, order }
    }
}

impl Interface {
    pub(crate) const BOTH: [Self; 2] = [Self::Deployments, Self::V1];
}

impl Call {
    pub(crate) const GRANTED: [Self; 4] =
        [Self::Chat, Self::Embeddings, Self::Models, Self::Stream];

    fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Count => "count",
            Self::Embeddings => "embeddings",
            Self::Models => "models",
            Self::Realtime => "realtime",
            Self::Stream => "stream",
            Self::Tuning => "tuning",
        }
    }

    /// Fails unless the SDK's user got the backend's whole answer.
    #[track_caller]
    pub(crate) fn assert_answered(self, answer: &Value) {
        match self {
            Self::Chat => assert_eq!(*answer, json!({ "model": DEPLOYMENT, "text": TEXT })),
            Self::Embeddings => {
                let vector = json!([0.25, -0.5, 0.125, 0.75]);
                let vectors = [&vector, &vector];
                assert_eq!(*answer, json!({ "model": DEPLOYMENT, "vectors": vectors }));
            }
            Self::Models => assert_eq!(*answer, json!({ "models": [DEPLOYMENT] })),
            Self::Realtime => assert_eq!(*answer, json!({ "model": DEPLOYMENT })),
            Self::Count => assert_eq!(answer["text"], TEXT, "{answer}"),
            Self::Tuning => panic!("no shipped route has it: {answer}"),
            Self::Stream => {
                assert_eq!(answer["text"], TEXT, "{answer}");
                assert!(answer["tokens"].as_u64() > Some(8), "{answer}");
                // The backend pauses for 50 ms before each of ten frames.
                assert!(answer["spread_ms"].as_f64() > Some(250.0), "not at once: {answer}");
            }
        }
    }
}

impl Order {
    pub(crate) fn through(self, interface: Interface) -> Self {
        let name = match interface {
            Interface::Deployments => "deployments",
            Interface::V1 => "v1",
        };
        self.with("interface", name.into())
    }

    pub(crate) fn with(mut self, what: &str, value: Value) -> Self {
        self.order[what] = value;
        self
    }

    pub(crate) async fn ask(self, call: Call) -> Value {
        let Self { sdk, order } = self.with("call", call.name().into());
        sdk.0.run(&[], &order).await
    }

    /// Lets the SDK try, and returns what it raised.
    async fn fails(self, call: Call) -> Failure {
        let answer = self.ask(call).await;
        assert!(answer["class"].is_string(), "{answer}");
        Failure(answer)
    }
}

/// What an SDK's user gets to see of a refusal.
struct Failure(Value);

impl Failure {
    /// Fails unless the SDK raised this, with keyless's code and words where its users look.
    #[track_caller]
    fn is(&self, class: &str, code: &str, message: &str) {
        let (status, kind) = match class {
            "AuthenticationError" => (401, "authentication_error"),
            "PermissionDeniedError" => (403, "permission_error"),
            "NotFoundError" => (404, "invalid_request_error"),
            "InternalServerError" => (503, "server_error"),
            _ => panic!("{class} is none of the SDK's"),
        };
        let seen = ["class", "status", "type", "code"].map(|name| &self.0[name]);
        assert_eq!(seen, [&json!(class), &json!(status), &json!(kind), &json!(code)], "{}", self.0);
        let shown = self.0["message"].as_str().unwrap_or_default();
        assert!(shown.contains(message), "{shown:?} lacks {message:?}");
    }
}

pub(crate) fn order(world: &World, sdk: Sdk, token: &str) -> Order {
    sdk.order(&world.gateway.url(), token)
}

/// Returns a token that suffices for every call.
fn token(world: &World) -> String {
    world.token_with(json!({ "scp": "openai.chat openai.embeddings" }))
}

#[tokio::test]
async fn the_sdks_chat_stream_and_embed_in_both_interfaces() {
    every_call_is_answered(&World::start().await).await;
}

#[tokio::test]
async fn in_a_mesh_the_sdks_do_the_same() {
    let (world, _others) = mesh::world("TrafficExtension").await;
    every_call_is_answered(&world).await;
}

/// The Python SDK opens the WebSocket with its bearer token, or with what its API-key box holds.
#[tokio::test]
async fn the_sdk_opens_a_realtime_session_in_both_interfaces() {
    let world = World::start().await;
    let token = world.token_with(json!({ "scp": "openai.realtime" }));
    let bearer = order(&world, Sdk::PYTHON, &token);
    let boxed = bearer.clone().with("credential", json!({ "key": token }));
    let v1 = bearer.clone().through(Interface::V1);
    for order in [bearer, boxed, v1] {
        Call::Realtime.assert_answered(&order.ask(Call::Realtime).await);
        let seen = world.azure.openai.requests().pop().unwrap();
        world.assert_swapped(&seen, &token);
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn the_examples_browser_client_opens_a_session() {
    let world = World::start().await;
    let token = world.token_with(json!({ "scp": "openai.realtime" }));
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/realtime/client.mjs");
    let url = world.gateway.url().replacen("http", "ws", 1);
    let url = format!("{url}/openai/v1/realtime?model=gpt-realtime");
    let output = node().arg(client).arg(&url).env("TOKEN", &token).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "session.created gpt-realtime\n");
    let seen = world.azure.openai.requests().pop().unwrap();
    world.assert_swapped(&seen, &token);
    let output = node().arg(client).arg(&url).env("TOKEN", "none").output().await.unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

async fn every_call_is_answered(world: &World) {
    let token = token(world);
    for sdk in Sdk::BOTH {
        for interface in Interface::BOTH {
            for call in Call::GRANTED {
                let before = world.azure.openai.requests().len();
                let answer = order(world, sdk, &token).through(interface).ask(call).await;
                call.assert_answered(&answer);
                let seen = &world.azure.openai.requests()[before..];
                let [seen] = seen else { panic!("{sdk:?} {call:?}: {seen:?}") };
                world.assert_swapped(seen, &token);
            }
        }
    }
    world.assert_unharmed().await;
}

/// Lets callers of `/openai/v1/` chat with one model only.
pub(crate) fn with_one_model(shipped: Blueprint) -> Blueprint {
    let read_models = |plugin: &mut Value| {
        let routes = plugin["routes"].as_array_mut().unwrap();
        let route = routes.iter_mut().find(|route| route["name"] == "chat-v1").unwrap();
        route["deployment"] = "body.model".into();
        route["allow"] = json!([{ "scopes": ["openai.chat"], "deployments": [DEPLOYMENT] }]);
    };
    let show_bodies = |plugin: &mut serde_yaml_ng::Value| {
        plugin["allow_on_headers_stop_iteration"] = true.into();
    };
    shipped.plugin(read_models).plugin_config(show_bodies)
}

#[tokio::test]
async fn the_sdks_get_the_model_that_is_granted_and_are_told_of_one_that_is_not() {
    let world = World::with(with_one_model).await;
    for sdk in Sdk::BOTH {
        let order = order(&world, sdk, &token(&world)).through(Interface::V1);
        for call in [Call::Chat, Call::Stream] {
            call.assert_answered(&order.clone().ask(call).await);
        }
        let failure = order.with("model", "gpt-4o".into()).fails(Call::Chat).await;
        let message = "The caller is not allowed to use the deployment 'gpt-4o'.";
        failure.is("PermissionDeniedError", "deployment_forbidden", message);
    }
    assert_eq!(world.azure.openai.requests().len(), 4);
}

#[tokio::test]
async fn the_python_sdk_may_speak_http_2() {
    let world = World::start().await;
    for call in Call::GRANTED {
        let order = order(&world, Sdk::PYTHON, &token(&world)).with("http2", true.into());
        call.assert_answered(&order.ask(call).await);
    }
    let stats = world.gateway.stats().await.unwrap();
    let http2: u64 = stats
        .iter()
        .filter(|(name, _)| name.ends_with("downstream_cx_http2_total"))
        .map(|(_, count)| count)
        .sum();
    assert!(http2 >= 3, "{http2} connections");
}

#[tokio::test]
async fn the_sdks_show_what_is_wrong_with_a_caller_and_do_not_insist() {
    let world = World::start().await;
    let (expired, other) = (json!({ "exp": 1 }), json!({ "aud": "other" }));
    let no_chat = json!({ "scp": "openai.embeddings" });
    let (unknown, forbidden) = ("AuthenticationError", "PermissionDeniedError");
    let cases = [
        (expired, unknown, "token_expired", "The token has expired."),
        (other, unknown, "audience_mismatch", "The token's audience does not match."),
        (no_chat, forbidden, "scope_missing", "The token is missing a required scope."),
    ];
    let mut asked = 0;
    for sdk in Sdk::BOTH {
        for (claims, class, code, message) in &cases {
            let token = world.token_with(claims.clone());
            order(&world, sdk, &token).fails(Call::Chat).await.is(class, code, message);
            order(&world, sdk, &token).fails(Call::Stream).await.is(class, code, message);
            asked += 2;
        }
        let failure = order(&world, sdk, "no-token").fails(Call::Chat).await;
        failure.is(unknown, "token_malformed", "The credential is not a signed JWT.");
        let failure = order(&world, sdk, &world.token()).fails(Call::Tuning).await;
        failure.is("NotFoundError", "route_unknown", "No route matches this request.");
        asked += 2;
    }
    let entries = world.gateway.access_log_of(asked).await.unwrap();
    assert_eq!(entries.len(), asked, "each was asked once");
    assert_eq!(world.azure.openai.requests().len(), 0);
}

#[tokio::test]
async fn the_sdks_show_whose_fault_it_is_when_the_gateway_has_no_keys() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Status(503));
    for sdk in Sdk::BOTH {
        let order = order(&world, sdk, &world.token()).with("max_retries", 0.into());
        let message = "The keys of the token's issuer are temporarily unavailable.";
        order.fails(Call::Chat).await.is("InternalServerError", "keys_unavailable", message);
    }
    assert_eq!(world.azure.openai.requests().len(), 0);
}

#[tokio::test]
async fn the_sdks_come_back_when_they_are_told_to() {
    for sdk in Sdk::BOTH {
        let world = World::start().await;
        world.azure.imds.fault(Fault::Status(500));
        let call = order(&world, sdk, &world.token()).with("max_retries", 5.into());
        let call = tokio::spawn(call.ask(Call::Chat));
        let first = world.gateway.access_log_of(1).await.unwrap().remove(0);
        assert_eq!(first["reason"], "identity_unavailable", "{first}");
        world.azure.imds.heal();
        Call::Chat.assert_answered(&call.await.unwrap());
        let second = world.gateway.access_log_of(2).await.unwrap().remove(1);
        let pause = begun(&second).duration_since(ended(&first)).unwrap();
        // Left to itself an SDK tries again within half a second; keyless says whole seconds.
        assert!(pause >= Duration::from_secs(1), "{pause:?}");
    }
}

/// Returns when a request of the access log came.
pub(crate) fn begun(entry: &Value) -> SystemTime {
    humantime::parse_rfc3339(entry["time"].as_str().unwrap()).unwrap()
}

pub(crate) fn ended(entry: &Value) -> SystemTime {
    begun(entry) + Duration::from_millis(entry["duration_ms"].as_u64().unwrap())
}

#[tokio::test]
async fn the_sdks_wait_as_long_as_a_full_backend_says() {
    let world = World::start().await;
    for sdk in Sdk::BOTH {
        let after = Duration::from_secs(3);
        world.azure.openai.fault(Fault::RetryAfter { status: 429, after });
        let before = world.gateway.access_log().len();
        let call = tokio::spawn(order(&world, sdk, &world.token()).ask(Call::Chat));
        world.gateway.access_log_of(before + 1).await.unwrap();
        world.azure.openai.heal();
        Call::Chat.assert_answered(&call.await.unwrap());
        let entries = world.gateway.access_log_of(before + 2).await.unwrap();
        let [full, served] = &entries[before..] else { panic!("{entries:?}") };
        assert_eq!([&full["status"], &served["status"]], [429, 200]);
        let pause = begun(served).duration_since(ended(full)).unwrap();
        assert!(pause >= after, "{pause:?}");
    }
}

#[tokio::test]
async fn a_key_is_no_credential_here_and_never_reaches_the_backend() {
    let world = World::start().await;
    let token = world.token();
    for sdk in Sdk::BOTH {
        let key_alone = order(&world, sdk, "").with("credential", json!({ "key": KEY }));
        let message = "Send a token as 'Authorization: Bearer'.";
        key_alone.fails(Call::Chat).await.is("AuthenticationError", "token_missing", message);
        assert_eq!(world.azure.openai.requests().len(), 0, "{sdk:?}");
    }
    for sdk in Sdk::BOTH {
        let headers = json!({ "api-key": KEY, "Ocp-Apim-Subscription-Key": KEY });
        let key_beside = order(&world, sdk, &token).with("headers", headers);
        Call::Chat.assert_answered(&key_beside.ask(Call::Chat).await);
        let seen = world.azure.openai.requests().pop().unwrap();
        assert_no_key(&seen);
        assert_absent(&seen, KEY);
        assert_eq!(values(&seen, "authorization").len(), 1);
    }
}
