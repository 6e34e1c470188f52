//! Nothing that could be a caller's credential goes on, whatever it is called and however often.

use keyless_core::credentials::{HEADER_PATTERNS, HEADERS, PARAMETERS, SUBPROTOCOLS};
use keyless_core::gate::Decision;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::scripted::{Request, Script};
use crate::warm;

const SECRET: &str = "s3cr3t";

/// A header of the table, but for the one that holds the good token.
fn header() -> impl Strategy<Value = String> {
    let named = select(HEADERS.to_vec()).prop_map(str::to_owned);
    let patterns = (select(HEADER_PATTERNS.to_vec()), "[a-z]{0,5}");
    let patterns = patterns.prop_map(|((start, end), middle)| format!("{start}{middle}{end}"));
    prop_oneof![named, patterns].prop_filter("it is checked", |name| name != "authorization")
}

/// A parameter of the table in some spelling.
fn parameter() -> impl Strategy<Value = String> {
    let spelled = |(name, upper, at): (&str, bool, usize)| {
        let name = if upper { name.to_ascii_uppercase() } else { name.to_owned() };
        let (start, end) = name.split_at(at % name.len());
        match at % 4 {
            0 => format!("{start}-{end}={SECRET}"),
            1 => format!("{start}_{end}={SECRET}"),
            2 => {
                let escape = |text: String, byte: u8| text + &format!("%{byte:02x}");
                let escaped = end.bytes().fold(String::new(), escape);
                format!("{start}{escaped}={SECRET}")
            }
            _ => format!("x;{name}={SECRET}"),
        }
    };
    (select(PARAMETERS.to_vec()), any::<bool>(), any::<usize>()).prop_map(spelled)
}

fn subprotocol() -> impl Strategy<Value = String> {
    let named = select(SUBPROTOCOLS.to_vec()).prop_map(|start| format!("{start}.{SECRET}"));
    let token = Just(format!("x.eyJhbGciOiJSUzI1NiJ9.e30.{SECRET}"));
    prop_oneof![named, token, Just("realtime".to_owned())]
}

/// What a backend would see of a request that was forwarded.
fn forwarded(script: &mut Script, request: &Request) -> Vec<String> {
    let decided = script.ask(request.clone()).expect("nothing to wait for");
    let Decision::Forward(forward) = decided.decision else { panic!("{decided:?}") };
    let is_kept = |name: &str| {
        let is_set = forward.set.iter().any(|(other, _)| other.as_str() == name);
        !is_set && !forward.remove.iter().any(|other| other == name)
    };
    let target = forward.target.as_deref().map(String::from_utf8_lossy);
    let value = |(name, value): &(String, Vec<u8>)| match (name.as_str(), &target) {
        (":path", Some(target)) => target.clone().into_owned(),
        _ => String::from_utf8_lossy(value).into_owned(),
    };
    let kept = request.pairs().iter().filter(|(name, _)| is_kept(name)).map(value);
    kept.chain(forward.set.iter().map(|(_, value)| value.expose().to_owned())).collect()
}

#[test]
fn a_route_lets_through_what_it_names_and_no_more() {
    let route = json!({
        "name": "open", "match": { "methods": ["GET"], "path": "/open" }, "public": true,
        "pass": { "headers": ["x-api-key"], "cookies": ["affinity"] }
    });
    let mut script = Script::of(
        json!({ "routes": [route], "strip": { "headers": ["x-own"], "query": ["own"] } }),
    );
    let request = Request::empty()
        .with(":method", "GET")
        .with(":path", "/open?own=o1&a=1")
        .with("x-api-key", "k1")
        .with("x-goog-api-key", "k2")
        .with("x-own", "o2")
        .with("cookie", "session=s1; affinity=a1");
    let seen = forwarded(&mut script, &request);
    assert_eq!(seen, ["GET", "/open?a=1", "k1", "affinity=a1"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_credential_reaches_the_backend_under_any_name(
        headers in prop::collection::vec(header(), 0..6),
        parameters in prop::collection::vec(parameter(), 0..4),
        protocols in prop::collection::vec(subprotocol(), 0..4),
    ) {
        let mut script = warm();
        let query = parameters.join("&");
        let target = format!("/openai/deployments/gpt-4o/chat/completions?a=1&{query}");
        let mut request = script.chat().to("POST", &target);
        for name in &headers {
            request = request.with(name, SECRET);
        }
        if !protocols.is_empty() {
            request = request.with("sec-websocket-protocol", &protocols.join(", "));
        }
        let seen = forwarded(&mut script, &request);
        prop_assert!(seen.iter().all(|value| !value.contains(SECRET)), "{:?}", seen);
        let kept = protocols.iter().any(|protocol| protocol == "realtime");
        let is_there = seen.iter().any(|value| value.contains("realtime"));
        prop_assert_eq!(is_there, kept, "the others stay");
        prop_assert!(seen.iter().any(|value| value.ends_with("completions?a=1") || value.contains("?a=1")));
    }
}
