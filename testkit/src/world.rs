//! An Azure on this machine, the gateway in front of it, and callers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use gateway::{Blueprint, Gateway, StartOptions};
use local_azure::{Issuer, LocalAzure, Options, Recorded};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::line::Line;
use crate::reply::{Refusal, Reply};

/// The target of a chat completion.
pub const CHAT: &str = "/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-10-21";
/// The target of an embedding.
pub const EMBEDDINGS: &str = "/openai/deployments/ada-3/embeddings?api-version=2024-10-21";
/// The resource that the gateway's identity token is for.
pub const RESOURCE: &str = "https://cognitiveservices.azure.com";

/// How long any request may take until it is answered, whatever is broken.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// Envoy's worker threads, unless a test wants another number; each has a keyless of its own.
pub const WORKERS: usize = 2;

/// Enough new connections that each of that many workers gets some: the kernel spreads them by
/// chance, and misses one worker once in half a million times.
pub const CONNECTIONS: usize = 20;

/// All that the module needs of its host but `proxy_call_foreign_function`, which leads to the
/// host's crypto. Without `proxy_on_request_headers` Envoy would ask the module nothing, and say
/// nothing about it.
pub const WITHOUT_FOREIGN_FUNCTIONS: [&str; 31] = [
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "proc_exit",
    "proxy_continue_stream",
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_http_call",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_done",
    "proxy_on_http_call_response",
    "proxy_on_log",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_tick",
    "proxy_on_vm_start",
    "proxy_record_metric",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_effective_context",
    "proxy_set_property",
    "proxy_set_tick_period_milliseconds",
    "random_get",
];

/// Holds the issuer, IMDS, the backend, and the gateway between them and the callers.
#[derive(Debug)]
pub struct World {
    /// The issuer, IMDS and the backend.
    pub azure: LocalAzure,
    /// Envoy with the module.
    pub gateway: Gateway,
    workers: usize,
    /// Opens a new connection for each request.
    client: Client,
}

impl World {
    /// Starts a world with the configuration that ships.
    pub async fn start() -> Self {
        Self::with(|shipped| shipped).await
    }

    /// Starts a world with a changed configuration.
    pub async fn with(change: impl FnOnce(Blueprint) -> Blueprint) -> Self {
        let azure = LocalAzure::start(Options::default()).await.unwrap();
        let blueprint = change(shipped(&azure));
        Self::on(azure, blueprint).await
    }

    /// Starts a gateway that leads to this Azure.
    pub async fn on(azure: LocalAzure, blueprint: Blueprint) -> Self {
        Self::run(azure, blueprint, StartOptions::default()).await
    }

    /// Starts a gateway that leads to this Azure, and whose Envoy runs like this.
    pub async fn run(azure: LocalAzure, blueprint: Blueprint, options: StartOptions) -> Self {
        let workers = options.workers.try_into().unwrap();
        let gateway = Gateway::start(blueprint, options).await.unwrap_or_else(|e| panic!("{e}"));
        Self { azure, gateway, workers, client: client().build().unwrap() }
    }

    /// Returns the token of a caller that may chat.
    pub fn token(&self) -> String {
        self.azure.issuer.mint(&self.azure.issuer.claims())
    }

    /// Returns a token with other claims; null removes one.
    pub fn token_with(&self, claims: Value) -> String {
        self.azure.issuer.mint(&self.azure.issuer.claims_with(&claims))
    }

    /// Returns a token with another header; null removes a member.
    pub fn token_with_header(&self, header: Value) -> String {
        self.azure.issuer.mint_with_header(&header, &self.azure.issuer.claims())
    }

    /// Prepares a chat completion without a credential.
    pub fn chat(&self) -> RequestBuilder {
        self.post(CHAT, &chat_body(false))
    }

    /// Prepares a chat completion with a token.
    pub fn chat_as(&self, token: &str) -> RequestBuilder {
        self.chat().bearer_auth(token)
    }

