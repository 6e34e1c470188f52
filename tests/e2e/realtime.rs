//! The realtime API over web sockets, through the shipped Envoy to a stand-in that speaks them.

use futures_util::{SinkExt as _, StreamExt as _};
use local_azure::Recorded;
use serde_json::{Value, json};
use testkit::reply::Refusal;
use testkit::world::{World, values};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const V1: &str = "/openai/v1/realtime?model=gpt-realtime";
const CLASSIC: &str = "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-realtime";
pub(crate) const PROTOCOLS: &str = "sec-websocket-protocol";

/// Opens a WebSocket with these headers.
pub(crate) async fn open(
    world: &World,
    target: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Socket, Response<Option<Vec<u8>>>), Error> {
    let url = format!("{}{target}", world.gateway.url().replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    connect_async(request).await
}

fn caller(world: &World) -> String {
    world.token_with(json!({ "scp": "openai.realtime openai.chat" }))
}

async fn heard(socket: &mut Socket) -> Value {
    let message = socket.next().await.expect("a message").expect("no error");
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

/// Talks in a session, and returns what the backend saw of its handshake.
pub(crate) async fn talks(world: &World, socket: &mut Socket) -> Recorded {
    let created = heard(socket).await;
    assert_eq!(
        (&created["type"], &created["session"]["model"]),
        (&json!("session.created"), &json!("gpt-realtime"))
    );
    for number in 0..3 {
        let said = json!({ "type": "input_audio_buffer.append", "audio": number });
        socket.send(Message::text(said.to_string())).await.unwrap();
        assert_eq!(heard(socket).await, said);
    }
    world.azure.openai.requests().pop().expect("a handshake")
}

/// Fails unless the handshake is refused like this, before the backend hears of it.
pub(crate) async fn refused(
    world: &World,
    target: &str,
    headers: &[(&'static str, &str)],
    refusal: (u16, &str),
) {
    let before = world.azure.openai.requests().len();
    let Err(Error::Http(response)) = open(world, target, headers).await else {
        panic!("{target} was not refused");
    };
    let body: Value = serde_json::from_slice(response.body().as_deref().unwrap()).unwrap();
    let code = body["error"]["code"].as_str().unwrap();
    assert_eq!((response.status().as_u16(), code), refusal, "{target}: {body}");
    assert_eq!(world.azure.openai.requests().len(), before, "it reached the backend");
}

#[tokio::test]
async fn a_session_is_opened_under_both_interfaces_with_the_gateways_identity() {
    let world = World::start().await;
    let token = caller(&world);
    for target in [V1, CLASSIC] {
        let bearer = format!("Bearer {token}");
        let (mut socket, _) = open(&world, target, &[("authorization", &bearer)]).await.unwrap();
        let seen = talks(&world, &mut socket).await;
        assert_eq!(seen.target, target);
        world.assert_swapped(&seen, &token);
        socket.close(None).await.unwrap();
    }
    let entries = world.gateway.access_log_of(2).await.unwrap();
    for entry in entries {
        let seen = ["status", "route", "deployment", "cluster"].map(|name| entry[name].clone());
        assert_eq!(json!(seen), json!([101, "realtime", "gpt-realtime", "openai_single"]));
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_browser_sends_its_token_as_a_subprotocol_and_gets_the_other_one() {
    let world = World::start().await;
    let token = caller(&world);
    let offered = format!("realtime, openai-insecure-api-key.{token}, openai-beta.realtime-v1");
    let (mut socket, response) = open(&world, V1, &[(PROTOCOLS, &offered)]).await.unwrap();
    assert_eq!(response.headers()[PROTOCOLS], "realtime");
    let seen = talks(&world, &mut socket).await;
    world.assert_swapped(&seen, &token);
    assert_eq!(values(&seen, PROTOCOLS), ["realtime, openai-beta.realtime-v1"]);
    let boxed = open(&world, V1, &[("api-key", &token)]).await;
    let seen = talks(&world, &mut boxed.unwrap().0).await;
    world.assert_swapped(&seen, &token);
}

#[tokio::test]
async fn a_handshake_is_refused_like_any_request() {
    let world = World::start().await;
    let token = caller(&world);
    let (bearer, offered) = (format!("Bearer {token}"), format!("openai-insecure-api-key.{token}"));
    let good = ("authorization", bearer.as_str());
    refused(&world, V1, &[], (401, "token_missing")).await;
    refused(&world, V1, &[good, ("api-key", &token)], (400, "authorization_ambiguous")).await;
    let protocols = format!("realtime, {offered}");
    let both = [good, (PROTOCOLS, protocols.as_str())];
    refused(&world, V1, &both, (400, "authorization_ambiguous")).await;
    let chat = format!("Bearer {}", world.token());
    refused(&world, V1, &[("authorization", &chat)], (403, "scope_missing")).await;
    let two = "/openai/v1/realtime?model=a&model=b";
    refused(&world, two, &[good], (400, "model_malformed")).await;
    let nowhere = "/openai/v1/chat/realtime";
    refused(&world, nowhere, &[good], (404, "route_unknown")).await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_grant_for_deployments_limits_what_the_query_may_name() {
    let world = World::with(|shipped| {
        shipped.plugin(|plugin| {
            let mut routes = plugin["routes"].as_array_mut().unwrap().iter_mut();
            let realtime = routes.find(|route| route["name"] == "realtime").unwrap();
            realtime["allow"] =
                json!([{ "scopes": ["openai.realtime"], "deployments": ["gpt-realtime"] }]);
        })
    })
    .await;
    let bearer = format!("Bearer {}", caller(&world));
    let good = [("authorization", bearer.as_str())];
    for target in [V1, CLASSIC] {
        talks(&world, &mut open(&world, target, &good).await.unwrap().0).await;
    }
    let rows = [
        ("/openai/v1/realtime?model=gpt-other", (403, "deployment_forbidden")),
        ("/openai/v1/realtime?model=gpt-realtime&deployment=gpt-other", (400, "model_malformed")),
        ("/openai/v1/realtime?model=gpt-realtime&Model=gpt-other", (400, "model_malformed")),
        ("/openai/v1/realtime?model=gpt%2Drealtime", (400, "model_malformed")),
        ("/openai/v1/realtime", (400, "model_missing")),
    ];
    for (target, refusal) in rows {
        refused(&world, target, &good, refusal).await;
    }
}

/// Envoy holds the head of a request whose body is read; a handshake has none.
#[tokio::test]
async fn a_websocket_on_a_route_that_reads_bodies_names_no_model() {
    let world = World::with(|shipped| {
        let shipped = testkit::world::shipped_with(json!({
            "name": "v1", "match": { "methods": ["GET", "POST"], "path": "/openai/v1/{*rest}" },
            "deployment": "body.model", "allow": [{ "scopes": ["openai.realtime"] }], "identity": "openai"
        }))(shipped);
        shipped.plugin_config(|config| config["allow_on_headers_stop_iteration"] = true.into())
    })
    .await;
    let bearer = format!("Bearer {}", caller(&world));
    let opened = open(&world, V1, &[("authorization", &bearer)]).await;
    talks(&world, &mut opened.unwrap().0).await;
    world.assert_every_worker_admits().await;
    let post =
        world.request(reqwest::Method::POST, "/openai/v1/responses").bearer_auth(caller(&world));
    let post = post.header("upgrade", "websocket").header("connection", "upgrade").body("{}");
    world.refuses(post, Refusal::unsupported("body_unsupported")).await;
    world.assert_unharmed().await;
}
