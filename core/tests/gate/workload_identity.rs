//! Workload identity and secrets from files: one fetch, first a file, then a token.

use std::time::Duration;

use keyless_core::fetch::InMemorySharedData;
use keyless_core::gate::{Decision, FailedStep, Fetch};
use keyless_core::http::{Answer, Call, FetchError};
use serde_json::{Value, json};

use crate::SECOND;
use crate::scripted::{
    IDENTITY, Request, Script, arrived, header, is_admitted, jwks, reason, status,
};

/// A projected token, which nobody but Entra may see.
const PROJECTED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl";

fn workload() -> Value {
    json!({"openai": {
        "resource": "https://cognitiveservices.azure.com",
        "workload_identity": {
            "cluster": "entra", "token_file": {"cluster": "token_file", "path": "/token"},
            "tenant_id": "t", "client_id": "c"
        }
    }})
}

fn secret_file() -> Value {
    json!({"openai": {
        "resource": "https://cognitiveservices.azure.com",
        "client_credentials": {
            "cluster": "entra", "token_uri": "https://login.example.com/token", "client_id": "c",
            "client_secret_file": {"cluster": "secret_file"}
        }
    }})
}

fn changes(identities: Value) -> Value {
    json!({"identities": identities, "routes": [
        {"name": "ready", "match": {"methods": ["GET"], "path": "/readyz"}, "health": true},
        {
            "name": "chat", "allow": [{}], "identity": "openai",
            "match": {
                "methods": ["POST"], "path": "/openai/deployments/{deployment}/chat/completions"
            }
        }
    ]})
}

/// A script with a request that waits for the token alone.
fn cold() -> Script {
    cold_on(&InMemorySharedData::new(true), workload())
}

fn cold_on(notes: &InMemorySharedData, identities: Value) -> Script {
    let mut script = Script::on(notes, changes(identities));
    assert!(script.ask(script.chat()).is_none());
    script
}

/// What is called for the token; the keys arrive at once.
fn calls(script: &mut Script) -> Vec<Call> {
    let calls = script.calls().into_iter();
    let due: Vec<_> = calls
        .filter_map(|(fetch, call)| match fetch {
            Fetch::Identity(_) => Some(call),
            Fetch::Keys(_) => {
                script.answer(fetch, &jwks(&["k1"]));
                None
            }
        })
        .collect();
    due
}

fn clusters(script: &mut Script) -> Vec<String> {
    calls(script).into_iter().map(|call| call.cluster).collect()
}

/// Has the file arrive, which ends no fetch.
fn file(script: &mut Script, text: &str) {
    let report = script.gate.answered(IDENTITY, &arrived(200, text.as_bytes()), script.now);
    assert_eq!(report, None);
}

/// A script whose token has arrived in two calls.
fn warm() -> Script {
    let mut script = cold();
    assert_eq!(clusters(&mut script), ["token_file"]);
    file(&mut script, PROJECTED);
    assert_eq!(clusters(&mut script), ["entra"]);
    let token = script.token_answer("first", 86_400);
    script.answer(IDENTITY, &token);
    assert!(is_admitted(&script.released().pop().unwrap().1));
    script
}

/// Has the call in flight end in this way, and gives the step and the error.
fn failed(script: &mut Script, answer: &Answer) -> (Option<FailedStep>, FetchError) {
    let report = script.gate.answered(IDENTITY, answer, script.now).expect("the fetch ended");
    (report.step, report.result.expect_err("it failed"))
}

/// What a probe is told of failures.
fn failing(script: &mut Script) -> Value {
    let probe = Request::empty().with(":method", "GET").with(":path", "/readyz");
    let decided = script.ask(probe).unwrap_or_else(|| {
        script.pass(SECOND);
        script.released().pop().expect("it waited long enough").1
    });
    let Decision::Respond(reply) = &decided.decision else { panic!("{decided:?}") };
    serde_json::from_str::<Value>(&reply.body).unwrap()["failing"].clone()
}

#[test]
fn the_file_is_read_and_exchanged_for_a_token() {
    let mut script = cold();
    let first = calls(&mut script).pop().unwrap();
    assert_eq!((first.method, first.cluster.as_str()), ("GET", "token_file"));
    assert_eq!((first.path.as_str(), first.body), ("/token", None));
    assert!(calls(&mut script).is_empty(), "one call in flight");
    file(&mut script, PROJECTED);
    assert!(script.released().is_empty(), "a projected token is no access token");
    assert!(script.wake_at().unwrap() <= script.now, "the second call is due at once");
    let second = calls(&mut script).pop().unwrap();
    assert_eq!((second.method, second.cluster.as_str()), ("POST", "entra"));
    assert_eq!(second.authority, "login.microsoftonline.com");
    assert_eq!(second.path, "/t/oauth2/v2.0/token");
    let form = second.body.expect("a form");
    assert!(form.expose().ends_with(&format!("&client_assertion={PROJECTED}")));
    assert!(calls(&mut script).is_empty(), "one call in flight");
    let token = script.token_answer("access", 3600);
    script.answer(IDENTITY, &token);
    let (_, decided) = script.released().pop().unwrap();
    assert_eq!(header(&decided, "authorization"), Some("Bearer access"));
}

