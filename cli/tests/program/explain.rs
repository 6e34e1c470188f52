//! `keyless explain`: what it says, that the gate says the same, and what it never says.

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use keyless_core::config::Config;
use keyless_core::fetch::{InMemorySharedData, SharedData};
use keyless_core::gate::{Decision, Gate};
use keyless_core::request::Head;
use keyless_core::signature::Sandbox;
use serde_json::{Value, json};

use crate::tokens::{NOW, jwk, signed, token};
use crate::{Said, Scratch, configuration, keyless};

/// Explains a request with this token, if with any.
pub(crate) fn explain(config: &Value, token: Option<&str>, arguments: &[&str]) -> Said {
    let file =
        Scratch::new(&format!("{:?}.json", std::thread::current().id()), &config.to_string());
    let now = NOW.to_string();
    let mut all = vec!["explain", "--config", file.path(), "--at", &now];
    all.extend(arguments);
    if token.is_some() {
        all.extend(["--token", "-"]);
    }
    keyless(&all, token.unwrap_or_default())
}

pub(crate) const CHAT: [&str; 4] = ["--method", "POST", "--path", "/chat/mini?api-version=1"];

const METADATA: &str = "/.well-known/oauth-protected-resource";

/// The reply of the gate as the program writes it, or nothing if it refuses nobody.
fn refusal(config: &Value, token: Option<&str>, method: &str, path: &str) -> Option<String> {
    let authorization = token.map(|token| ("authorization", format!("Bearer {token}")));
    refusal_of(config, authorization, method, path)
}

/// The same of a request that has this header, too, if any.
fn refusal_of(
    config: &Value,
    header: Option<(&str, String)>,
    method: &str,
    path: &str,
) -> Option<String> {
    let config = Config::parse(config.to_string().as_bytes()).unwrap();
    let shared: Rc<dyn SharedData> = Rc::new(InMemorySharedData::default());
    let mut gate = Gate::new(config, Box::new(Sandbox), |_| None, &shared);
    let mut pairs = vec![(":method", method.to_owned()), (":path", path.to_owned())];
    if path.starts_with("/v1/re") {
        pairs.push(("upgrade", "websocket".to_owned()));
    }
    pairs.extend(header);
    let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()));
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    match gate.admit(1, Head::new(pairs.collect()), now).decision {
        Decision::Deny(reply) => {
            let headers = reply.headers.iter().map(|(name, value)| format!("  {name}: {value}\n"));
            let headers: String = headers.collect();
            Some(format!("  {}\n{headers}\n  {}\n", reply.status, reply.body))
        }
        Decision::Forward(_) | Decision::Respond(_) | Decision::Wait(_) => None,
    }
}

#[test]
fn the_reply_is_that_of_the_gate_whatever_the_token() {
    let mut config = configuration();
    config["protected_resource"] = json!({ "resource": "https://gateway.example.com" });
    let forged = token(&json!({}));
    let forged = format!("{}AAAA", &forged[..forged.len() - 4]);
    let tokens = [
        token(&json!({ "scp": "chat more" })),
        token(&json!({ "scp": "chat" })),
        token(&json!({ "roles": ["Chat"], "team": 1 })),
        token(&json!({ "roles": ["Chat"], "team": "b" })),
        token(&json!({ "team": "a" })),
        token(&json!({ "exp": NOW - 3600, "scp": "chat more" })),
        token(&json!({ "nbf": NOW + 3600 })),
        token(&json!({ "exp": NOW + 36_000 })),
        token(&json!({ "aud": "other" })),
        token(&json!({ "iss": "https://other.example.com/" })),
        token(&json!({ "iss": null })),
        signed(&json!({ "alg": "RS256", "kid": "k" }), &json!({})),
        signed(&json!({ "alg": "none" }), &json!({})),
        signed(&json!({ "alg": "ES256", "kid": "other" }), &json!({})),
        signed(&json!({ "alg": "ES256", "typ": "other" }), &json!({})),
        signed(&json!({ "alg": "ES256", "crit": ["b64"] }), &json!({})),
        forged,
        "a, b".to_owned(),
        "a b".to_owned(),
        "a.b.c".to_owned(),
        String::new(),
    ];
    let tokens = tokens.iter().map(|token| Some(token.as_str())).chain([None]);
    let mut refused = std::collections::BTreeSet::new();
    for token in tokens {
        for path in ["/chat/mini", "/chat/max", "/open", "/ready", METADATA, "/none", "/chat//mini"]
        {
            let method = if path.starts_with("/chat") { "POST" } else { "GET" };
            let said = explain(&config, token, &["--method", method, "--path", path]);
            let refusal = refusal(&config, token, method, path);
            assert_eq!(said.status, i32::from(refusal.is_some()), "{token:?} {path}: {}", said.out);
            if let Some(refusal) = refusal {
                let reply = said.out.rsplit_once("reply\n").unwrap().1;
                assert_eq!(reply, refusal, "{token:?} {path}");
                refused.insert(refusal);
            }
        }
    }
    assert!(refused.len() > 15, "only {} kinds of refusal", refused.len());
}

