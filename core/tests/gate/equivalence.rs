//! Memory saves work and changes nothing: a gate that remembers rules like one that does not.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use keyless_core::gate::{Decided, Record};
use keyless_core::http::Answer;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use crate::scripted::{KEYS, Request, Script, is_admitted, jwk, key_set, reason, sign, start};

#[derive(Clone, Debug)]
enum Step {
    Ask(Index),
    Pass(Duration),
    /// The issuer publishes those of its keys whose bit is set.
    Publish(u8),
    /// The issuer answers or does not.
    Up(bool),
}

/// A gate with a memory, and what it must have been told.
struct Remembering {
    script: Script,
    published: u8,
    is_up: bool,
    held: Option<(u8, SystemTime)>,
}

/// The names and the keys that an issuer may publish.
const KEY_NAMES: [(&str, &str); 5] =
    [("k1", "k1"), ("k2", "k2"), ("k3", "k3"), ("alias", "k1"), ("k2", "k3")];

fn script() -> Script {
    let issuer = json!({
        "issuer": crate::scripted::ISSUER, "audiences": ["openai-gateway"],
        "jwks": {"cluster": "idp", "uri": "https://idp.example.com/k", "max_age": "2h"}
    });
    let route = json!({
        "name": "chat", "match": {"methods": ["POST"], "path": "/{*any}"},
        "allow": [{"scopes": ["openai.chat"]}], "forward_claims": {"x-caller-id": "oid"}
    });
    Script::of(json!({
        "issuers": [issuer], "identities": {}, "routes": [route], "token_cache": {"max_entries": 6}
    }))
}

fn keys(published: u8) -> Vec<u8> {
    let names = KEY_NAMES.iter().enumerate();
    let names = names.filter(|(at, _)| published & (1 << at) != 0);
    key_set(names.map(|(_, (kid, of))| jwk(kid, of)).collect())
}

/// A token of each kind, made once: good and bad, short and long.
fn requests() -> &'static [Request] {
    static REQUESTS: OnceLock<Vec<Request>> = OnceLock::new();
    REQUESTS.get_or_init(|| {
        let script = script();
        let in_minutes = |minutes: u64| script.unix() + minutes * 60;
        let kinds = [
            (Some("k1"), "k1", json!({})),
            (Some("k2"), "k2", json!({})),
            (Some("k3"), "k3", json!({})),
            (Some("alias"), "k1", json!({})),
            (None, "k1", json!({})),
            (None, "k3", json!({})),
            (Some("k2"), "k3", json!({})),
            (Some("k1"), "k1", json!({"exp": in_minutes(10)})),
            (Some("k1"), "k1", json!({"exp": in_minutes(90)})),
            (Some("k2"), "k2", json!({"exp": in_minutes(150), "nbf": in_minutes(0)})),
            (Some("k1"), "k1", json!({"nbf": in_minutes(60)})),
            (Some("k1"), "k1", json!({"scp": "other"})),
            (Some("k1"), "k1", json!({"aud": "other"})),
            (Some("k1"), "k1", json!({"iss": "https://evil.example/"})),
        ];
        let sign = |(kid, by, changes)| Request::chat(&sign(kid, by, &script.claims(changes)));
        kinds.into_iter().map(sign).collect()
    })
}

impl Remembering {
    fn new() -> Self {
        Self { script: script(), published: 0b111, is_up: true, held: None }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Ask(at) => {
                let request = at.get(requests());
                let decided = self.script.ask(request.clone());
                self.script.gate.forget(self.script.last_stream);
                assert_eq!(summary(decided.as_ref()), self.without_memory(request));
            }
            Step::Pass(time) => self.script.pass(*time),
            Step::Publish(published) => self.published = *published,
            Step::Up(is_up) => self.is_up = *is_up,
        }
        for _ in self.script.calls() {
            if self.is_up {
                self.script.answer(KEYS, &keys(self.published));
                self.held = Some((self.published, self.script.now));
            } else {
                self.script.answer_with(KEYS, &Answer::Broken).unwrap_err();
            }
        }
    }

    /// The decided of a gate that was told the same keys at the same time and nothing else.
    fn without_memory(&self, request: &Request) -> Option<(bool, Record)> {
        let mut fresh = script();
        if let Some((published, at)) = self.held {
            fresh.pass_to(at);
            assert!(fresh.ask(requests()[0].clone()).is_none());
            fresh.gate.forget(fresh.last_stream);
            assert_eq!(fresh.calls().len(), 1);
            fresh.answer(KEYS, &keys(published));
        }
        fresh.pass_to(self.script.now);
        summary(fresh.ask(request.clone()).as_ref())
    }
}

/// What there is to compare; whether a request waits for a key depends on when others did.
fn summary(decided: Option<&Decided>) -> Option<(bool, Record)> {
    let late = ["key_unknown", "keys_unavailable", "signature_invalid"];
    let decided = decided.filter(|it| !late.contains(&reason(it)));
    decided.map(|decided| (is_admitted(decided), decided.record.clone()))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = || any::<Index>().prop_map(Step::Ask);
    let spans = [1, 59, 600, 3600].map(Duration::from_secs);
    let step = prop_oneof![
        6 => ask(),
        2 => proptest::sample::select(spans.to_vec()).prop_map(Step::Pass),
        1 => (1_u8..32).prop_map(Step::Publish),
        1 => any::<bool>().prop_map(Step::Up),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_gate_that_remembers_rules_like_one_that_does_not(steps in steps()) {
        let mut gate = Remembering::new();
        assert_eq!(gate.script.now, start());
        for step in &steps {
            gate.take(step);
        }
    }
}
