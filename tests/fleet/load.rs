//! Callers that ask again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::world::ANSWERED_WITHIN;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::member::{Fleet, chat};

/// How many requests each gateway may have in flight.
pub(crate) const CALLERS: usize = 8;

/// How long a caller waits before it asks again.
const PAUSE: Duration = Duration::from_millis(20);

/// Holds the callers of some gateways, until they are told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    callers: JoinSet<Vec<Answer>>,
}

/// One answer, or that there was none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) at: Instant,
    pub(crate) status: Option<u16>,
}

impl Load {
    /// Has this subject ask all gateways of a fleet.
    pub(crate) fn on(fleet: &Fleet, token: &str) -> Self {
        let mut load = Self { is_over: Arc::default(), callers: JoinSet::new() };
        fleet.gateways.iter().for_each(|gateway| load.add(&gateway.url(), token));
        load
    }

    /// Has the subject ask one more gateway.
    pub(crate) fn add(&mut self, url: &str, token: &str) {
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWERED_WITHIN);
        let client = client.build().unwrap();
        for _ in 0..CALLERS {
            let caller =
                call(client.clone(), url.to_owned(), token.to_owned(), self.is_over.clone());
            self.callers.spawn(caller);
        }
    }

    /// Waits until the last request is answered, and returns all answers in order.
    pub(crate) async fn stop(self) -> Vec<Answer> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut answers = self.callers.join_all().await.concat();
        answers.sort_by_key(|answer| answer.at);
        answers
    }
}

async fn call(
    client: reqwest::Client,
    url: String,
    token: String,
    is_over: Arc<AtomicBool>,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let response = chat(&client, &url, &token).send().await;
        let mut status = response.as_ref().ok().map(|response| response.status().as_u16());
        if let Ok(response) = response {
            status = response.bytes().await.ok().and(status);
        }
        answers.push(Answer { at: Instant::now(), status });
        sleep(PAUSE).await;
    }
    answers
}

/// Returns how many were admitted.
pub(crate) fn admitted(answers: &[Answer]) -> u64 {
    answers.iter().filter(|answer| answer.status == Some(200)).count() as u64
}

/// Returns the most that were admitted within any span of this length.
pub(crate) fn most_within(span: Duration, answers: &[Answer]) -> u64 {
    let is_admitted = |answer: &&Answer| answer.status == Some(200);
    let times: Vec<_> = answers.iter().filter(is_admitted).map(|answer| answer.at).collect();
    let within = |(begin, first): (usize, &Instant)| {
        times[begin..].partition_point(|at| *at < *first + span) as u64
    };
    times.iter().enumerate().map(within).max().unwrap_or_default()
}
