//! Routing by model: the deployment in a header that Envoy's router reads.

use keyless_core::gate::{Decided, Decision, Progress};
use serde_json::{Value, json};

use crate::scripted::{Request, Script, header, is_admitted, reason, status};

const HEADER: &str = "x-deployment";

fn routes(report_only: bool) -> Value {
    let allow = json!([
        { "scopes": ["openai.chat"], "deployments": ["gpt-4o"] }, { "roles": ["all"] }
    ]);
    json!({ "report_only": report_only, "routes": [
        {
            "name": "path", "match": { "methods": ["POST"], "path": "/d/{deployment}/chat" },
            "deployment_header": "X-Deployment", "deployments": ["gpt-4o", "o3"], "allow": allow
        },
        {
            "name": "body", "match": { "methods": ["GET", "POST"], "path": "/openai/v1/{*rest}" },
            "deployment": "body.model", "deployment_header": HEADER,
            "deployments": ["gpt-4o", "o3"], "allow": allow
        },
        { "name": "other", "match": { "methods": ["POST"], "path": "/other" }, "allow": [{}] }
    ] })
}

fn warm(report_only: bool) -> Script {
    let mut script = Script::of(routes(report_only));
    assert!(script.ask(script.chat().to("POST", "/other")).is_none());
    script.answer_all();
    assert_eq!(script.released().len(), 1);
    script
}

/// A request whose caller may use every deployment.
fn free(script: &Script, target: &str) -> Request {
    script.chat_with(json!({ "scp": null, "roles": ["all"] })).to("POST", target)
}

fn by_body(script: &mut Script, request: Request, model: &str) -> Decided {
    let request = request.with("content-type", "application/json");
    assert!(script.ask(request).is_none(), "it waits for its body");
    let body = json!({ "model": model }).to_string().into_bytes();
    match script.gate.body(script.last_stream, true, || body, script.now) {
        Progress::Decided(decided) => *decided,
        other @ (Progress::Free | Progress::Held) => panic!("{other:?}"),
    }
}

#[test]
fn the_router_is_told_the_deployment_in_the_place_of_what_the_caller_says() {
    let mut script = warm(false);
    for name in ["gpt-4o", "o3"] {
        let request = free(&script, &format!("/d/{name}/chat")).with(HEADER, "forged");
        let decided = script.ask(request).expect("nothing to wait for");
        assert_eq!(header(&decided, HEADER), Some(name));
        let request = free(&script, "/openai/v1/chat/completions").with(HEADER, "forged");
        let decided = by_body(&mut script, request, name);
        assert_eq!(header(&decided, HEADER), Some(name));
    }
    let elsewhere = free(&script, "/other").with(HEADER, "forged");
    let elsewhere = script.ask(elsewhere).expect("nothing to wait for");
    let Decision::Forward(forward) = &elsewhere.decision else { panic!("{elsewhere:?}") };
    assert_eq!(forward.remove.iter().filter(|name| *name == HEADER).count(), 1, "on every route");
}

#[test]
fn a_model_that_there_is_not_is_not_found() {
    let mut script = warm(false);
    let ask = |script: &mut Script, request| script.ask(request).expect("nothing to wait for");
    let request = free(&script, "/d/gpt-9/chat");
    let unknown = ask(&mut script, request);
    let Decision::Deny(reply) = &unknown.decision else { panic!("{unknown:?}") };
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((reply.status, &body["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(body["error"]["type"], "invalid_request_error");
    let limited = script.chat().to("POST", "/d/gpt-9/chat");
    assert_eq!(reason(&ask(&mut script, limited)), "model_not_found", "whatever a caller may use");
    let limited = script.chat().to("POST", "/d/o3/chat");
    assert_eq!(reason(&ask(&mut script, limited)), "deployment_forbidden");
    let stranger = script.chat_with(json!({ "scp": "x" })).to("POST", "/d/gpt-9/chat");
    assert_eq!(status(&ask(&mut script, stranger)), 403, "who has no grant learns nothing");
    let request = free(&script, "/openai/v1/responses");
    assert_eq!(reason(&by_body(&mut script, request, "gpt-9")), "model_not_found");
    let unnamed = free(&script, "/x").to("GET", "/openai/v1/responses");
    let unnamed = script.ask_without_body(unnamed).expect("nothing to wait for");
    assert_eq!((status(&unnamed), reason(&unnamed)), (400, "model_missing"));
}

#[test]
fn a_dry_run_tells_the_router_what_is_known() {
    let mut script = warm(true);
    let request = Request::chat("x").without("authorization").to("POST", "/d/gpt-4o/chat");
    let decided = script.ask(request).expect("nothing to wait for");
    assert!(is_admitted(&decided) && reason(&decided) == "token_missing");
    assert_eq!(header(&decided, HEADER), Some("gpt-4o"));
}
