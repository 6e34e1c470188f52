//! Every query has an answer, and every alert a reason, in a Prometheus that scrapes gateways to which
//! everything happens.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::world::eventually;

use crate::board::{committed, queries, variables};
use crate::fleet::Fleet;
use crate::prometheus::Prometheus;
use crate::rules::alerts;
use crate::{folder, is_update, program};

/// The one that waits for the gateways to be gone.
const MISSING: &str = "KeylessModuleMissing";

#[tokio::test]
async fn every_query_has_an_answer_and_every_alert_a_reason() {
    let fleet = Fleet::start().await;
    let prometheus = Prometheus::start(&fleet.targets()).await;
    let begin = SystemTime::now();
    // The picture needs more to show than the test needs.
    fleet.live(Duration::from_secs(if is_update() { 240 } else { 12 })).await;
    fleet.suffer().await;
    fleet.live(Duration::from_secs(if is_update() { 60 } else { 6 })).await;
    let board = committed();
    let queries = queries(&board);
    assert!(queries.len() > 30, "only {}", queries.len());
    for (title, query) in &queries {
        answered(&prometheus, &format!("{title}: {query}"), query).await;
    }
    for (metric, label) in variables(&board) {
        let values = prometheus.label_values(&metric, &label).await;
        assert!(!values.is_empty(), "{metric} {label}");
    }
    assert!(prometheus.query(r#"keyless_requests{verdict="neither"}"#).await.is_empty());
    labels_are_those_of_the_page(&prometheus).await;
    if is_update() {
        paint(&prometheus, begin);
    }
    let alerts = alerts();
    for alert in alerts.iter().filter(|alert| alert.name != MISSING) {
        raised(&prometheus, &alert.name).await;
    }
    assert!(prometheus.query(&alert_query(MISSING)).await.is_empty(), "they are all there");
    fleet.stop().await;
    raised(&prometheus, MISSING).await;
}

async fn answered(prometheus: &Prometheus, what: &str, query: &str) {
    eventually(what, async || (!prometheus.query(query).await.is_empty()).then_some(())).await;
}

/// Waits until Prometheus itself finds that the expression of the rule holds, whatever its `for`.
async fn raised(prometheus: &Prometheus, name: &str) {
    answered(prometheus, name, &alert_query(name)).await;
}

fn alert_query(name: &str) -> String {
    format!(r#"ALERTS{{alertname="{name}"}}"#)
}

/// The traffic makes every value of the labels that the dashboard tells apart.
async fn labels_are_those_of_the_page(prometheus: &Prometheus) {
    let rows: [(&str, &str, &[&str]); 6] = [
        ("keyless_requests", "verdict", &["admitted", "refused"]),
        ("keyless_answers", "basis", &["absent", "estimated", "exact"]),
        ("keyless_tokens", "type", &["input", "output"]),
        ("keyless_token_parts", "part", &["cached", "reasoning"]),
        ("keyless_limit_checks", "result", &["exhausted", "near", "within", "would_exhaust"]),
        ("keyless_fetches", "kind", &["identity", "jwks"]),
    ];
    for (metric, label, expected) in rows {
        assert_eq!(prometheus.label_values(metric, label).await, expected, "{metric} {label}");
    }
}

/// Draws the panels with what this Prometheus has for them, for the documentation.
fn paint(prometheus: &Prometheus, begin: SystemTime) {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images");
    let mut script = Command::new(program("python"));
    script.arg("-I").arg(folder().join("picture.py")).arg(prometheus.url(""));
    script.args([seconds(begin), seconds(SystemTime::now())]).arg(images);
    assert!(script.status().unwrap().success());
}
