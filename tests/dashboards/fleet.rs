//! Gateways to which everything happens that can be counted.

use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway::Blueprint;
use local_azure::{Fault, Imds, Issuer, LocalAzure, Options};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use testkit::reply::Reply;
use testkit::world::{
    CHAT, EMBEDDINGS, WITHOUT_FOREIGN_FUNCTIONS, World, chat_body, shipped, with_partner,
};
use tokio::time::{Instant, sleep};

/// A stream that is not asked what it used, for its `api-version` knows no `stream_options`.
const SILENT: &str = "/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-06-01";
/// One more than `ledger.entries` may be at least, so that a counter is forgotten; a page of the
/// ledger is full before all are.
const COUNTERS: usize = 1500;

/// Holds three gateways, which begin with all that they lead to, and end with it.
pub(crate) struct Fleet {
    /// The one with callers; its module traps on demand.
    busy: World,
    /// One whose workers could not start the module, so that its guard refuses everybody.
    unguarded: World,
    /// One whose Envoy may not verify signatures for the module.
    restricted: World,
    partner: Issuer,
    _batch: Imds,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let options =
            || Options { issuer: "https://idp.example.com/".into(), ..Options::default() };
        let partner = Issuer::start(&options()).await.unwrap();
        let mut keys = partner.key_set();
        keys["keys"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB" }));
        let content_type = "application/json".to_owned();
        partner.fault(Fault::Body { status: 200, content_type, body: keys.to_string().into() });
        let batch = Imds::start(&Options::default()).await.unwrap();
        // Refreshed all the time, for it has less than five minutes left.
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 230;
        let short = json!({ "expires_in": "230", "expires_on": end.to_string() });
        batch.fault(Fault::Changed(short.as_object().unwrap().clone()));
        let azure = LocalAzure::start(Options::default()).await.unwrap();
        azure.openai.set_chunk_delay(Duration::from_millis(20));
        let busy = busy(shipped(&azure), &partner, &batch);
        Self {
            busy: World::on(azure, busy).await,
            unguarded: World::with(without_workers).await,
            restricted: restricted().await,
            partner,
            _batch: batch,
        }
    }

    /// Returns where the administration interfaces listen.
    pub(crate) fn targets(&self) -> Vec<String> {
        let worlds = [&self.busy, &self.unguarded, &self.restricted];
        worlds.map(|world| world.gateway.admin_url().replace("http://", "")).into()
    }

