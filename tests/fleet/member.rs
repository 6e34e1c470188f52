//! The gateways of a fleet, in front of one backend, whose records are the books.

use gateway::{Blueprint, Gateway, StartOptions};
use keyless_core::config::Config;
use keyless_core::settle::service_file;
use local_azure::{LocalAzure, Options};
use serde_json::{Value, json};
use testkit::reply::Reply;
use testkit::world::{CHAT, chat_body, client, eventually, shipped};

use crate::pair::Pair;

/// Holds gateways that count together, and all around them.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) azure: LocalAzure,
    pub(crate) pair: Pair,
    pub(crate) gateways: Vec<Gateway>,
    blueprint: Blueprint,
    /// What the limit counts of each answer: one, or its tokens.
    pub(crate) each: u64,
    /// What the backend had received before.
    before: usize,
}

/// Counts requests of each subject, in a window that does not end while a test runs, except for those
/// at midnight on New Year's Eve.
pub(crate) fn requests(most: usize) -> Value {
    json!([{ "name": "user", "per": ["issuer", "subject"], "requests": most, "window": "365d" }])
}

/// Counts tokens of each subject.
pub(crate) fn tokens(most: u64) -> Value {
    json!([{ "name": "user", "per": ["issuer", "subject"], "tokens": most, "window": "365d" }])
}

impl Fleet {
    /// Starts so many gateways with these limits.
    pub(crate) async fn start(count: usize, limits: &Value, ledger: Value) -> Self {
        let azure = LocalAzure::start(Options::default()).await.unwrap();
        let pair = Pair::start(&file_of(limits)).await;
        let blueprint = shipped(&azure).grpc_cluster("fleet", pair.address()).plugin(|plugin| {
            plugin["limits"] = limits.clone();
            plugin["ledger"] = json!({ "cluster": "fleet" });
            plugin["ledger"].as_object_mut().unwrap().extend(ledger.as_object().unwrap().clone());
        });
        let mut gateways = Vec::new();
        for _ in 0..count {
            gateways.push(member(blueprint.clone()).await);
        }
        let mut fleet = Self { azure, pair, gateways, blueprint, each: 1, before: 0 };
        fleet.serves(limits[0]["tokens"].is_u64()).await;
        fleet
    }

    /// Kills a gateway, and starts another in its place.
    pub(crate) async fn replace(&mut self, at: usize) {
        drop(self.gateways.remove(at));
        self.gateways.push(member(self.blueprint.clone()).await);
    }

    /// Returns a caller's token.
    pub(crate) fn token(&self, subject: &str) -> String {
        self.azure.issuer.mint(&self.azure.issuer.claims_with(&json!({ "sub": subject })))
    }

    /// Sends so many requests at once to one gateway, and returns how many it admits.
    pub(crate) async fn admitted(&self, at: usize, token: &str, count: usize) -> usize {
        let (client, url) = (client().build().unwrap(), self.gateways[at].url());
        let request = |_| chat(&client, &url, token);
        let replies = Reply::to_each((0..count).map(request)).await.unwrap();
        let of = |status| replies.iter().filter(|reply| reply.status == status).count();
        assert_eq!(of(200) + of(429), count, "{replies:?}");
        of(200)
    }

    /// Returns how many requests the backend has served.
    pub(crate) fn served(&self) -> u64 {
        (self.azure.openai.received() - self.before) as u64
    }

    /// Returns how many requests a gateway has refused because the service was away.
    pub(crate) async fn refused_without_the_service(&self, at: usize) -> u64 {
        let stats = self.gateways[at].stats().await.unwrap();
        let own = stats.iter().filter(|(name, _)| name.contains("limits_unavailable"));
        own.map(|(_, count)| count).sum()
    }

    /// Returns how many settlements of a gateway ended like this.
    pub(crate) async fn settlements(&self, at: usize, result: &str) -> u64 {
        let stats = self.gateways[at].stats().await.unwrap();
        let name = format!("wasmcustom.keyless_ledger_settlements.result=.={result};.;");
        stats.get(&name).copied().unwrap_or_default()
    }

    /// Waits until the service knows of so many.
    pub(crate) async fn told(&self, sum: u64) {
        let what = format!("the service knows of {sum}");
        eventually(&what, async || (self.pair.sum("user").await == sum).then_some(())).await;
    }

    /// Waits until a gateway was answered once more than before, while a caller asks.
    pub(crate) async fn asked(&self, at: usize, token: &str) {
        let before = self.settlements(at, "ok").await;
        eventually("it has asked", async || {
            self.admitted(at, token, 1).await;
            (self.settlements(at, "ok").await > before).then_some(())
        })
        .await;
    }

    /// Has each gateway fetch what it needs, by a caller whose requests are none of the books.
    async fn serves(&mut self, counts_tokens: bool) {
        let (token, client) = (self.token("the first"), client().build().unwrap());
        for gateway in &self.gateways {
            let reply = Reply::to(chat(&client, &gateway.url(), &token)).await.unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
            if counts_tokens {
                self.each = reply.json()["usage"]["total_tokens"].as_u64().unwrap();
            }
        }
        self.told(self.each * self.gateways.len() as u64).await;
        self.pair.forget().await;
        self.before = self.azure.openai.received();
    }
}

/// Prepares a chat completion.
pub(crate) fn chat(client: &reqwest::Client, url: &str, token: &str) -> reqwest::RequestBuilder {
    client.post(format!("{url}{CHAT}")).json(&chat_body(false)).bearer_auth(token)
}

async fn member(blueprint: Blueprint) -> Gateway {
    Gateway::start(blueprint, StartOptions::default()).await.unwrap_or_else(|e| panic!("{e}"))
}

/// The file of the service, as `keyless limits` makes it from a gateway's configuration.
fn file_of(limits: &Value) -> String {
    let document = json!({
        "issuers": [{
            "issuer": "https://idp.example.com/", "audiences": ["api"],
            "jwks": { "cluster": "idp", "uri": "https://idp.example.com/jwks.json" }
        }],
        "routes": [{ "name": "all", "match": { "methods": ["POST"], "path": "/{*rest}" }, "allow": [{}],
            "usage": "read" }],
        "limits": limits,
    });
    let config = Config::parse(document.to_string().as_bytes()).unwrap();
    service_file("keyless", &config.limits)
}
