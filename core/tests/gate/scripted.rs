//! The script of a scenario: a gate, the time, and what the outside world answers.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyless_core::config::Config;
use keyless_core::fetch::{InMemorySharedData, SharedData};
use keyless_core::gate::{Decided, Decision, Fetch, Gate, StreamId, Wake};
use keyless_core::http::{Answer, Call, FetchError};
use keyless_core::identity::IdentityIndex;
use keyless_core::jwt::IssuerIndex;
use keyless_core::request::Head;
use keyless_core::signature::{Algorithm, Crypto, PublicKey, Sandbox};
use rsa::pkcs1v15::SigningKey;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) const ISSUER: &str = "https://idp.example.com/";
pub(crate) const PARTNER: &str = "https://partner.example/";
pub(crate) const KEYS: Fetch = Fetch::Keys(IssuerIndex(0));
pub(crate) const IDENTITY: Fetch = Fetch::Identity(IdentityIndex(0));

const START: u64 = 1_700_000_000;

pub(crate) struct Script {
    pub(crate) gate: Gate,
    pub(crate) now: SystemTime,
    pub(crate) last_stream: StreamId,
    verifications: Rc<Cell<usize>>,
}

/// The sandbox, and how often it was asked.
struct Counting(Rc<Cell<usize>>);

/// A request that a scenario changes before it is sent.
#[derive(Clone)]
pub(crate) struct Request(Vec<(String, Vec<u8>)>);

impl Script {
    pub(crate) fn new() -> Self {
        Self::of(json!({}))
    }

    pub(crate) fn with_partner() -> Self {
        Self::of(json!({"issuers": [issuer(ISSUER, "idp"), issuer(PARTNER, "partner")]}))
    }

    /// A gate whose configuration has some of its top-level members replaced.
    pub(crate) fn of(changes: Value) -> Self {
        Self::on(&InMemorySharedData::new(false), changes)
    }

    /// One of several threads, with a gate like that.
    pub(crate) fn on(shared: &InMemorySharedData, changes: Value) -> Self {
        let mut document = document();
        document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let config = Config::parse(document.to_string().as_bytes()).unwrap();
        let verifications = Rc::default();
        let crypto = Box::new(Counting(Rc::clone(&verifications)));
        let shared: Rc<dyn SharedData> = Rc::new(shared.clone());
        let gate = Gate::new(config, crypto, environment, &shared);
        Self { gate, now: start(), last_stream: 0, verifications }
    }

    /// How many signatures were verified.
    pub(crate) fn verifications(&self) -> usize {
        self.verifications.get()
    }

    /// A good request.
    pub(crate) fn chat(&self) -> Request {
        self.chat_by("k1", json!({}))
    }

    pub(crate) fn chat_with(&self, claims: Value) -> Request {
        self.chat_by("k1", claims)
    }

    pub(crate) fn chat_signed_by(&self, kid: &str) -> Request {
        self.chat_by(kid, json!({}))
    }

    /// A request whose token is signed by the key `kid` and has some claims replaced.
    pub(crate) fn chat_by(&self, kid: &str, changes: Value) -> Request {
        Request::chat(&sign(Some(kid), kid, &self.claims(changes)))
    }

    /// Good claims, some of them replaced; `null` leaves one out.
    pub(crate) fn claims(&self, changes: Value) -> Value {
        let mut claims = json!({
            "iss": ISSUER, "aud": "openai-gateway", "exp": self.unix() + 86_400 * 7,
            "scp": "openai.chat", "sub": "alice", "oid": "alice-id"
        });
        let members = claims.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        members.retain(|_, value| !value.is_null());
        claims
    }

    pub(crate) fn ask(&mut self, request: Request) -> Option<Decided> {
        self.last_stream += 1;
        unless_it_waits(self.gate.admit(self.last_stream, Head::new(request.0), self.now))
    }

    pub(crate) fn ask_without_body(&mut self, request: Request) -> Option<Decided> {
        self.last_stream += 1;
        let head = Head::new(request.0).without_body();
        unless_it_waits(self.gate.admit(self.last_stream, head, self.now))
    }

    /// What `explain` says of a request, or nothing if that would wait.
    pub(crate) fn explain(&mut self, request: Request) -> Option<Decided> {
        let (decided, _) = self.gate.explain(Head::new(request.0), None, self.now);
        unless_it_waits(decided)
    }

    pub(crate) fn calls(&mut self) -> Vec<(Fetch, Call)> {
        self.gate.calls(self.now)
    }

