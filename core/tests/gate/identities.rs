//! Several identities, each from a source of its own kind.

use keyless_core::gate::{Decided, Decision, Fetch};
use keyless_core::http::Answer;
use keyless_core::identity::IdentityIndex;
use serde_json::{Value, json};

use crate::SECOND;
use crate::scripted::{Script, arrived, header, is_admitted, reason, status};

/// Their places: the configuration keeps them by name.
const AZURE: Fetch = Fetch::Identity(IdentityIndex(0));
const CONTAINER: Fetch = Fetch::Identity(IdentityIndex(1));
const PARTNER: Fetch = Fetch::Identity(IdentityIndex(2));

/// A route for each identity, and `/plain` with none. The environment lacks `IDENTITY_ENDPOINT`.
fn script() -> Script {
    let route = |name: &str| {
        json!({
            "name": name, "match": { "methods": ["GET"], "path": format!("/{name}") },
            "allow": [{}], "identity": name
        })
    };
    Script::of(json!({
        "identities": {
            "azure": { "resource": "https://cognitiveservices.azure.com", "imds": { "cluster": "imds" } },
            "container": { "resource": "https://cognitiveservices.azure.com", "app_service": { "cluster": "app" } },
            "partner": {
                "resource": "https://ai.azure.com",
                "client_credentials": {
                    "cluster": "login", "token_uri": "https://login.example.com/token",
                    "client_id": "app", "client_secret_env": "PARTNER_SECRET"
                }
            }
        },
        "routes": [
            route("azure"), route("container"), route("partner"),
            { "name": "plain", "match": { "methods": ["GET"], "path": "/plain" }, "allow": [{}] }
        ]
    }))
}

/// The answer of a source with a token of this name.
fn token(name: &str) -> Answer {
    let body: Value = json!({ "access_token": name, "expires_in": 3600, "token_type": "Bearer" });
    arrived(200, body.to_string().as_bytes())
}

/// What a host does once, with the keys and these tokens; other fetches fail.
fn drive(script: &mut Script, tokens: &[(Fetch, &str)]) {
    _ = script.drive(|script, fetch| {
        let given = tokens.iter().find(|(other, _)| *other == fetch);
        match (fetch, given) {
            (Fetch::Keys(_), _) => Some(script.good_answer(fetch)),
            (Fetch::Identity(_), Some((_, name))) => Some(token(name)),
            (Fetch::Identity(_), None) => Some(arrived(500, b"")),
        }
    });
}

#[test]
fn each_route_sends_the_token_of_its_own_identity() {
    let mut script = script();
    assert!(script.ask(script.chat().to("GET", "/plain")).is_none());
    drive(&mut script, &[(AZURE, "a"), (PARTNER, "p")]);
    let sent = |script: &mut Script, path: &str| {
        let decided = script.ask(script.chat().to("GET", path)).unwrap();
        header(&decided, "authorization").map(str::to_owned)
    };
    assert_eq!(sent(&mut script, "/azure").as_deref(), Some("Bearer a"));
    assert_eq!(sent(&mut script, "/partner").as_deref(), Some("Bearer p"));
    assert_eq!(sent(&mut script, "/plain"), None);
}

#[test]
fn one_dead_identity_stops_no_other_route() {
    for (dead, path) in [(AZURE, "/azure"), (PARTNER, "/partner")] {
        let mut script = script();
        assert!(script.ask(script.chat().to("GET", "/plain")).is_none());
        let alive: Vec<_> =
            [(AZURE, "a"), (PARTNER, "p")].into_iter().filter(|(one, _)| *one != dead).collect();
        for _ in 0..120 {
            drive(&mut script, &alive);
            script.pass(SECOND);
        }
        let refused = script.ask(script.chat().to("GET", path)).expect("a decision");
        assert_eq!((status(&refused), reason(&refused)), (503, "identity_unavailable"));
        for other in ["/azure", "/partner", "/plain"].into_iter().filter(|other| *other != path) {
            assert!(is_admitted(&script.ask(script.chat().to("GET", other)).unwrap()), "{other}");
        }
    }
}

