//! A Prometheus that scrapes gateways and evaluates the rules.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::world::eventually;
use tokio::process::{Child, Command};

use crate::{folder, program};

/// Holds a running Prometheus, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    address: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these administration interfaces once a second.
    pub(crate) async fn start(targets: &[String]) -> Self {
        let own = tempfile::Builder::new().prefix("prometheus-").tempdir().unwrap();
        let rules = fs::canonicalize(folder().join("alerts.yaml")).unwrap();
        let configuration = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [{
                "job_name": "keyless", "metrics_path": "/stats/prometheus", "static_configs": [{ "targets": targets }],
            }],
        });
        // JSON is YAML.
        fs::write(own.path().join("prometheus.yml"), configuration.to_string()).unwrap();
        // It does not say which port it took for 0.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(program("prometheus"));
        command
            .current_dir(own.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command.stderr(fs::File::create(own.path().join("log")).unwrap());
        let prometheus = Self { address, _child: command.spawn().unwrap(), _folder: own };
        eventually("Prometheus is ready", async || {
            let answer = reqwest::get(prometheus.url("/-/ready")).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        prometheus
    }

    /// Returns the URL of this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Runs a query, and returns the values that are numbers, each with its labels.
    pub(crate) async fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let request =
            reqwest::Client::new().post(self.url("/api/v1/query")).form(&[("query", query)]);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        assert_eq!(answer["data"]["resultType"], "vector", "{query}");
        let results = answer["data"]["result"].as_array().unwrap().iter();
        let results = results.map(|result| {
            let value: f64 = result["value"][1].as_str().unwrap().parse().unwrap();
            (result["metric"].clone(), value)
        });
        results.filter(|(_, value)| value.is_finite()).collect()
    }

    /// Returns the values of a label of a metric.
    pub(crate) async fn label_values(&self, metric: &str, label: &str) -> Vec<String> {
        let url = self.url(&format!("/api/v1/label/{label}/values?match[]={metric}"));
        let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let values = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    }
}