    /// Prepares a POST of JSON.
    pub fn post(&self, target: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, target).json(body)
    }

    /// Prepares a request without a credential.
    pub fn request(&self, method: Method, target: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{target}", self.gateway.url()))
    }

    /// Sends a request that must be refused like this, and reach nobody.
    pub async fn refuses(&self, request: RequestBuilder, refusal: Refusal) -> Reply {
        let before = self.azure.openai.requests().len();
        let reply = Reply::to(request).await.unwrap();
        refusal.is(&reply);
        assert_eq!(self.azure.openai.requests().len(), before, "it reached the backend");
        reply
    }

    /// Sends a request of this token that must be admitted, and returns what the backend saw of it:
    /// the gateway's identity, and nothing of the caller's.
    pub async fn admits(&self, token: &str, request: RequestBuilder) -> (Reply, Recorded) {
        let before = self.azure.openai.requests().len();
        let reply = Reply::to(request.bearer_auth(token)).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let mut seen = self.azure.openai.requests();
        assert_eq!(seen.len(), before + 1);
        let seen = seen.pop().unwrap();
        self.assert_swapped(&seen, token);
        (reply, seen)
    }

    /// Fails unless the request carries a token of the gateway's as its only credential.
    #[track_caller]
    pub fn assert_swapped(&self, seen: &Recorded, callers_token: &str) {
        let authorization = values(seen, "authorization");
        let [value] = &authorization[..] else { panic!("{authorization:?}") };
        let token = value.strip_prefix("Bearer ").expect("a bearer token");
        assert!(self.azure.imds.accepts(token, RESOURCE), "{token}");
        assert_no_key(seen);
        assert_absent(seen, callers_token);
    }

    /// Sends a caller's request over enough new connections that each worker serves some.
    pub async fn assert_every_worker_admits(&self) {
        let token = self.token();
        let before = self.connections().await;
        // The more workers there are, the longer a share may stay away from one of them.
        let count = if self.workers <= WORKERS { CONNECTIONS } else { 16 * self.workers };
        let requests = (0..count).map(|_| self.chat_as(&token));
        let replies = Reply::to_each(requests).await.unwrap();
        assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
        let after = self.connections().await;
        assert_eq!(after.len(), self.workers);
        for (worker, connections) in after {
            assert!(Some(&connections) > before.get(&worker), "{worker} served nobody");
        }
    }

    /// Fails if the module has trapped in any worker.
    pub async fn assert_unharmed(&self) {
        let stats = self.gateway.stats().await.unwrap();
        for (name, value) in &stats {
            let harmed = name.contains("vm_reload") && *value > 0;
            assert!(!harmed, "{name} is {value}");
        }
        let log = self.gateway.log();
        for word in ["[critical]", "panicked", "Proxy-Wasm failed"] {
            assert!(!log.contains(word), "{log}");
        }
    }

    /// Opens one connection to each worker.
    pub async fn lines(&self) -> Vec<Line> {
        let mut lines = BTreeMap::new();
        while lines.len() < self.workers {
            let before = self.connections().await;
            let line = Line::open(self.gateway.address()).await;
            let worker = eventually("a worker takes the connection", async || {
                let mut now = self.connections().await.into_iter();
                now.find(|(name, count)| before.get(name) != Some(count))
            });
            lines.entry(worker.await.0).or_insert(line);
        }
        lines.into_values().collect()
    }

    /// Counts the connections that each worker has taken so far.
    pub async fn connections(&self) -> BTreeMap<String, u64> {
        let stats = self.gateway.stats().await.unwrap().into_iter();
        let is_of_worker =
            |name: &str| name.contains(".worker_") && name.ends_with(".downstream_cx_total");
        stats.filter(|(name, _)| is_of_worker(name)).collect()
    }

    /// Counts the requests for the issuer's keys.
    pub fn key_fetches(&self) -> usize {
        let requests = self.azure.issuer.requests();
        requests.iter().filter(|request| request.target.ends_with("/discovery/v2.0/keys")).count()
    }

    /// Counts the requests for the gateway's identity token.
    pub fn identity_fetches(&self) -> usize {
        self.azure.imds.requests().len()
    }
}