    /// Has callers of all kinds call for so long.
    pub(crate) async fn live(&self, time: Duration) {
        let end = Instant::now() + time;
        let (token, partner) = (self.busy.token(), self.partner.mint(&self.partner.claims()));
        for round in 0_usize.. {
            if Instant::now() >= end {
                break;
            }
            for request in self.requests(&token, &partner, round) {
                // A refusal, too, is an answer.
                _ = Reply::to(request).await.unwrap();
            }
            for _ in 0..3 {
                self.leave_early(&token).await;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Breaks what can break, with callers meanwhile.
    pub(crate) async fn suffer(&self) {
        let token = self.busy.token();
        let usage = json!({
            "prompt_tokens": 900, "completion_tokens": 200, "total_tokens": 1100,
            "prompt_tokens_details": { "cached_tokens": 600 },
            "completion_tokens_details": { "reasoning_tokens": 120 },
        });
        let thinking = json!({ "usage": usage });
        self.busy.azure.openai.fault(Fault::Changed(thinking.as_object().unwrap().clone()));
        self.answer((0..5).map(|_| self.busy.chat_as(&token))).await;
        self.busy.azure.openai.heal();
        let embeddings = self.embeddings();
        for number in 0..COUNTERS {
            let target = EMBEDDINGS.replace("ada-3", &format!("d{number}"));
            let request = self.busy.post(&target, &json!({ "input": "a" }));
            _ = Reply::to(request.bearer_auth(&embeddings)).await.unwrap();
        }
        self.busy.azure.openai.fault(Fault::Status(401));
        // Near the end of a limit, and then on for a while.
        let research = self.busy.token_with(json!({ "department": "research" }));
        self.answer((0..82).map(|_| self.busy.chat_as(&research))).await;
        // A counter begins with its first event; only what comes after a scrape is an increase.
        let gone = self.busy.token_with(json!({ "iss": "https://gone.example.com/" }));
        for _ in 0..2 {
            self.answer((0..30).map(|_| self.busy.chat_as(&gone))).await;
            self.answer((0..3).map(|_| self.busy.chat_as(&token))).await;
            self.answer((0..6).map(|_| self.busy.chat_as(&research))).await;
            self.live(Duration::from_secs(2)).await;
        }
        self.busy.azure.openai.heal();
        self.partner.stop().await;
        self.answer([self.busy.chat().header("x-keyless-trap", "1")]).await;
        self.answer((0..8).map(|_| self.unguarded.chat_as(&token))).await;
    }

    /// Ends all gateways.
    pub(crate) async fn stop(mut self) {
        for world in [&mut self.busy, &mut self.unguarded, &mut self.restricted] {
            world.gateway.stop().await.unwrap();
        }
    }

    /// One request of each kind, some of them not in each round.
    fn requests(&self, token: &str, partner: &str, round: usize) -> Vec<RequestBuilder> {
        let world = &self.busy;
        let chat = |target: &str, is_streamed: bool| {
            world.post(target, &chat_body(is_streamed)).bearer_auth(token)
        };
        let embeddings = self.embeddings();
        let mut requests = vec![
            chat(CHAT, false),
            chat(CHAT, true),
            chat(SILENT, true),
            world.chat_as(partner),
            world.post(EMBEDDINGS, &json!({ "input": "a" })).bearer_auth(embeddings),
            self.restricted.chat_as(&self.restricted.token()),
        ];
        let strange = [
            world.chat(),
            world.chat_as("not.a.token"),
            world.chat_as(&world.token_with(json!({ "scp": "other" }))),
            world.chat_as(&world.token_with(json!({ "aud": "another" }))),
            world.request(Method::GET, "/nowhere").bearer_auth(token),
            world.request(Method::POST, "/batch").bearer_auth(token),
            world.chat_as(&world.token_with(json!({ "iss": "https://gone.example.com/" }))),
        ];
        let now = strange.into_iter().enumerate().filter(|(at, _)| (round + at).is_multiple_of(3));
        requests.extend(now.map(|(_, request)| request));
        requests
    }

    fn embeddings(&self) -> String {
        self.busy.token_with(json!({ "scp": "openai.embeddings" }))
    }

    /// Begins a stream and leaves after its first piece.
    async fn leave_early(&self, token: &str) {
        let request = self.busy.post(CHAT, &chat_body(true)).bearer_auth(token);
        let mut response = request.send().await.unwrap();
        _ = response.chunk().await;
    }

    async fn answer(&self, requests: impl IntoIterator<Item = RequestBuilder>) {
        _ = Reply::to_each(requests).await.unwrap();
    }
}

/// The shipped configuration, with whatever it lacks of what the dashboard shows.
fn busy(shipped: Blueprint, partner: &Issuer, batch: &Imds) -> Blueprint {
    let gone = json!({
        "name": "gone", "issuer": "https://gone.example.com/", "audiences": ["api://openai-gateway"],
        "jwks": { "uri": "https://gone.example.com/keys", "cluster": "gone" },
    });
    let edit = |plugin: &mut Value| {
        // As if nothing had been refreshed for three quarters of `max_age`, soon after the partner is gone.
        plugin["issuers"][1]["jwks"]["refresh"] = json!("2s");
        plugin["issuers"][1]["jwks"]["max_age"] = json!("20s");
        plugin["issuers"].as_array_mut().unwrap().push(gone);
        plugin["identities"]["batch"] =
            json!({ "resource": testkit::world::RESOURCE, "imds": { "cluster": "batch" } });
        let route = json!({ "name": "batch", "match": { "methods": ["POST"], "path": "/batch" }, "allow": [{}], "identity": "batch" });
        plugin["routes"].as_array_mut().unwrap().push(route);
        let price = json!({ "input": "2.50", "cached_input": "1.25", "output": "10.00" });
        plugin["prices"] = json!({ "gpt-4o-mini": price });
        plugin["limits"] = json!([
            { "name": "partner", "requests": 5, "window": "365d", "when": { "issuer": "partner" } },
            { "name": "team", "per": ["issuer"], "tokens": 100, "window": "365d", "report_only": true },
            { "name": "research", "requests": 100, "window": "365d", "when": { "claims": { "department": ["research"] } } },
            { "name": "each", "per": ["deployment"], "requests": 1_000_000, "window": "365d" },
        ]);
        // No service of a fleet answers there.
        plugin["ledger"] = json!({ "entries": 1024, "cluster": "gone" });
    };
    with_partner(shipped, partner)
        .cluster("gone", closed())
        .cluster("batch", batch.address())
        .plugin(edit)
        .running(chaos())
}

fn chaos() -> PathBuf {
    env::var_os("KEYLESS_CHAOS_WASM").expect("run through make, it builds the module").into()
}

/// An address where nobody listens.
fn closed() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Runs a module that the canary and the main thread can start, and no worker.
fn without_workers(shipped: Blueprint) -> Blueprint {
    shipped.running(chaos()).plugin_config(|config| {
        config["vm_config"]["environment_variables"]["key_values"]["KEYLESS_NO_WORKERS"] =
            "1".into();
    })
}

/// Starts a gateway whose module may not have Envoy verify signatures.
async fn restricted() -> World {
    World::with(|shipped| shipped.capabilities(&WITHOUT_FOREIGN_FUNCTIONS)).await
}