/// A WebSocket's token stands in one of three places, and its deployment in the query.
#[test]
fn the_reply_is_that_of_the_gate_wherever_token_and_deployment_stand() {
    let mut config = configuration();
    config["routes"] = json!([
        {
            "name": "realtime", "match": { "methods": ["GET"], "path": "/v1/realtime" },
            "deployment": "query", "credential": ["authorization", "api-key", "subprotocol"],
            "deployments": ["mini", "max"], "deployment_header": "x-deployment",
            "allow": [{ "scopes": ["chat"], "deployments": ["mini"] }, { "roles": ["Chat"] }]
        },
        {
            "name": "socket", "match": { "methods": ["GET"], "path": "/v1/responses" },
            "deployment": "body.model", "credential": ["api-key"],
            "allow": [{ "scopes": ["chat"] }]
        }
    ]);
    let paths = ["/v1/realtime", "/v1/responses"].into_iter().flat_map(|path| {
        ["", "?model=mini", "?model=max", "?deployment=other", "?model=a&model=b", "?Model=mini"]
            .map(|query| format!("{path}{query}"))
    });
    let paths: Vec<_> = paths.collect();
    let good = [token(&json!({ "scp": "chat" })), token(&json!({ "roles": ["Chat"] }))];
    let mut refused = std::collections::BTreeSet::new();
    for token in good.iter().map(String::as_str).chain(["x"]) {
        let places = [
            ("authorization", "authorization", "Bearer "),
            ("api-key", "api-key", ""),
            ("subprotocol", "sec-websocket-protocol", "openai-insecure-api-key."),
        ];
        for (word, name, start) in places {
            for path in &paths {
                let arguments =
                    ["--method", "GET", "--path", path, "--websocket", "--credential", word];
                let said = explain(&config, Some(token), &arguments);
                let header = Some((name, format!("{start}{token}")));
                let refusal = refusal_of(&config, header, "GET", path);
                assert_eq!(
                    said.status,
                    i32::from(refusal.is_some()),
                    "{word} {path}: {}",
                    said.out
                );
                if let Some(refusal) = refusal {
                    let reply = said.out.rsplit_once("reply\n").unwrap().1;
                    assert_eq!(reply, refusal, "{word} {path}");
                    refused.insert(refusal);
                }
            }
        }
    }
    assert!(refused.len() >= 6, "only {} kinds of refusal", refused.len());
}