#[test]
fn the_file_is_read_again_for_each_exchange() {
    let mut script = warm();
    script.pass(Duration::from_hours(12));
    assert_eq!(clusters(&mut script), ["token_file"]);
    file(&mut script, "bmV3.dG9r.ZW4");
    let call = calls(&mut script).pop().unwrap();
    assert!(call.body.unwrap().expose().ends_with("&client_assertion=bmV3.dG9r.ZW4"));
    let asked = script.ask(script.chat()).unwrap();
    assert_eq!(header(&asked, "authorization"), Some("Bearer first"), "the old one meanwhile");
    let token = script.token_answer("second", 86_400);
    script.answer(IDENTITY, &token);
    let asked = script.ask(script.chat()).unwrap();
    assert_eq!(header(&asked, "authorization"), Some("Bearer second"));
}

#[test]
fn a_secret_in_a_file_is_read_for_each_token() {
    let mut script = cold_on(&InMemorySharedData::new(true), secret_file());
    let first = calls(&mut script).pop().unwrap();
    assert_eq!((first.cluster.as_str(), first.path.as_str()), ("secret_file", "/"));
    file(&mut script, "hunter 2\n");
    let second = calls(&mut script).pop().unwrap();
    assert_eq!((second.cluster.as_str(), second.path.as_str()), ("entra", "/token"));
    assert!(second.body.unwrap().expose().ends_with("&client_secret=hunter%202"));
    let token = script.token_answer("access", 3600);
    script.answer(IDENTITY, &token);
    assert!(is_admitted(&script.released().pop().unwrap().1));
}

#[test]
fn a_file_that_cannot_be_used_is_never_sent_and_the_step_is_named() {
    let megabyte = vec![b'a'; 1 << 20];
    let rows: [(Answer, &str, &str); 9] = [
        (arrived(404, b""), "file_unavailable", "file: status 404"),
        (
            arrived(503, b"no healthy upstream"),
            "file_unavailable",
            "file: unreachable: no healthy upstream",
        ),
        (arrived(504, b""), "file_unavailable", "file: status 504, timeout"),
        (Answer::Unsent, "file_unavailable", "file: no such cluster, or no healthy host"),
        (Answer::Lost, "file_unavailable", "file: no response in time"),
        (arrived(200, b" \n"), "file_empty", "file: empty"),
        (arrived(200, &megabyte), "file_too_large", "file: longer than 16 KiB"),
        (arrived(200, b"<html></html>"), "file_malformed", "file: not a JWT"),
        (arrived(200, b"a.\xff.c"), "file_malformed", "file: not printable ASCII"),
    ];
    for (answer, code, text) in rows {
        let mut script = cold();
        assert_eq!(clusters(&mut script), ["token_file"]);
        let (step, error) = failed(&mut script, &answer);
        assert_eq!(step, Some(FailedStep::File), "{text}");
        assert_eq!((error.code(), error.to_string().as_str()), (code, text));
        assert!(calls(&mut script).is_empty(), "{text}: nothing is sent to Entra");
        let told = json!({"identities": {"openai": {"step": "file", "result": code}}});
        assert_eq!(failing(&mut script), told);
        script.pass(2 * SECOND);
        assert_eq!(clusters(&mut script), ["token_file"], "{text}: tried again soon");
    }
}

#[test]
fn refusals_of_entra_are_distinguished_by_their_number() {
    let rows = [
        (70_021, "no_federated_credential"),
        (700_211, "no_federated_credential"),
        (700_213, "no_federated_credential"),
        (700_212, "assertion_audience"),
        (700_024, "assertion_expired"),
        (700_027, "assertion_invalid"),
        (700_016, "client_unknown"),
        (90_002, "tenant_unknown"),
    ];
    for (number, code) in rows {
        let mut script = cold();
        assert_eq!(clusters(&mut script), ["token_file"]);
        file(&mut script, PROJECTED);
        assert_eq!(clusters(&mut script), ["entra"]);
        let body = json!({
            "error": "invalid_client", "error_codes": [number],
            "error_description": format!("AADSTS{number}: the assertion {PROJECTED}")
        });
        let (step, error) = failed(&mut script, &arrived(401, body.to_string().as_bytes()));
        assert_eq!((step, error.code()), (Some(FailedStep::Token), code));
        let shown = format!("{error} {error:?}");
        assert!(
            shown.starts_with(&format!("AADSTS{number}, ")) && !shown.contains("eyJ"),
            "{shown}"
        );
        let told = json!({"identities": {"openai": {"step": "token", "result": code}}});
        assert_eq!(failing(&mut script), told);
    }
}