    pub(crate) fn released(&mut self) -> Vec<(StreamId, Decided)> {
        self.gate.released(self.now)
    }

    pub(crate) fn wake_at(&self) -> Option<SystemTime> {
        match self.gate.wake_at() {
            Wake::At(time) => Some(time),
            Wake::Never => None,
            Wake::Now => Some(self.now),
        }
    }

    pub(crate) fn answer(&mut self, fetch: Fetch, body: &[u8]) {
        let answer = arrived(200, body);
        self.answer_with(fetch, &answer).expect("a good answer");
    }

    pub(crate) fn answer_with(&mut self, fetch: Fetch, answer: &Answer) -> Result<(), FetchError> {
        self.gate.answered(fetch, answer, self.now).unwrap().result
    }

    /// Has the first of two calls answered, which ends no fetch.
    pub(crate) fn discover(&mut self, fetch: Fetch, document: &Value) {
        let answer = arrived(200, document.to_string().as_bytes());
        assert_eq!(self.gate.answered(fetch, &answer, self.now), None);
    }

    /// Does what a host does again and again, with these answers; `None` is a call never answered.
    pub(crate) fn drive(
        &mut self,
        answer: impl Fn(&Self, Fetch) -> Option<Answer>,
    ) -> Vec<Decided> {
        for fetch in self.gate.lost(self.now) {
            self.answer_with(fetch, &Answer::Lost).expect_err("a failure");
        }
        for (fetch, _) in self.calls() {
            if let Some(answer) = answer(self, fetch) {
                _ = self.gate.answered(fetch, &answer, self.now);
            }
        }
        self.released().into_iter().map(|(_, decided)| decided).collect()
    }

    /// Sends what is due and has all of it answered well.
    pub(crate) fn answer_all(&mut self) {
        for (fetch, _) in self.calls() {
            self.answer_with(fetch, &self.good_answer(fetch)).expect("a good answer");
        }
    }

    /// Sends what is due and has all of it fail.
    pub(crate) fn fail_all(&mut self) {
        for (fetch, _) in self.calls() {
            self.fail(fetch);
        }
    }

    pub(crate) fn fail(&mut self, fetch: Fetch) {
        let answer = arrived(503, b"");
        self.answer_with(fetch, &answer).expect_err("a failure");
    }

    /// Has the keys that are due arrive, and nothing else.
    pub(crate) fn settle_keys(&mut self) {
        for (fetch, _) in self.calls() {
            match fetch {
                Fetch::Keys(_) => self.answer(fetch, &jwks(&["k1"])),
                Fetch::Identity(_) => self.fail(fetch),
            }
        }
    }

    pub(crate) fn token_answer(&self, token: &str, lifetime: u64) -> Vec<u8> {
        let expires_on = (self.unix() + lifetime).to_string();
        json!({"access_token": token, "expires_on": expires_on, "token_type": "Bearer"})
            .to_string()
            .into_bytes()
    }

    /// What a world in order answers.
    pub(crate) fn good_answer(&self, fetch: Fetch) -> Answer {
        let body = match fetch {
            Fetch::Keys(_) => jwks(&["k1"]),
            Fetch::Identity(_) => self.token_answer("managed", 86_400),
        };
        arrived(200, &body)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(crate) fn pass_to(&mut self, time: SystemTime) {
        self.now = time;
    }

    pub(crate) fn unix(&self) -> u64 {
        self.now.duration_since(UNIX_EPOCH).unwrap().as_secs()
    }
}

impl Crypto for Counting {
    fn verify(&self, algorithm: Algorithm, key: &PublicKey, message: &[u8], by: &[u8]) -> bool {
        self.0.set(self.0.get() + 1);
        Sandbox.verify(algorithm, key, message, by)
    }
}

impl Request {
    /// A request with this token.
    pub(crate) fn chat(token: &str) -> Self {
        let target = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
        Self::empty()
            .with(":method", "POST")
            .with(":authority", "gateway.example.com")
            .with(":path", target)
            .with("authorization", &format!("Bearer {token}"))
    }

    /// Its headers, pseudo-headers included.
    pub(crate) fn pairs(&self) -> &[(String, Vec<u8>)] {
        &self.0
    }

    pub(crate) fn empty() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        self.with_bytes(name, value.as_bytes())
    }

    pub(crate) fn with_bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.0.push((name.to_owned(), value.to_vec()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(other, _)| other != name);
        self
    }

    pub(crate) fn to(self, method: &str, target: &str) -> Self {
        self.without(":method").without(":path").with(":method", method).with(":path", target)
    }

