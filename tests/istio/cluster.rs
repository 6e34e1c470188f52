//! A cluster with Istio, the world outside of it, and callers.

mod certificates;
mod fronts;
mod gateway;
mod kubernetes;
mod mesh;
mod program;
mod registry;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use local_azure::{LocalAzure, OpenAi, Options, Recorded};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, RESOURCE, assert_absent, assert_no_key, chat_body, values};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

pub(crate) use certificates::Authority;
pub(crate) use fronts::Fronts;
pub(crate) use gateway::Pod;
pub(crate) use kubernetes::{Kubernetes, NAMESPACE, SYSTEM, documents};
pub(crate) use mesh::Mesh;
pub(crate) use program::{Program, output};
pub(crate) use registry::{PULLER, Registry};

/// The name by which callers find the gateway.
pub(crate) const GATEWAY: &str = "openai-gateway.example.com";

/// The files that are applied, in the order of `istio/README.md`.
pub(crate) const FILES: [&str; 5] =
    ["guard.yaml", "outside.yaml", "trafficextension.yaml", "gateway.yaml", "telemetry.yaml"];

/// Holds all programs and stand-ins; they end with the process.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The issuer, IMDS, and the provisioned deployment.
    pub(crate) azure: LocalAzure,
    /// The pay-as-you-go deployment with two thirds of that tier.
    pub(crate) sweden: OpenAi,
    /// The other one.
    pub(crate) france: OpenAi,
    /// The model server of one's own.
    pub(crate) models: OpenAi,
    /// What stands before them, with their certificates.
    pub(crate) fronts: Fronts,
    /// The API server.
    pub(crate) kubernetes: Kubernetes,
    /// istiod.
    pub(crate) mesh: Mesh,
    /// Images.
    pub(crate) registry: Registry,
    /// The gateway's pod.
    pub(crate) pod: Pod,
}

/// Runs a test on the cluster, with everything as shipped.
pub(crate) fn test(case: impl AsyncFnOnce(&Cluster)) {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static CHANGED: AtomicBool = AtomicBool::new(false);
    let runtime = RUNTIME.get_or_init(|| Runtime::new().unwrap());
    let cluster = CLUSTER.get_or_init(|| runtime.block_on(Cluster::start()));
    runtime.block_on(async {
        if CHANGED.swap(true, Ordering::Relaxed) {
            cluster.restore().await;
        }
        case(cluster).await;
    });
}

impl Cluster {
    async fn start() -> Self {
        let options = Options::default();
        let azure = LocalAzure::start(options.clone()).await.unwrap();
        let more = async || OpenAi::start(&options, azure.imds.clone()).await.unwrap();
        let (sweden, france, models) = (more().await, more().await, more().await);
        let authority = Authority::start();
        let fronts = Fronts::start(&authority, &azure, [&sweden, &france, &models]).await;
        let registry = Registry::start(&authority).await;
        let kubernetes = Kubernetes::start(&authority).await;
        let mesh = Mesh::start(&kubernetes).await;
        registry.push(&module(), "0.1.0");
        let pair = authority.files("gateway", &[GATEWAY]);
        kubernetes.kubectl(&[
            "create",
            "secret",
            "tls",
            "openai-gateway-tls",
            "-n",
            NAMESPACE,
            "--cert",
            &pair.0,
            "--key",
            &pair.1,
        ]);
        for file in FILES {
            kubernetes.apply_file(file);
        }
        let pod = Pod::start(&kubernetes, &authority).await;
        let cluster =
            Self { azure, sweden, france, models, fronts, kubernetes, mesh, registry, pod };
        cluster.admits_in_time("the gateway serves").await;
        cluster
    }

    /// Takes away what another test has left: faults, resources, changes.
    async fn restore(&self) {
        for backend in self.backends() {
            backend.heal();
        }
        self.azure.issuer.heal();
        self.azure.imds.heal();
        self.fronts.restore();
        self.kubernetes.restore();
        self.admits_in_time("everything is as shipped again").await;
        // Whatever was ejected comes back.
        self.until("the provisioned deployment is asked first", async || {
            let before = self.azure.openai.requests().len();
            self.chat().await.status == 200 && self.azure.openai.requests().len() == before + 1
        })
        .await;
    }

