//! What operators do while callers are being served: no request fails of it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::reply::Reply;
use testkit::world::{CHAT, chat_body};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, sleep};

use crate::cluster::{Cluster, folder, module, test};

/// Callers who send 200 requests a second.
struct Load {
    over: Arc<AtomicBool>,
    sent: JoinHandle<Vec<String>>,
}

impl Load {
    fn start(cluster: &Cluster) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let (issuer, client) = (cluster.azure.issuer.clone(), cluster.pod.patient_client());
        let url = cluster.pod.url(CHAT);
        let sent = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(5));
            let mut requests = JoinSet::new();
            while !ended.load(Ordering::Relaxed) {
                ticks.tick().await;
                let token = issuer.mint(&issuer.claims());
                let request = client.post(&url).bearer_auth(token).json(&chat_body(false));
                requests.spawn(Reply::to(request));
            }
            let replies = requests.join_all().await.into_iter();
            replies
                .map(|reply| {
                    reply.map_or_else(|error| format!("{error:?}"), |reply| format!("{reply:?}"))
                })
                .collect()
        });
        Self { over, sent }
    }

    /// Stops, and fails unless each request was answered with 200.
    async fn had_no_failure(self) {
        self.over.store(true, Ordering::Relaxed);
        let replies = self.sent.await.unwrap();
        let failed: Vec<_> = replies.iter().filter(|reply| !reply.starts_with("200 ")).collect();
        assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), replies.len(), failed.first());
        assert!(replies.len() > 200, "{} requests are no load", replies.len());
        println!("{} requests, each answered with 200", replies.len());
    }
}

#[test]
fn a_new_image_and_a_new_policy_fail_no_request() {
    test(async |cluster| {
        cluster.registry.push(&another_module(), "0.1.1");
        let load = Load::start(cluster);
        sleep(Duration::from_secs(1)).await;
        let image =
            cluster.plugin(|wasm| wasm["url"] = "oci://registry.example.com/keyless:0.1.1".into());
        cluster.kubernetes.apply(&image);
        let code = || {
            let dump = cluster.pod.admin("/config_dump?resource=ecds_filters");
            let start = dump.find("/var/lib/istio/data/").expect("a module in a file");
            dump[start..].split('"').next().unwrap().to_owned()
        };
        let before = code();
        cluster.until("the new image runs", async || code() != before).await;
        sleep(Duration::from_secs(3)).await;
        let policy = cluster.plugin(|wasm| {
            wasm["url"] = "oci://registry.example.com/keyless:0.1.1".into();
            with_ping(wasm);
        });
        cluster.kubernetes.apply(&policy);
        answers_ping(cluster).await;
        sleep(Duration::from_secs(3)).await;
        load.had_no_failure().await;
    });
}

/// Adds a route to the policy.
fn with_ping(wasm: &mut Value) {
    let found = json!({ "methods": ["GET"], "path": "/ping" });
    let ping = json!({ "name": "ping", "match": found, "health": true });
    wasm["pluginConfig"]["routes"].as_array_mut().unwrap().push(ping);
}

/// Waits until a policy with that route is in force.
async fn answers_ping(cluster: &Cluster) {
    cluster
        .until("the new policy is in force", async || {
            let reply = Reply::to(cluster.request(Method::GET, "/ping")).await;
            reply.is_ok_and(|reply| reply.status == 200)
        })
        .await;
}

/// Writes the module with one more section, which means nothing, so that it has another digest.
fn another_module() -> PathBuf {
    let mut bytes = fs::read(module()).unwrap();
    bytes.extend_from_slice(b"\x00\x06\x05other");
    let path = folder().join("world/another.wasm");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_new_key_of_the_issuers_fails_no_request() {
    test(async |cluster| {
        let load = Load::start(cluster);
        sleep(Duration::from_secs(2)).await;
        let issuer = cluster.azure.issuer.clone();
        tokio::task::spawn_blocking(move || issuer.rotate()).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        load.had_no_failure().await;
    });
}

#[test]
fn a_restart_of_istiod_fails_no_request() {
    test(async |cluster| {
        let load = Load::start(cluster);
        sleep(Duration::from_secs(1)).await;
        cluster.mesh.stop();
        sleep(Duration::from_secs(3)).await;
        cluster.mesh.restart(&[]).await;
        sleep(Duration::from_secs(5)).await;
        load.had_no_failure().await;
        let policy = cluster.plugin(with_ping);
        cluster
            .until("the webhook answers", async || cluster.kubernetes.try_apply(&policy).is_ok())
            .await;
        answers_ping(cluster).await;
    });
}
