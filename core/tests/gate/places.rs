//! Where else a token and a deployment may stand: in an API-key box, in a WebSocket's subprotocol, in
//! the query.

use keyless_core::gate::{Decided, Decision, Progress};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::scripted::{Request, Script, header, is_admitted, reason, sign, status};

const PROTOCOLS: &str = "sec-websocket-protocol";

fn routes() -> Value {
    let mini = json!([{ "scopes": ["openai.chat"], "deployments": ["rt"] }]);
    json!({ "routes": [
        {
            "name": "realtime", "match": { "methods": ["GET"], "path": "/openai/v1/realtime" },
            "deployment": "query", "credential": ["authorization", "api-key", "subprotocol"],
            "allow": mini, "identity": "openai"
        },
        {
            "name": "v1", "match": { "methods": ["GET", "POST"], "path": "/openai/v1/{*rest}" },
            "deployment": "body.model", "allow": [{ "scopes": ["openai.chat"] }], "identity": "openai"
        },
        {
            "name": "few", "match": { "methods": ["GET", "POST"], "path": "/few/v1/{*rest}" },
            "deployment": "body.model", "allow": mini
        },
        {
            "name": "box", "match": { "methods": ["POST"], "path": "/{deployment}/chat" },
            "credential": ["api-key"], "allow": [{}], "identity": "openai"
        }
    ] })
}

fn warm() -> Script {
    let mut script = Script::of(routes());
    assert!(script.ask(socket(&script, "/openai/v1/responses")).is_none());
    script.answer_all();
    assert_eq!(script.released().len(), 1);
    script
}

fn token(script: &Script) -> String {
    sign(Some("k1"), "k1", &script.claims(json!({})))
}

/// A handshake with a good token in `Authorization`.
fn socket(script: &Script, target: &str) -> Request {
    script.chat().to("GET", target).with("connection", "Upgrade").with("upgrade", "websocket")
}

fn decided(script: &mut Script, request: Request) -> Decided {
    script.ask(request).expect("nothing to wait for")
}

#[test]
fn a_websocket_names_no_model_in_a_body() {
    let mut script = warm();
    let request = socket(&script, "/openai/v1/responses");
    let free = decided(&mut script, request);
    assert!(is_admitted(&free) && free.record.deployment.is_none());
    let request = socket(&script, "/few/v1/responses");
    let limited = decided(&mut script, request);
    assert_eq!((status(&limited), reason(&limited)), (400, "model_missing"));
    let posted = socket(&script, "/openai/v1/responses").without(":method").with(":method", "POST");
    let posted = decided(&mut script, posted);
    assert_eq!(reason(&posted), "body_unsupported", "it may have a body");
}

/// Envoy shows the beginning of a WebSocket as a part of a body, whose next part comes only after the
/// answer.
#[test]
fn a_websocket_that_waits_for_keys_does_not_wait_for_a_body() {
    let mut script = Script::of(routes());
    assert!(script.ask(socket(&script, "/openai/v1/responses")).is_none(), "it waits for keys");
    let progress = script.gate.body(script.last_stream, false, Vec::new, script.now);
    assert!(matches!(progress, Progress::Held), "{progress:?}");
    script.answer_all();
    assert!(is_admitted(&script.released()[0].1));
}

#[test]
fn a_grant_for_deployments_applies_to_what_the_query_names() {
    let mut script = warm();
    let rows = [
        ("?model=rt", "ok"),
        ("?api-version=2025-04-01-preview&deployment=rt", "ok"),
        ("?model=other", "deployment_forbidden"),
        ("?model=rt&model=other", "model_malformed"),
        ("?model=rt&deployment=rt", "model_malformed"),
        ("?MODEL=rt", "model_malformed"),
        ("?model=%72t", "model_malformed"),
        ("?api-version=1", "model_missing"),
        ("", "model_missing"),
    ];
    for (query, expected) in rows {
        let request = socket(&script, &format!("/openai/v1/realtime{query}"));
        let decided = decided(&mut script, request);
        assert_eq!(reason(&decided), expected, "{query}");
        let named = (expected == "ok").then_some("rt");
        assert_eq!(decided.record.deployment.as_deref(), named);
    }
}

