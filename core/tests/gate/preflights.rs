//! Browsers that ask whether they may come.

use keyless_core::gate::Decision;
use serde_json::json;

use crate::scripted::{Request, Script, reason};

fn script() -> Script {
    let route = |name: &str, methods: &[&str], path: &str| {
        json!({
            "name": name, "match": {"methods": methods, "path": path, "hosts": ["a.example"]},
            "allow": [{}], "identity": "openai", "forward_claims": {"x-caller-id": "oid"}
        })
    };
    let mut routes = [
        route("chat", &["POST"], "/chat"),
        route("plain", &["GET"], "/plain"),
        route("own", &["OPTIONS", "PUT"], "/own"),
    ];
    routes[0]["cors"] = json!(true);
    routes[2]["cors"] = json!(true);
    Script::of(json!({"routes": routes}))
}

fn preflight(method: &str, path: &str) -> Request {
    Request::empty()
        .with(":method", "OPTIONS")
        .with(":authority", "a.example")
        .with(":path", path)
        .with("origin", "https://app.example")
        .with("access-control-request-method", method)
        .with("access-control-request-headers", "authorization,content-type")
}

#[test]
fn a_preflight_goes_on_without_any_credential() {
    let mut script = script();
    let hostile = preflight("POST", "/chat?api-key=k")
        .with("authorization", "Bearer x")
        .with("api-key", "k")
        .with("x-caller-id", "root");
    for request in [preflight("POST", "/chat"), hostile] {
        let decided = script.ask_without_body(request).expect("nothing to wait for");
        assert_eq!(reason(&decided), "preflight");
        assert_eq!(decided.record.route.as_deref(), Some("chat"));
        let Decision::Forward(forward) = &decided.decision else { panic!("{decided:?}") };
        assert!(forward.set.is_empty(), "no identity");
        let removed: Vec<_> = forward.remove.iter().map(String::as_str).collect();
        match forward.target.as_deref() {
            None => assert!(removed.is_empty()),
            Some(target) => {
                assert_eq!(target, b"/chat");
                assert_eq!(removed, ["api-key", "authorization", "x-caller-id"]);
            }
        }
    }
    assert!(script.calls().is_empty(), "nobody was asked for it");
}

#[test]
fn what_is_no_preflight_of_a_route_for_browsers_is_refused() {
    let mut script = script();
    let elsewhere =
        preflight("POST", "/chat").without(":authority").with(":authority", "b.example");
    let requests = [
        preflight("POST", "/nowhere"),
        preflight("GET", "/chat"),
        preflight("post", "/chat"),
        preflight("OPTIONS", "/chat"),
        preflight("GET", "/plain"),
        elsewhere,
        preflight("POST", "/chat").without("origin"),
        preflight("POST", "/chat").without("access-control-request-method"),
        preflight("POST", "/chat").with("access-control-request-method", "GET"),
        preflight("POST", "/chat").without(":method").with(":method", "HEAD"),
    ];
    for request in requests {
        let decided = script.ask_without_body(request).expect("a decision");
        assert_eq!(reason(&decided), "route_unknown");
    }
    let decided = script.ask(preflight("POST", "/chat")).expect("a decision");
    assert_eq!(reason(&decided), "route_unknown", "it has a body");
    let decided = script.ask_without_body(preflight("POST", "//chat")).unwrap();
    assert_eq!(reason(&decided), "path_refused");
    let decided = script.ask_without_body(preflight("PUT", "/own")).unwrap();
    assert_eq!(reason(&decided), "token_missing", "a route for OPTIONS itself comes first");
}
