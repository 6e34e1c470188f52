//! Istio's charts, and istiod.

use std::process::Command;
use std::sync::Mutex;

use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::kubernetes::write_kubeconfig;
use super::{Kubernetes, NAMESPACE, Program, SYSTEM, folder, output, root, until};

/// Holds istiod.
#[derive(Debug)]
pub(crate) struct Mesh {
    istiod: Program,
    variables: Mutex<Vec<(&'static str, &'static str)>>,
}

impl Mesh {
    /// Installs the charts with the values of `istio/`, and starts istiod.
    pub(crate) async fn start(kubernetes: &Kubernetes) -> Self {
        let charts = source() + "/manifests/charts";
        let definitions = format!("{charts}/base/files/crd-all.gen.yaml");
        kubernetes.kubectl(&["apply", "--server-side", "-f", &definitions]);
        for definition in gateway_api() {
            kubernetes.kubectl(&["apply", "--server-side", "-f", &definition]);
        }
        // Stock Envoy lacks three filters of Istio's own build: istio.stats, istio.metadata_exchange
        // and istio.alpn. Nothing else is left out.
        let chart = format!("{charts}/istio-control/istio-discovery");
        let istiod = template("istiod", &chart, SYSTEM, "mesh.yaml", &["telemetry.enabled=false"]);
        let chart = format!("{charts}/gateway");
        let gateway = template("openai-gateway", &chart, NAMESPACE, "gateway-values.yaml", &[]);
        for manifests in [istiod, gateway] {
            kubernetes.try_kubectl(&["apply", "-f", "-"], &manifests).unwrap();
        }
        let words = ["create", "token", "istiod", "-n", SYSTEM, "--duration", "24h"];
        write_kubeconfig(
            "kubeconfig.istiod",
            json!({ "token": kubernetes.kubectl(&words).trim() }),
        );
        serve_the_webhooks(kubernetes).await;
        let mesh = Self {
            istiod: Program::start("istiod", istiod_with(&[])),
            variables: Mutex::default(),
        };
        mesh.ready().await;
        until("istiod's webhook is in force", async || {
            let name = format!("istio-validator-{SYSTEM}");
            let policy = [
                "get",
                "validatingwebhookconfiguration",
                &name,
                "-o",
                "jsonpath={.webhooks[0].failurePolicy}",
            ];
            kubernetes.kubectl(&policy) == "Fail"
        })
        .await;
        mesh
    }

    async fn ready(&self) {
        until("istiod is ready", async || {
            let answer = reqwest::get("http://127.0.0.1:8080/ready").await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Ends istiod.
    pub(crate) fn stop(&self) {
        self.istiod.stop();
    }

    /// Starts istiod again, with these environment variables besides its own.
    pub(crate) async fn restart(&self, variables: &[(&'static str, &'static str)]) {
        self.istiod.stop();
        *self.variables.lock().unwrap() = variables.to_vec();
        self.istiod.resume(istiod_with(variables));
        self.ready().await;
    }
}

/// The folder of Istio's source.
pub(super) fn source() -> String {
    let file = std::fs::read_to_string(folder().join("source")).unwrap();
    file.trim().to_owned()
}

/// The definitions of the Gateway API that a cluster has before `istio/gateway-api/` is applied.
fn gateway_api() -> [String; 4] {
    let folder = std::fs::read_to_string(folder().join("gateway-api")).unwrap();
    let path = |name| {
        format!("{}/config/crd/standard/gateway.networking.k8s.io_{name}.yaml", folder.trim())
    };
    ["gatewayclasses", "gateways", "httproutes", "referencegrants"].map(path)
}

fn template(name: &str, chart: &str, namespace: &str, values: &str, set: &[&str]) -> String {
    let mut command = Command::new(folder().join("bin/helm"));
    command.args(["template", name, chart, "--namespace", namespace, "--values"]);
    command.arg(root().join("istio").join(values));
    command.args(set.iter().flat_map(|value| ["--set", value]));
    output(command, "").unwrap()
}

/// Does what kube-proxy does for the address at which the API server finds istiod's webhooks.
async fn serve_the_webhooks(kubernetes: &Kubernetes) {
    let words = ["-n", SYSTEM, "get", "service", "istiod", "-o", "jsonpath={.spec.clusterIP}"];
    let address = kubernetes.kubectl(&words);
    let mut command = Command::new("ip");
    command.args(["address", "add", &format!("{address}/32"), "dev", "lo"]);
    output(command, "").unwrap();
    let listener = TcpListener::bind((address, 443)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut istiod) = TcpStream::connect("127.0.0.1:15017").await else { return };
                let _ = copy_bidirectional(&mut stream, &mut istiod).await;
            });
        }
    });
}

fn istiod_with(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(folder().join("bin/istiod"));
    command.current_dir(folder().join("world"));
    command.args(["discovery", "--domain", "cluster.local", "--kubeconfig"]);
    command.arg(folder().join("world/kubeconfig.istiod"));
    command.envs([
        ("POD_NAMESPACE", SYSTEM),
        ("POD_NAME", "istiod-0"),
        ("SERVICE_ACCOUNT", "istiod"),
        ("CLUSTER_ID", "Kubernetes"),
        ("REVISION", "default"),
        ("PILOT_CERT_PROVIDER", "istiod"),
        ("INJECTION_WEBHOOK_CONFIG_NAME", "istio-sidecar-injector"),
        ("VALIDATION_WEBHOOK_CONFIG_NAME", "istio-validator-istio-system"),
        ("PILOT_ENABLE_ALPN_FILTER", "false"),
        ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
    ]);
    command.envs(variables.iter().copied());
    command
}