#[test]
fn a_browser_sends_its_token_as_a_subprotocol_of_which_the_backend_sees_the_others() {
    let mut script = warm();
    let token = token(&script);
    let bare = socket(&script, "/openai/v1/realtime?model=rt").without("authorization");
    let offered = format!("realtime, openai-insecure-api-key.{token}, openai-beta.realtime-v1");
    let browser = decided(&mut script, bare.clone().with(PROTOCOLS, &offered));
    assert!(is_admitted(&browser), "{}", reason(&browser));
    assert_eq!(header(&browser, PROTOCOLS), Some("realtime, openai-beta.realtime-v1"));
    assert_eq!(header(&browser, "authorization"), Some("Bearer managed"));
    let none = decided(&mut script, bare);
    let Decision::Deny(reply) = &none.decision else { panic!("{none:?}") };
    assert!(reply.body.contains("openai-insecure-api-key.TOKEN"), "{}", reply.body);
    let elsewhere = socket(&script, "/openai/v1/responses").without("authorization");
    let elsewhere = decided(&mut script, elsewhere.with(PROTOCOLS, &offered));
    assert_eq!(reason(&elsewhere), "token_missing", "its route does not say so");
}

#[test]
fn an_api_key_box_holds_a_token_where_the_route_says_so() {
    let mut script = warm();
    let token = token(&script);
    for name in ["api-key", "x-api-key"] {
        let request = Request::chat("x").without("authorization").to("POST", "/gpt-4o/chat");
        let boxed = decided(&mut script, request.clone().with(name, &token));
        assert!(is_admitted(&boxed));
        let Decision::Forward(forward) = &boxed.decision else { panic!("{boxed:?}") };
        assert!(forward.remove.iter().any(|removed| removed == name));
        let key = decided(&mut script, request.with(name, "0123456789abcdef"));
        assert_eq!((status(&key), reason(&key)), (401, "token_malformed"));
    }
    let bearer = script.chat().to("POST", "/gpt-4o/chat");
    assert_eq!(reason(&decided(&mut script, bearer)), "token_missing", "nowhere else");
}

/// The headers of a request that hold a good token, a bad one or none, each in some place.
fn credentials(good: &str) -> impl Strategy<Value = Vec<(&'static str, String)>> + use<> {
    let values = [good.to_owned(), "sk-1".to_owned(), "a.b.c".to_owned()];
    let one = (select(values.to_vec()), 0..5_usize).prop_map(|(value, place)| match place {
        0 => ("authorization", format!("Bearer {value}")),
        1 => ("authorization", format!("Basic {value}")),
        2 => ("api-key", value),
        3 => ("x-api-key", value),
        _ => (PROTOCOLS, format!("realtime, openai-insecure-api-key.{value}")),
    });
    prop::collection::vec(one, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// `explain` says of every request what the gate does with it, and no token goes on.
    #[test]
    fn explain_and_the_gate_agree_wherever_token_and_deployment_stand(
        sent in credentials(&token(&Script::of(routes()))),
        target in any::<Index>(),
        is_socket: bool,
    ) {
        let targets = [
            "/openai/v1/realtime?model=rt", "/openai/v1/realtime?model=x", "/openai/v1/realtime",
            "/openai/v1/responses", "/few/v1/responses", "/gpt-4o/chat", "/nowhere",
        ];
        let target = *target.get(&targets);
        let mut script = warm();
        let method = if target == "/gpt-4o/chat" { "POST" } else { "GET" };
        let mut request = Request::chat("x").without("authorization").to(method, target);
        for (name, value) in &sent {
            request = request.with(name, value);
        }
        if is_socket {
            request = request.with("upgrade", "websocket");
        }
        let explained = script.explain(request.clone());
        let decided = script.ask(request);
        let is_let_go = decided.as_ref().map(is_admitted);
        prop_assert_eq!(is_let_go, explained.as_ref().map(is_admitted));
        prop_assert_eq!(decided.as_ref().map(|it| &it.record), explained.as_ref().map(|it| &it.record));
        if let Some(Decided { decision: Decision::Forward(forward), .. }) = &decided {
            for (name, value) in &sent {
                let token = value.rsplit([' ', '.']).next().unwrap_or_default();
                let is_set = forward.set.iter().find(|(set, _)| set.as_str() == *name);
                let is_gone = forward.remove.iter().any(|removed| removed == name)
                    || is_set.is_some_and(|(_, set)| !set.expose().contains(token));
                prop_assert!(is_gone, "{name}");
            }
        }
    }
}