#[test]
fn the_old_token_serves_until_its_end_while_either_step_fails() {
    for fails_at_file in [true, false] {
        let mut script = warm();
        script.pass(Duration::from_hours(12));
        let end = script.now + Duration::from_hours(12) - Duration::from_mins(1);
        while script.now < end {
            for call in calls(&mut script) {
                if call.cluster == "token_file" && !fails_at_file {
                    file(&mut script, PROJECTED);
                } else {
                    _ = failed(&mut script, &arrived(500, b""));
                }
            }
            let asked = script.ask(script.chat()).expect("no wait");
            assert_eq!(header(&asked, "authorization"), Some("Bearer first"));
            script.pass(Duration::from_mins(7));
        }
        script.pass_to(end);
        _ = calls(&mut script);
        let asked = script.ask(script.chat());
        let refused = asked.unwrap_or_else(|| {
            script.pass(11 * SECOND);
            script.released().pop().expect("it waited long enough").1
        });
        assert_eq!((status(&refused), reason(&refused)), (503, "identity_unavailable"));
    }
}

#[test]
fn a_slow_second_step_has_a_deadline_of_its_own() {
    let mut script = cold();
    assert_eq!(clusters(&mut script), ["token_file"]);
    script.pass(4 * SECOND);
    file(&mut script, PROJECTED);
    assert_eq!(clusters(&mut script), ["entra"]);
    script.pass(5 * SECOND);
    assert!(script.gate.lost(script.now).is_empty(), "nine seconds in all");
    script.pass(SECOND);
    assert_eq!(script.gate.lost(script.now), [IDENTITY]);
    let (step, error) = failed(&mut script, &Answer::Lost);
    assert_eq!((step, error), (Some(FailedStep::Token), FetchError::Unanswered));
    script.pass(2 * SECOND);
    assert_eq!(clusters(&mut script), ["token_file"], "and the next try begins with the file");
}

#[test]
fn one_thread_makes_both_calls_and_the_others_take_the_token_over() {
    let notes = InMemorySharedData::new(true);
    let mut first = cold_on(&notes.of_holder(1), workload());
    let mut second = cold_on(&notes.of_holder(2), workload());
    assert_eq!(clusters(&mut first), ["token_file"]);
    let mut both_pass = |first: &mut Script, time| {
        first.pass(time);
        second.pass(time);
        assert!(clusters(&mut second).is_empty(), "it asks nobody");
    };
    both_pass(&mut first, 4 * SECOND);
    file(&mut first, PROJECTED);
    assert_eq!(clusters(&mut first), ["entra"]);
    both_pass(&mut first, 4 * SECOND);
    let token = first.token_answer("access", 3600);
    first.answer(IDENTITY, &token);
    both_pass(&mut first, SECOND);
    assert!(is_admitted(&second.released().pop().unwrap().1), "and takes the token over");
    let stored = String::from_utf8_lossy(&notes.bytes()).into_owned();
    assert!(stored.contains("access") && !stored.contains(PROJECTED));
}

#[test]
fn a_probe_on_another_thread_is_told_what_failed_too() {
    let notes = InMemorySharedData::new(false);
    let mut first = cold_on(&notes.of_holder(1), workload());
    let mut second = cold_on(&notes.of_holder(2), workload());
    assert_eq!(clusters(&mut first), ["token_file"]);
    _ = failed(&mut first, &arrived(200, b""));
    assert!(clusters(&mut second).is_empty());
    let told = json!({"identities": {"openai": {"step": "file", "result": "file_empty"}}});
    assert_eq!(failing(&mut second), told);
}

#[test]
fn nothing_of_the_file_is_shown_or_shared() {
    let notes = InMemorySharedData::new(true);
    for identities in [workload(), secret_file()] {
        let mut script = cold_on(&notes, identities);
        assert_eq!(clusters(&mut script).len(), 1);
        file(&mut script, PROJECTED);
        let call = calls(&mut script).pop().unwrap();
        let answer = arrived(401, PROJECTED.as_bytes());
        let report = script.gate.answered(IDENTITY, &answer, script.now);
        let shown = format!("{call:?} {:?} {answer:?} {report:?}", script.gate);
        assert!(!shown.contains("eyJ") && !shown.contains("c2lnbmF0dXJl"), "{shown}");
        assert!(!String::from_utf8_lossy(&notes.bytes()).contains("c2lnbmF0dXJl"));
    }
}