#[test]
fn each_step_is_told() {
    let bearer = token(&json!({ "scp": "chat", "roles": ["Chat"], "team": "b" }));
    let said = explain(&configuration(), Some(&bearer), &CHAT);
    let expected = "\
route
  chat  POST /chat/{deployment}
        deployment mini

token
  credential  one token
  form        a signed JWT
  issuer      idp (issuers[0])
  alg         holds
  typ         holds
  exp         holds
  nbf, iat    holds
  lifetime    holds
  tid         holds
  aud         holds
  signature   good

grants: any one admits
  allow[0]  does not hold
              has    scope chat
              LACKS  scope more
  allow[1]  does not hold
              has    deployment mini
              LACKS  claim team \"a\" or 1
              has    role Chat

reply
  403
";
    assert!(said.out.starts_with(expected), "{}", said.out);
    assert!(
        said.out.contains(
            "\n  www-authenticate: Bearer realm=\"keyless\", error=\"insufficient_scope\""
        )
    );
}

#[test]
fn all_checks_are_told_and_the_first_that_fails_is_the_reply() {
    let bearer = token(&json!({ "exp": NOW - 3600, "aud": "other", "scp": "chat more" }));
    let said = explain(&configuration(), Some(&bearer), &CHAT);
    assert_eq!(said.status, 1);
    assert!(
        said.out.contains("  exp         FAILS: token_expired: The token has expired.\n"),
        "{}",
        said.out
    );
    assert!(said.out.contains("  aud         FAILS: audience_mismatch: "), "{}", said.out);
    assert!(said.out.contains("  allow[0]  HOLDS\n"), "{}", said.out);
    assert!(said.out.contains("\"code\":\"token_expired\""), "{}", said.out);
}

#[test]
fn an_admitted_request_is_told_how_it_goes_on() {
    let bearer = token(&json!({ "scp": "more chat" }));
    let said = explain(&configuration(), Some(&bearer), &CHAT);
    assert_eq!(said.status, 0);
    let end = "reply\n  the backend's: the request goes on\n  authorization: the token of openai\n  \
               x-caller: claim oid\n";
    assert!(said.out.ends_with(end), "{}", said.out);
    let bearer = token(&json!({ "scp": "more chat", "oid": null }));
    let said = explain(&configuration(), Some(&bearer), &CHAT);
    assert!(said.out.ends_with("x-caller: removed: the token has no printable claim oid\n"));
}

#[test]
fn a_signature_is_unchecked_until_the_keys_are_given() {
    let mut config = configuration();
    config["issuers"][0]["jwks"] = json!({ "cluster": "idp", "discovery": true });
    let bearer = token(&json!({ "scp": "chat more" }));
    let said = explain(&config, Some(&bearer), &CHAT);
    assert!(said.out.contains("  signature   UNCHECKED: "), "{}", said.out);
    assert!(said.out.contains("\nreply, if the signature is good\n"), "{}", said.out);
    let keys = Scratch::new("keys.json", &json!({ "keys": [jwk()] }).to_string());
    let with_keys = [&CHAT[..], &["--jwks", keys.path()]].concat();
    let said = explain(&config, Some(&bearer), &with_keys);
    assert!(said.out.contains("  signature   good\n"), "{}", said.out);
    let other = signed(&json!({ "alg": "ES256", "kid": "new" }), &json!({}));
    let said = explain(&config, Some(&other), &with_keys);
    assert!(said.out.contains("  signature   FAILS: key_unknown: "), "{}", said.out);
    let broken = Scratch::new("broken.json", "{}");
    let said = explain(&config, Some(&bearer), &[&CHAT[..], &["--jwks", broken.path()]].concat());
    assert_eq!(said.status, 2);
    assert!(said.err.contains("the file of --jwks: "), "{}", said.err);
}

#[test]
fn the_model_of_the_body_may_be_given() {
    let bearer = token(&json!({ "roles": ["Chat"] }));
    let request = ["--method", "POST", "--path", "/v1/responses", "--host", "a.example.com:443"];
    let with =
        |model: &[&str]| explain(&configuration(), Some(&bearer), &[&request, model].concat());
    let unknown = with(&[]);
    assert_eq!(unknown.status, 0);
    assert!(
        unknown.out.contains("allow[0]  HOLDS, if the body's model is mini\n"),
        "{}",
        unknown.out
    );
    assert!(unknown.out.ends_with("the body's model decides; give it with --model\n"));
    assert!(with(&["--model", "mini"]).out.contains("the request goes on"));
    assert!(with(&["--model", "max"]).out.contains("deployment_forbidden"));
    assert!(with(&["--model", "a b"]).out.contains("model_malformed"));
}