/// Leads the shipped configuration to an Azure on this machine, where one backend plays them all.
pub fn shipped(azure: &LocalAzure) -> Blueprint {
    shipped_with_issuer(azure, azure.issuer.address())
}

/// Leads the shipped configuration to an Azure on this machine, and to its issuer by this address.
pub fn shipped_with_issuer(azure: &LocalAzure, issuer: SocketAddr) -> Blueprint {
    Blueprint::shipped()
        .endpoint("entra", issuer)
        .endpoint("imds", azure.imds.address())
        .endpoint("openai_provisioned", azure.openai.address())
        .endpoint("openai_pay_as_you_go", azure.openai.address())
        .endpoint("openai_pay_as_you_go", azure.openai.address())
        .endpoint("openai_single", azure.openai.address())
        .endpoint("on_prem", azure.openai.address())
}

/// Adds a second issuer, `https://idp.example.com/`.
pub fn with_partner(shipped: Blueprint, partner: &Issuer) -> Blueprint {
    let entry = json!({
        "name": "partner",
        "issuer": "https://idp.example.com/",
        "audiences": ["api://openai-gateway"],
        "jwks": { "uri": "https://idp.example.com/jwks.json", "cluster": "partner" },
    });
    let add = |plugin: &mut Value| plugin["issuers"].as_array_mut().unwrap().push(entry);
    shipped.cluster("partner", partner.address()).plugin(add)
}

/// Takes away the id of the VM, as istiod does.
pub fn without_an_id(shipped: Blueprint) -> Blueprint {
    shipped.plugin_config(|config| {
        config["vm_config"].as_mapping_mut().unwrap().remove("vm_id").unwrap();
    })
}

/// Puts a route before those of the shipped configuration.
pub fn shipped_with(route: Value) -> impl FnOnce(Blueprint) -> Blueprint {
    let add = |plugin: &mut Value| plugin["routes"].as_array_mut().unwrap().insert(0, route);
    |shipped: Blueprint| shipped.plugin(add)
}

/// Makes a client that keeps no connection and follows nothing.
pub fn client() -> reqwest::ClientBuilder {
    let client = Client::builder().no_proxy().timeout(ANSWERED_WITHIN);
    client.pool_max_idle_per_host(0).redirect(reqwest::redirect::Policy::none())
}

/// Makes the body of a chat completion.
pub fn chat_body(stream: bool) -> Value {
    let messages = json!([{ "role": "user", "content": "Who holds the key?" }]);
    json!({ "messages": messages, "stream": stream })
}

/// Returns every value of a header that the backend saw.
pub fn values(seen: &Recorded, name: &str) -> Vec<String> {
    let values = seen.header_values(name).into_iter();
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// Fails if the backend was given a key.
#[track_caller]
pub fn assert_no_key(seen: &Recorded) {
    for name in ["api-key", "ocp-apim-subscription-key"] {
        assert_eq!(values(seen, name), [""; 0], "{name}");
    }
}

/// Fails if the signature of the token, or all of another secret, is anywhere in the request.
#[track_caller]
pub fn assert_absent(seen: &Recorded, secret: &str) {
    let secret = secret.rsplit('.').next().unwrap_or(secret);
    let fields = seen.headers.iter().chain(&seen.trailers).map(|(_, value)| value.as_slice());
    for text in fields.chain([seen.target.as_bytes(), &seen.body]) {
        let text = String::from_utf8_lossy(text);
        assert!(!text.contains(secret), "{text}");
    }
}

/// Asks until there is an answer, for 45 seconds at most.
pub async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(45);
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within 45 s: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