#[test]
fn an_identity_whose_variable_is_not_set_sends_nothing_and_is_our_fault() {
    let mut script = script();
    assert!(script.ask(script.chat().to("GET", "/container")).is_none());
    let calls: Vec<_> = script.calls().into_iter().map(|(fetch, _)| fetch).collect();
    assert!(calls.contains(&AZURE) && !calls.contains(&CONTAINER), "{calls:?}");
    assert_eq!(script.gate.lost(script.now), [CONTAINER], "at once");
    assert!(script.wake_at().unwrap() <= script.now);
    let report = script.gate.answered(CONTAINER, &Answer::Lost, script.now).unwrap();
    assert_eq!((report.name.as_str(), report.is_news), ("container", true));
    let error = report.result.unwrap_err();
    assert_eq!(error.code(), "unset");
    let text = "environment variable IDENTITY_ENDPOINT not set or not usable";
    assert_eq!(error.to_string(), text);
    for fetch in calls {
        script.answer_with(fetch, &script.good_answer(fetch)).unwrap();
    }
    let (_, refused) = script.released().pop().expect("no use in waiting");
    assert_eq!((status(&refused), reason(&refused)), (503, "identity_unavailable"));

    let mut reports = 0;
    for _ in 0..10 * 60 {
        script.pass(SECOND);
        _ = script.calls();
        for fetch in script.gate.lost(script.now) {
            let report = script.gate.answered(fetch, &Answer::Lost, script.now).unwrap();
            assert!(fetch == CONTAINER && !report.is_news, "it was said once");
            reports += 1;
        }
    }
    assert!((9..=10).contains(&reports), "and looked at once a minute, not {reports} times in ten");
}

#[test]
fn a_rejected_token_is_refreshed_once_a_minute_at_most_and_the_operator_told_as_often() {
    let mut script = script();
    assert!(script.ask(script.chat().to("GET", "/plain")).is_none());
    drive(&mut script, &[(AZURE, "a"), (PARTNER, "p")]);
    let mut asked = 0;
    for second in 0..150 {
        let said = br#"{"error":{"code":"401","message":"The audience is incorrect."}}"#;
        let refusal = script.gate.rejected_upstream(IdentityIndex(0), said, script.now).unwrap();
        assert_eq!(refusal.identity, "azure");
        assert_eq!(refusal.explanation.as_deref(), Some("The audience is incorrect."));
        assert_eq!(refusal.is_news, second % 60 == 0, "{second}");
        let calls = script.calls();
        asked += calls.iter().filter(|(fetch, _)| *fetch == AZURE).count();
        assert!(!calls.iter().any(|(fetch, _)| *fetch == PARTNER), "its token was not refused");
        for (fetch, _) in calls {
            _ = script.answer_with(fetch, &token("a"));
        }
        script.pass(SECOND);
    }
    assert_eq!(asked, 3, "at 0, 60 and 120 s");
}

#[test]
fn a_401_is_about_the_identity_only_where_one_is_sent() {
    let mut script = script();
    assert!(script.ask(script.chat().to("GET", "/plain")).is_none());
    drive(&mut script, &[(AZURE, "a"), (PARTNER, "p")]);
    let carried = |decided: Decided| match decided.decision {
        Decision::Forward(forward) => forward.identity,
        other @ (Decision::Deny(_) | Decision::Respond(_) | Decision::Wait(_)) => {
            panic!("{other:?}")
        }
    };
    let azure_chat = script.chat().to("GET", "/azure");
    assert_eq!(carried(script.ask(azure_chat).unwrap()), Some(IdentityIndex(0)));
    let plain = script.chat().to("GET", "/plain");
    assert_eq!(carried(script.ask(plain).unwrap()), None);
    let nobody = IdentityIndex(99);
    assert!(script.gate.rejected_upstream(nobody, b"", script.now).is_none());
}

#[test]
fn a_rejected_token_is_not_refreshed_while_its_source_fails() {
    let mut script = script();
    assert!(script.ask(script.chat().to("GET", "/plain")).is_none());
    drive(&mut script, &[(AZURE, "a"), (PARTNER, "p")]);
    script.gate.rejected_upstream(IdentityIndex(0), b"", script.now).unwrap();
    assert_eq!(script.calls().len(), 1);
    _ = script.answer_with(AZURE, &arrived(410, b""));
    for _ in 0..69 {
        script.gate.rejected_upstream(IdentityIndex(0), b"", script.now).unwrap();
        assert!(script.calls().is_empty(), "410 means 70 s");
        script.pass(SECOND);
    }
}