#[test]
fn without_a_route_those_are_told_that_have_the_path() {
    let said = explain(&configuration(), None, &["--method", "GET", "--path", "/chat/mini"]);
    assert_eq!(said.status, 1);
    assert!(
        said.out.contains("none  chat has the path: POST /chat/{deployment}\n"),
        "{}",
        said.out
    );
    let said = explain(&configuration(), None, &["--method", "GET", "--path", "/nothing"]);
    assert!(said.out.contains("none  no route has this path\n"), "{}", said.out);
}

#[test]
fn report_only_lets_a_refused_request_go_on() {
    let mut config = configuration();
    config["report_only"] = true.into();
    let said = explain(&config, None, &CHAT);
    assert_eq!(said.status, 0);
    assert!(
        said.out.contains("reply (but for report_only, by which the request goes on)\n  401\n")
    );
}

#[test]
fn neither_the_token_nor_a_claim_is_printed_unless_asked_for() {
    let bearer = token(&json!({ "scp": "chat more", "team": "value-of-team" }));
    let parts: Vec<&str> = bearer.split('.').collect();
    let said = explain(&configuration(), Some(&bearer), &CHAT);
    let shown = explain(&configuration(), Some(&bearer), &[&CHAT[..], &["--show-claims"]].concat());
    for said in [&said, &shown] {
        let all = format!("{}{}", said.out, said.err);
        assert!(parts.iter().all(|part| !all.contains(part)), "{all}");
    }
    for value in ["value-of-team", "subject-of-the-token", "object-of-the-token"] {
        assert!(!said.out.contains(value) && shown.out.contains(value), "{value}");
    }
}

#[test]
fn a_token_among_the_arguments_is_refused_and_not_repeated() {
    let bearer = token(&json!({}));
    let as_a_query = format!("/chat/mini?access_token={bearer}");
    for arguments in [
        vec![
            "explain",
            "--config",
            "envoy.yaml",
            "--token",
            &bearer,
            "--method",
            "GET",
            "--path",
            "/",
        ],
        vec!["explain", "--config", "envoy.yaml", "--method", "GET", "--path", &as_a_query],
        vec!["explain", &bearer],
    ] {
        let said = keyless(&arguments, "");
        assert_eq!((said.status, said.out.as_str()), (2, ""));
        assert!(said.err.contains("expected no token among the arguments"), "{}", said.err);
        assert!(!said.err.contains(&bearer[..20]), "{}", said.err);
    }
    let mut arguments = vec!["explain", "--config", "envoy.yaml", "--token", "opaque-secret"];
    arguments.extend(CHAT);
    let said = keyless(&arguments, "");
    assert_eq!(said.status, 2);
    assert!(!said.err.contains("opaque-secret"), "{}", said.err);
}

#[test]
fn the_configuration_must_be_one_and_valid() {
    let explain = |file: &str| {
        keyless(&["explain", "--config", file, "--method", "GET", "--path", "/healthz"], "")
    };
    assert_eq!(explain("envoy.yaml").status, 0, "in an Envoy's file, too");
    let both = ["wasmplugin", "trafficextension"]
        .map(|name| std::fs::read_to_string(format!("../istio/{name}.yaml")).unwrap());
    let both = Scratch::new("both.yaml", &both.join("\n---\n"));
    let broken = Scratch::new("broken-configuration.json", "{}");
    for (file, message) in [
        (both.path(), "expected one configuration, found 2: document 1, WasmPlugin"),
        (broken.path(), "expected the key `issuers`, found none"),
        ("nothing.json", "No such file"),
    ] {
        let said = explain(file);
        assert_eq!(said.status, 2);
        assert!(said.err.contains(message), "{}", said.err);
    }
}
