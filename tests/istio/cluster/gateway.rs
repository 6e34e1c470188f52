//! The gateway's pod, of which the tests play the kubelet, and its callers.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::mesh::source;
use super::{Authority, GATEWAY, Kubernetes, NAMESPACE, Program, SYSTEM, folder, output, until};

/// The address of the pod, and its name.
const ADDRESS: &str = "10.77.0.2";
const POD: &str = "openai-gateway-0";

/// Holds the container `istio-proxy`, and a way in that begins TLS for callers.
#[derive(Debug)]
pub(crate) struct Pod {
    agent: Program,
    client: Client,
    way_in: SocketAddr,
}

impl Pod {
    pub(crate) async fn start(kubernetes: &Kubernetes, authority: &Authority) -> Self {
        let agent = Program::start("agent", container(kubernetes, "openai-gateway").await);
        let way_in = begin_tls(authority).await;
        let client = testkit::world::client().resolve(GATEWAY, way_in).build().unwrap();
        let pod = Self { agent, client, way_in };
        pod.ready().await;
        pod
    }

    async fn ready(&self) {
        until("the pod is ready", async || {
            self.run(&["curl", "-fs", "http://127.0.0.1:15021/healthz/ready"]).is_ok()
        })
        .await;
    }

    /// Takes another deployment's pod in its place.
    pub(crate) async fn restart(&self, kubernetes: &Kubernetes, deployment: &str) {
        self.agent.stop();
        self.agent.resume(container(kubernetes, deployment).await);
        self.ready().await;
    }

    /// Prepares a request over a new connection with TLS.
    pub(crate) fn request(&self, method: Method, target: &str) -> RequestBuilder {
        self.client.request(method, self.url(target))
    }

    /// Returns the address by which callers of this machine ask for a target.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{GATEWAY}:{}{target}", self.way_in.port())
    }

    /// Makes a client that keeps its connections.
    pub(crate) fn patient_client(&self) -> Client {
        let client = testkit::world::client().pool_max_idle_per_host(usize::MAX);
        client.resolve(GATEWAY, self.way_in).build().unwrap()
    }

    /// Where a connection of one's own goes in.
    pub(crate) fn way_in(&self) -> SocketAddr {
        self.way_in
    }

    /// Returns what the agent and Envoy have written.
    pub(crate) fn log(&self) -> String {
        self.agent.log()
    }

    /// Returns the entries of the access log, oldest first.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        let log = self.log();
        let entries = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        entries.filter(|entry: &Value| entry.get("verdict").is_some()).collect()
    }

    /// Returns what Envoy's admin interface says.
    pub(crate) fn admin(&self, path: &str) -> String {
        self.run(&["curl", "-fsS", &format!("http://127.0.0.1:15000{path}")]).unwrap()
    }

    /// Returns Envoy's counters and gauges with this text in their names.
    pub(crate) fn statistics(&self, filter: &str) -> Vec<(String, u64)> {
        let text = self.admin(&format!("/stats?filter={filter}"));
        let entry = |line: &str| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(entry).collect()
    }

    /// Runs a command in the pod's network.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "pod"]).args(words);
        output(command, "")
    }
}

/// Prepares the container as istiod's webhook injects it into the deployment's pod.
async fn container(kubernetes: &Kubernetes, deployment: &str) -> Command {
    let delete = ["-n", NAMESPACE, "delete", "pod,endpointslice", "--all", "--force"];
    kubernetes.kubectl(&[&delete[..], &["--grace-period=0"]].concat());
    let pod = injected(kubernetes, deployment);
    let container = pod["spec"]["containers"].as_array().unwrap();
    let container = container.iter().find(|one| one["name"] == "istio-proxy").unwrap();
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    register(kubernetes, &pod, deployment);
    let home = home(kubernetes, &pod, account).await;
    let mut command = Command::new("ip");
    command.current_dir(&home).args(["netns", "exec", "pod"]).arg(folder().join("bin/pilot-agent"));
    for word in container["args"].as_array().unwrap() {
        let word = word.as_str().unwrap().replace("$(POD_NAMESPACE)", NAMESPACE);
        command.arg(word.replace("misc:error", "misc:error,wasm:info"));
    }
    for one in container["env"].as_array().unwrap() {
        if let Some(value) = variable(one, account) {
            command.env(one["name"].as_str().unwrap(), value);
        }
    }
    let proxy =
        container["env"].as_array().unwrap().iter().find(|one| one["name"] == "PROXY_CONFIG");
    let proxy = proxy.and_then(|one| one["value"].as_str()).unwrap_or("{}");
    command.env("PROXY_CONFIG", proxy_configuration(proxy, &home).to_string());
    command
}

