//! What probes are told.

use std::time::Duration;

use keyless_core::gate::{Decided, Decision};
use keyless_core::jwt::IssuerIndex;
use serde_json::{Value, json};

use crate::SECOND;
use crate::scripted::{IDENTITY, ISSUER, KEYS, Request, Script, is_admitted, issuer, jwks, reason};

fn probe() -> Request {
    Request::empty().with(":method", "GET").with(":path", "/readyz")
}

/// How long a probe waits.
const MAX_PROBE_WAIT: Duration = Duration::from_millis(900);

/// A millisecond less.
const ALMOST: Duration = Duration::from_millis(899);

fn script(changes: Value) -> Script {
    Script::of(routes(changes))
}

fn routes(changes: Value) -> Value {
    let mut document = json!({"routes": [
        {"name": "ready", "match": {"methods": ["GET"], "path": "/readyz"}, "health": true},
        {"name": "plain", "match": {"methods": ["GET"], "path": "/plain"}, "allow": [{}]}
    ]});
    document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    document
}

/// The status and the body of an answer that is the gateway's own.
fn answer(decided: &Decided) -> (u16, Value) {
    let Decision::Respond(reply) = &decided.decision else { panic!("{decided:?}") };
    assert!(reply.headers.contains(&("content-type", "application/json".to_owned())));
    (reply.status, serde_json::from_str(&reply.body).unwrap())
}

fn told(keys: bool, identity: bool) -> Value {
    json!({
        "ready": keys && identity, "issuers": {"idp.example.com": keys},
        "identities": {"openai": identity}
    })
}

/// What a probe is told in the end, if nothing more comes while it waits.
fn asked(script: &mut Script) -> Decided {
    if let Some(decided) = script.ask(probe()) {
        return decided;
    }
    script.pass(MAX_PROBE_WAIT);
    script.released().pop().expect("it waited long enough").1
}

#[test]
fn a_probe_has_everything_fetched_and_is_told_by_name_what_is_there() {
    let mut script = script(json!({}));
    assert!(script.calls().is_empty(), "nobody has asked");
    let decided = asked(&mut script);
    assert_eq!((answer(&decided), reason(&decided)), ((503, told(false, false)), "not_ready"));
    assert_eq!((decided.decision.verdict(), is_admitted(&decided)), ("refused", false));
    assert_eq!(script.calls().len(), 2, "the probe woke the gate");
    script.answer(KEYS, &jwks(&["k1"]));
    assert_eq!(answer(&asked(&mut script)), (503, told(true, false)));
    script.answer(IDENTITY, &script.token_answer("m1", 86_400));
    let decided = script.ask(probe()).unwrap();
    assert_eq!((answer(&decided), reason(&decided)), ((200, told(true, true)), "ready"));
    assert_eq!((decided.decision.verdict(), is_admitted(&decided)), ("admitted", false));
    assert!(is_admitted(&script.ask(script.chat().to("GET", "/plain")).unwrap()));
}

#[test]
fn a_probe_waits_a_moment_for_a_worker_that_is_about_to_be_ready() {
    let mut script = script(json!({}));
    assert!(script.ask(probe()).is_none(), "it waits");
    assert_eq!(script.calls().len(), 2);
    script.answer(KEYS, &jwks(&["k1"]));
    assert!(script.released().is_empty(), "one half is missing");
    script.pass(ALMOST);
    assert!(script.released().is_empty());
    script.answer(IDENTITY, &script.token_answer("m1", 86_400));
    let (_, decided) = script.released().pop().expect("an answer at once");
    assert_eq!(answer(&decided), (200, told(true, true)));

    let mut other = Script::of(routes(json!({})));
    assert!(other.ask(probe()).is_none());
    other.pass(ALMOST);
    assert!(other.released().is_empty());
    assert!(other.wake_at().unwrap() <= other.now + Duration::from_millis(1));
    other.pass(Duration::from_millis(1));
    let (_, decided) = other.released().pop().expect("no longer than that");
    assert_eq!(answer(&decided).0, 503);
}

#[test]
fn what_failed_to_be_renewed_counts_until_it_expires() {
    let mut script = script(json!({}));
    script.ask(probe());
    script.answer_all();
    for _ in 0..25 {
        script.pass(3600 * SECOND);
        script.fail_all();
        if answer(&asked(&mut script)).0 == 503 {
            return;
        }
    }
    panic!("ready for ever");
}

#[test]
fn an_entry_is_ready_when_all_its_tenants_are() {
    let tenants = ["72f988bf-86f1-41af-91ab-2d7cd011db47", "9188040d-6c67-4c5b-b112-36a304b66dad"];
    let entra = json!({
        "entra": {"tenants": tenants}, "audiences": ["a"], "jwks": {"cluster": "entra"}
    });
    let mut script = script(json!({"issuers": [entra, issuer(ISSUER, "idp")], "identities": {}}));
    script.ask(probe());
    assert_eq!(script.calls().len(), 3);
    let issuers = |entra, idp| json!({"entra": entra, "idp.example.com": idp});
    for (at, entra, idp) in [(0, false, false), (2, false, true), (1, true, true)] {
        script.answer(keyless_core::gate::Fetch::Keys(IssuerIndex(at)), &jwks(&["k1"]));
        let (_, body) = answer(&asked(&mut script));
        assert_eq!(body["issuers"], issuers(entra, idp), "{at}");
    }
}

#[test]
fn an_answer_holds_no_secret() {
    let mut script = script(json!({}));
    script.ask(probe());
    script.answer_all();
    let decided = script.ask(probe()).unwrap();
    assert!(!format!("{decided:?}").contains("managed"));
}
