//! Callers that come at a steady rate, whatever happens to those before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use testkit::world::{CHAT, World, chat_body, client};

/// What became of one request.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When it was sent, since the first one was.
    pub(super) at: Duration,
    /// Zero if there was no answer.
    pub(super) status: u16,
    /// True if keyless says that it has no identity token, and when to come again.
    pub(super) is_our_503: bool,
    /// How long it took until the whole answer was there.
    pub(super) wait: Duration,
    /// What there was in place of an answer.
    pub(super) problem: Option<String>,
}

/// Holds the callers, who go on until they are stopped.
pub(super) struct Load {
    begun: Instant,
    is_over: Arc<AtomicBool>,
    samples: JoinHandle<Vec<Sample>>,
}

impl Load {
    /// Begins to send that many requests a second.
    pub(super) fn begin(world: &World, rate: u32) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let caller = Caller {
            url: format!("{}{CHAT}", world.gateway.url()),
            body: chat_body(false),
            token: world.token(),
            begun: Instant::now(),
        };
        let begun = caller.begun;
        let samples = tokio::spawn(send(caller, rate, Arc::clone(&is_over)));
        Self { begun, is_over, samples }
    }

    /// Returns how long ago the first request was sent.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits until that long after the first request.
    pub(super) async fn until(&self, time: Duration) {
        tokio::time::sleep_until(self.begun + time).await;
    }

    /// Sends no more, and returns what became of all requests.
    pub(super) async fn end(self) -> Vec<Sample> {
        self.is_over.store(true, Ordering::Relaxed);
        self.samples.await.unwrap()
    }
}

#[derive(Clone)]
struct Caller {
    url: String,
    body: Value,
    token: String,
    begun: Instant,
}

impl Caller {
    async fn ask(self, client: Client) -> Sample {
        let sent = Instant::now();
        let request = client.post(&self.url).bearer_auth(&self.token).json(&self.body);
        let answer = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let has_wait = response.headers().contains_key("retry-after");
            let body = response.bytes().await?;
            Ok::<_, reqwest::Error>((status, has_wait && is_unavailable(&body)))
        };
        let answer = answer.await;
        let problem = answer.as_ref().err().map(|error| format!("{error:?}"));
        let (status, is_our_503) = answer.unwrap_or_default();
        Sample { at: sent - self.begun, status, is_our_503, wait: sent.elapsed(), problem }
    }
}

fn is_unavailable(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["error"]["code"] == "identity_unavailable"
}

async fn send(caller: Caller, rate: u32, is_over: Arc<AtomicBool>) -> Vec<Sample> {
    // A connection for each request, so that each worker gets its share.
    let client = client().build().unwrap();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut asked, mut samples) = (JoinSet::new(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        ticks.tick().await;
        asked.spawn(caller.clone().ask(client.clone()));
        while let Some(sample) = asked.try_join_next() {
            samples.push(sample.unwrap());
        }
    }
    samples.extend(asked.join_all().await);
    samples
}