    /// The three Azure OpenAI deployments, and the model server of one's own.
    pub(crate) fn backends(&self) -> [&OpenAi; 4] {
        [&self.azure.openai, &self.sweden, &self.france, &self.models]
    }

    /// Counts what any of them has received.
    pub(crate) fn received(&self) -> usize {
        self.backends().iter().map(|backend| backend.requests().len()).sum()
    }

    /// Returns the token of a caller that may chat.
    pub(crate) fn token(&self) -> String {
        self.azure.issuer.mint(&self.azure.issuer.claims())
    }

    /// Prepares a request over a new connection with TLS.
    pub(crate) fn request(&self, method: Method, target: &str) -> RequestBuilder {
        self.pod.request(method, target)
    }

    /// Prepares a chat completion without a credential.
    pub(crate) fn chat_request(&self) -> RequestBuilder {
        self.request(Method::POST, CHAT).json(&chat_body(false))
    }

    /// Sends a chat completion of a caller that may.
    pub(crate) async fn chat(&self) -> Reply {
        let reply = Reply::to(self.chat_request().bearer_auth(self.token())).await;
        reply.unwrap_or(Reply { status: 0, headers: http::HeaderMap::new(), body: Vec::new() })
    }

    /// Sends a request of this token that must be admitted, and returns what the provisioned
    /// deployment saw of it.
    pub(crate) async fn admits(&self, token: &str, request: RequestBuilder) -> (Reply, Recorded) {
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
    pub(crate) fn assert_swapped(&self, seen: &Recorded, callers_token: &str) {
        let authorization = values(seen, "authorization");
        let [value] = &authorization[..] else { panic!("{authorization:?}") };
        let token = value.strip_prefix("Bearer ").expect("a bearer token");
        assert!(self.azure.imds.accepts(token, RESOURCE), "{token}");
        assert_no_key(seen);
        assert_absent(seen, callers_token);
    }

    /// Fails unless keyless refuses the request like this, and nobody receives it.
    pub(crate) async fn refuses(&self, request: RequestBuilder, refusal: Refusal) -> Reply {
        let before = self.received();
        let reply = Reply::to(request).await.unwrap();
        refusal.is(&reply);
        assert_eq!(self.received(), before, "it reached a backend");
        reply
    }

    /// Waits until each of twenty callers in a row is served.
    pub(crate) async fn admits_in_time(&self, what: &str) {
        self.until(what, async || {
            for _ in 0..20 {
                if self.chat().await.status != 200 {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Waits until callers get this status, then sends twenty more, which must get it too and reach
    /// nobody.
    pub(crate) async fn refuses_everybody(&self, status: u16, what: &str) {
        self.until(what, async || self.chat().await.status == status).await;
        // The other worker may learn of it a moment later.
        sleep(Duration::from_secs(1)).await;
        let before = self.received();
        for _ in 0..10 {
            for reply in [self.chat().await, Reply::to(self.chat_request()).await.unwrap()] {
                assert_eq!(reply.status, status, "{what}: {reply:?}");
            }
        }
        assert_eq!(self.received(), before, "{what}: it reached a backend");
    }

    /// Asks until the answer is yes, for a minute at most.
    pub(crate) async fn until(&self, what: &str, ask: impl AsyncFn() -> bool) {
        until(what, ask).await;
    }

    /// Returns the plugin as it ships, with an edited configuration of keyless's.
    pub(crate) fn plugin(&self, edit: impl FnOnce(&mut Value)) -> Value {
        let mut plugin = documents(&shipped("trafficextension.yaml")).remove(0);
        edit(&mut plugin["spec"]["wasm"]);
        plugin
    }
}

/// Asks until the answer is yes, for a minute at most.
pub(crate) async fn until(what: &str, ask: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !ask().await {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Returns the text of a file of `istio/`.
pub(crate) fn shipped(name: &str) -> String {
    std::fs::read_to_string(root().join("istio").join(name)).unwrap()
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where the programs were built, and a run's files lie.
pub(crate) fn folder() -> PathBuf {
    root().join(".istio")
}

/// The module, as `make wasm` builds it.
pub(crate) fn module() -> PathBuf {
    std::env::var_os("KEYLESS_WASM").expect("KEYLESS_WASM names the module").into()
}