    /// The token that the request carries.
    pub(crate) fn token(&self) -> String {
        let (_, value) = self.0.iter().find(|(name, _)| name == "authorization").unwrap();
        String::from_utf8_lossy(value).trim_start_matches("Bearer ").to_owned()
    }
}

/// An answer that does not ask for a wait.
pub(crate) fn arrived(status: u16, body: &[u8]) -> Answer {
    Answer::Arrived { status, retry_after: None, body: body.to_vec() }
}

/// The environment of every script.
fn environment(name: &str) -> Option<String> {
    (name == "PARTNER_SECRET").then(|| "hunter2".to_owned())
}

pub(crate) fn reason(decided: &Decided) -> &'static str {
    decided.record.reason
}

/// What was decided, if anything was.
fn unless_it_waits(decided: Decided) -> Option<Decided> {
    (!matches!(decided.decision, Decision::Wait(_))).then_some(decided)
}

/// The status of a refusal.
pub(crate) fn status(decided: &Decided) -> u16 {
    match &decided.decision {
        Decision::Deny(reply) => reply.status,
        Decision::Forward(_) | Decision::Respond(_) | Decision::Wait(_) => panic!("not refused"),
    }
}

/// A header that the gate sets on an admitted request.
pub(crate) fn header<'a>(decided: &'a Decided, name: &str) -> Option<&'a str> {
    let Decision::Forward(forward) = &decided.decision else { panic!("refused: {decided:?}") };
    let found = forward.set.iter().find(|(key, _)| key.as_str() == name);
    found.map(|(_, value)| value.expose())
}

pub(crate) fn is_admitted(decided: &Decided) -> bool {
    matches!(decided.decision, Decision::Forward(_))
}

/// The document that publishes these keys, each under its own name.
pub(crate) fn jwks(kids: &[&str]) -> Vec<u8> {
    key_set(kids.iter().map(|kid| jwk(kid, kid)).collect())
}

pub(crate) fn key_set(keys: Vec<Value>) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// A key as its issuer publishes it, under a name of its own or another.
pub(crate) fn jwk(kid: &str, of: &str) -> Value {
    let public = key(of).to_public_key();
    let number =
        |number: &rsa::BoxedUint| URL_SAFE_NO_PAD.encode(number.to_be_bytes_trimmed_vartime());
    json!({
        "kty": "RSA", "use": "sig", "kid": kid, "n": number(public.n()), "e": number(public.e())
    })
}

/// A token with these claims, signed by that key; it names `kid`, if there is one.
pub(crate) fn sign(kid: Option<&str>, by: &str, claims: &Value) -> String {
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(kid) = kid {
        header["kid"] = json!(kid);
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature = SigningKey::<Sha256>::new(key(by).clone()).sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// When every scenario begins.
pub(crate) fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START)
}

/// `k1`, `k2` and `k3` are a key each, every other name a fourth.
fn key(name: &str) -> &'static rsa::PrivateKey {
    static KEYS: [OnceLock<rsa::PrivateKey>; 4] = [const { OnceLock::new() }; 4];
    let make = || rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap();
    let place = ["k1", "k2", "k3"].iter().position(|known| *known == name);
    KEYS[place.unwrap_or(3)].get_or_init(make)
}

pub(crate) fn issuer(iss: &str, cluster: &str) -> Value {
    json!({
        "issuer": iss, "audiences": ["openai-gateway"],
        "jwks": {"uri": "https://idp.example.com/jwks.json", "cluster": cluster}
    })
}

pub(crate) fn document() -> Value {
    json!({
        "issuers": [issuer(ISSUER, "idp")],
        "identities": {"openai": {
            "resource": "https://cognitiveservices.azure.com", "imds": {"cluster": "imds"}
        }},
        "routes": [
            {
                "name": "chat",
                "match": {
                    "methods": ["POST"],
                    "path": "/openai/deployments/{deployment}/chat/completions"
                },
                "allow": [{"scopes": ["openai.chat"]}],
                "identity": "openai",
                "forward_claims": {"x-caller-id": "oid"}
            },
            {"name": "plain", "match": {"methods": ["GET"], "path": "/plain"}, "allow": [{}]},
            {
                "name": "admin",
                "match": {"methods": ["GET"], "path": "/admin"},
                "allow": [{"scopes": ["admin"]}]
            },
            {"name": "health", "match": {"methods": ["GET"], "path": "/healthz"}, "public": true}
        ]
    })
}