fn injected(kubernetes: &Kubernetes, deployment: &str) -> Value {
    let words = ["-n", NAMESPACE, "get", "deployment", deployment, "-o", "json"];
    let deployment: Value = serde_json::from_str(&kubernetes.kubectl(&words)).unwrap();
    let template = &deployment["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = POD.into();
    metadata["namespace"] = NAMESPACE.into();
    metadata.as_object_mut().unwrap().remove("creationTimestamp");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"],
    });
    let words = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    serde_json::from_str(&kubernetes.try_kubectl(&words, &pod.to_string()).unwrap()).unwrap()
}

/// Makes the pod, its status and its service's endpoint, as controllers and the kubelet do.
fn register(kubernetes: &Kubernetes, pod: &Value, service: &str) {
    let mut pod = pod.clone();
    for name in ["uid", "creationTimestamp", "resourceVersion", "generation"] {
        pod["metadata"].as_object_mut().unwrap().remove(name);
    }
    pod["spec"]["nodeName"] = "node-0".into();
    kubernetes.try_kubectl(&["create", "-f", "-"], &pod.to_string()).unwrap();
    let status = json!({ "status": {
        "phase": "Running", "podIP": ADDRESS, "podIPs": [{ "ip": ADDRESS }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    } });
    let patch = ["-n", NAMESPACE, "patch", "pod", POD, "--subresource", "status", "--patch"];
    kubernetes.kubectl(&[&patch[..], &[&status.to_string()]].concat());
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": service, "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": service } },
        "endpoints": [{ "addresses": [ADDRESS], "conditions": { "ready": true },
            "targetRef": { "kind": "Pod", "name": POD, "namespace": NAMESPACE } }],
        "ports": [{ "name": "https", "port": 443, "protocol": "TCP" }],
    });
    kubernetes.try_kubectl(&["create", "-f", "-"], &slice.to_string()).unwrap();
}

/// What the kubelet puts into a variable; none where it is a matter of limits.
fn variable(one: &Value, account: &str) -> Option<String> {
    if let Some(value) = one.get("value") {
        return value.as_str().map(str::to_owned);
    }
    let field = one.pointer("/valueFrom/fieldRef/fieldPath")?.as_str()?;
    let value = match field {
        "metadata.name" => POD,
        "metadata.namespace" => NAMESPACE,
        "status.podIP" | "status.hostIP" => ADDRESS,
        "spec.serviceAccountName" => account,
        "spec.nodeName" => "node-0",
        other => panic!("the kubelet would know {other}"),
    };
    Some(value.to_owned())
}

/// Makes the folder that the container sees as its own, with what is mounted there.
async fn home(kubernetes: &Kubernetes, pod: &Value, account: &str) -> PathBuf {
    let home = folder().join("world/container");
    let _ = fs::remove_dir_all(&home);
    for part in
        ["var/run/secrets/tokens", "var/run/secrets/istio", "etc/istio/proxy", "etc/istio/pod"]
    {
        fs::create_dir_all(home.join(part)).unwrap();
    }
    let token = kubernetes.token(account, "istio-ca", "24h");
    fs::write(home.join("var/run/secrets/tokens/istio-token"), token).unwrap();
    let words = [
        "-n",
        NAMESPACE,
        "get",
        "configmap",
        "istio-ca-root-cert",
        "-o",
        "jsonpath={.data.root-cert\\.pem}",
    ];
    until("the namespace has the mesh's root certificate", async || {
        kubernetes.try_kubectl(&words, "").is_ok_and(|certificate| {
            fs::write(home.join("var/run/secrets/istio/root-cert.pem"), certificate).is_ok()
        })
    })
    .await;
    for name in ["labels", "annotations"] {
        let entries = pod["metadata"][name].as_object().unwrap().iter();
        let lines: Vec<_> = entries.map(|(key, value)| format!("{key}={value}")).collect();
        fs::write(home.join("etc/istio/pod").join(name), lines.join("\n")).unwrap();
    }
    home
}

/// Leads the agent to this machine's istiod and Envoy.
fn proxy_configuration(injected: &str, home: &std::path::Path) -> Value {
    let mut proxy: Value = serde_json::from_str(injected).unwrap();
    let places = json!({
        "discoveryAddress": format!("istiod.{SYSTEM}.svc:15012"),
        "concurrency": 2,
        "binaryPath": std::env::var("ENVOY").expect("ENVOY names an Envoy"),
        "configPath": home.join("etc/istio/proxy"),
        "proxyBootstrapTemplatePath": source() + "/tools/packaging/common/envoy_bootstrap.json",
    });
    proxy.as_object_mut().unwrap().extend(places.as_object().unwrap().clone());
    proxy
}

/// Begins TLS with the gateway for whoever comes, on a port of 127.0.0.1.
async fn begin_tls(authority: &Authority) -> SocketAddr {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let connector = connector.clone();
            tokio::spawn(async move {
                let Ok(gateway) = TcpStream::connect((ADDRESS, 443)).await else { return };
                let name = GATEWAY.try_into().unwrap();
                let Ok(mut gateway) = connector.connect(name, gateway).await else { return };
                let _ = copy_bidirectional(&mut caller, &mut gateway).await;
            });
        }
    });
    address
}
