//! etcd and the API server, and `kubectl`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Mutex;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Authority, FILES, Program, folder, output, root, until};

/// Where the gateway and all that `istio/` holds lives.
pub(crate) const NAMESPACE: &str = "openai-gateway";
/// Where istiod lives, and what holds for the whole mesh.
pub(crate) const SYSTEM: &str = "istio-system";

/// Holds the API server, and the names of what the tests have added.
#[derive(Debug)]
pub(crate) struct Kubernetes {
    #[expect(dead_code, reason = "they run")]
    programs: [Program; 2],
    added: Mutex<BTreeSet<[String; 3]>>,
}

impl Kubernetes {
    pub(crate) async fn start(authority: &Authority) -> Self {
        let admin = authority.admin();
        let names = ["kubernetes.default.svc", "localhost", "127.0.0.1", "10.0.0.1"];
        let server = authority.files("kube", &names);
        let accounts = super::certificates::signing_key("accounts");
        write_kubeconfig(
            "kubeconfig",
            json!({ "client-certificate": admin.0, "client-key": admin.1 }),
        );
        let etcd = Program::start("etcd", etcd());
        let server = Program::start("kube-apiserver", api_server(&server, &accounts));
        let kubernetes = Self { programs: [etcd, server], added: Mutex::default() };
        until("the API server is ready", async || {
            kubernetes.try_kubectl(&["get", "--raw", "/readyz"], "").is_ok()
        })
        .await;
        for namespace in [SYSTEM, NAMESPACE] {
            kubernetes.kubectl(&["create", "namespace", namespace]);
        }
        kubernetes.kubectl(&["label", "namespace", NAMESPACE, "istio-injection=enabled"]);
        kubernetes
    }

    /// Runs `kubectl`, which must succeed, and returns what it prints.
    #[track_caller]
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        let done = self.try_kubectl(words, "");
        done.unwrap_or_else(|said| panic!("kubectl {words:?}: {said}"))
    }

    /// Returns a token of a service account for this audience, as the kubelet asks for it.
    pub(crate) fn token(&self, account: &str, audience: &str, duration: &str) -> String {
        let words = ["create", "token", account, "-n", NAMESPACE, "--audience", audience];
        self.kubectl(&[&words[..], &["--duration", duration]].concat()).trim().to_owned()
    }

    /// Runs `kubectl` with an input; the error is what it says.
    pub(crate) fn try_kubectl(&self, words: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(folder().join("bin/kubectl"));
        command.args(words);
        output(command, input)
    }

    /// Applies a file of `istio/` as it stands; what does not belong there is taken away after the test.
    #[track_caller]
    pub(crate) fn apply_file(&self, name: &str) {
        self.kubectl(&["apply", "-f", &path(name)]);
        let resources = documents(&super::shipped(name));
        self.added.lock().unwrap().extend(resources.iter().map(names));
    }

    /// Applies resources that are taken away after the test.
    #[track_caller]
    pub(crate) fn apply(&self, resource: &Value) {
        self.try_apply(resource).unwrap_or_else(|said| panic!("{said}: {resource}"));
    }

    /// The same; the error is what the API server says, and istiod's webhook through it.
    pub(crate) fn try_apply(&self, resource: &Value) -> Result<String, String> {
        let done = self.try_kubectl(&["apply", "-f", "-"], &resource.to_string())?;
        self.added.lock().unwrap().insert(names(resource));
        Ok(done)
    }

    /// Deletes what a file of `istio/` holds.
    pub(crate) fn delete_file(&self, name: &str) {
        self.kubectl(&["delete", "--ignore-not-found", "-f", &path(name)]);
    }

    /// Takes away what was added, and applies the files again.
    pub(crate) fn restore(&self) {
        let shipped = FILES.iter().flat_map(|file| documents(&super::shipped(file)));
        let shipped: BTreeSet<_> = shipped.map(|one| names(&one)).collect();
        for names in std::mem::take(&mut *self.added.lock().unwrap()) {
            let [namespace, kind, name] = &names;
            if !shipped.contains(&names) {
                self.kubectl(&["delete", "--ignore-not-found", "-n", namespace, kind, name]);
            }
        }
        let mut words = vec!["apply".to_owned()];
        words.extend(FILES.iter().flat_map(|file| ["-f".to_owned(), path(file)]));
        self.kubectl(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// The namespace, the kind and the name of a resource, as `kubectl` tells them apart.
fn names(resource: &Value) -> [String; 3] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &resource["metadata"];
    let kind = match text(&resource["apiVersion"]).split_once('/') {
        Some((group, version)) => format!("{}.{version}.{group}", text(&resource["kind"])),
        None => text(&resource["kind"]),
    };
    [text(&metadata["namespace"]), kind, text(&metadata["name"])]
}

fn path(name: &str) -> String {
    root().join("istio").join(name).display().to_string()
}

/// Parses the documents of a YAML text.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(yaml);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

/// Writes how to reach the API server as this user.
pub(super) fn write_kubeconfig(name: &str, user: Value) {
    let authority = folder().join("world/ca.pem");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "world",
        "contexts": [{ "name": "world", "context": { "cluster": "world", "user": "user" } }],
        "clusters": [{ "name": "world", "cluster": {
            "server": "https://127.0.0.1:6443", "certificate-authority": authority } }],
        "users": [{ "name": "user", "user": user }],
    });
    fs::write(folder().join("world").join(name), config.to_string()).unwrap();
}

fn etcd() -> Command {
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder().join("world/etcd"));
    command.args(["--listen-client-urls", "http://127.0.0.1:2379"]);
    command.args(["--advertise-client-urls", "http://127.0.0.1:2379"]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
    command
}

fn api_server(own: &(String, String), accounts: &str) -> Command {
    let mut command = Command::new(folder().join("bin/kube-apiserver"));
    let authority = folder().join("world/ca.pem").display().to_string();
    let options = [
        ("etcd-servers", "http://127.0.0.1:2379"),
        ("service-cluster-ip-range", "10.0.0.0/24"),
        ("secure-port", "6443"),
        ("bind-address", "127.0.0.1"),
        ("advertise-address", "10.77.0.1"),
        ("tls-cert-file", &own.0),
        ("tls-private-key-file", &own.1),
        ("client-ca-file", &authority),
        ("service-account-issuer", "https://kubernetes.default.svc"),
        ("service-account-key-file", accounts),
        ("service-account-signing-key-file", accounts),
        ("authorization-mode", "RBAC"),
        ("disable-admission-plugins", "ServiceAccount"),
    ];
    command.args(options.map(|(name, value)| format!("--{name}={value}")));
    command
}
