//! Limits of a fleet, whose service a `ServiceEntry` alone leads to.

use std::process::Command;

use serde_json::{Value, json};
use testkit::rate_limit::RateLimitService;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{NAMESPACE, output, test};

const HOST: &str = "ratelimit.example.com";

fn with_limits(wasm: &mut Value) {
    let config = &mut wasm["pluginConfig"];
    config["ledger"] = json!({ "cluster": format!("outbound|8081||{HOST}") });
    config["limits"] = json!([{ "name": "team", "requests": 3, "window": "365d" }]);
}

fn way_to_the_service() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": { "name": "ratelimit", "namespace": NAMESPACE },
        "spec": {
            "hosts": [HOST], "exportTo": ["."], "location": "MESH_EXTERNAL", "resolution": "DNS",
            "ports": [{ "number": 8081, "name": "grpc", "protocol": "GRPC" }],
        },
    })
}

/// The service's file, as `keyless limits` makes it of the plugin.
fn file_of(plugin: &Value) -> String {
    let mut program =
        Command::new(std::env::var("KEYLESS").expect("KEYLESS names the command line"));
    program.args(["limits", "-"]);
    output(program, &serde_yaml_ng::to_string(plugin).unwrap()).unwrap()
}

/// Gives the service the address that its host has in the mesh.
async fn open_to_the_mesh(service: &RateLimitService) -> tokio::task::JoinHandle<()> {
    let (listener, to) = (TcpListener::bind((HOST, 8081)).await.unwrap(), service.address());
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut service = TcpStream::connect(to).await?;
                copy_bidirectional(&mut caller, &mut service).await
            });
        }
    })
}

#[test]
fn a_service_entry_is_all_that_a_fleets_limits_need() {
    test(async |cluster| {
        let plugin = cluster.plugin(with_limits);
        let service = RateLimitService::start(&file_of(&plugin)).await;
        let way = open_to_the_mesh(&service).await;
        cluster.kubernetes.apply(&way_to_the_service());
        cluster.kubernetes.apply(&plugin);
        cluster
            .until("the limit is used up, and the service was told", async || {
                cluster.chat().await.code().as_deref() == Some("requests_exhausted")
                    && service.sum("team") == 3
            })
            .await;
        assert!(service.authorities().iter().all(|authority| authority == HOST));
        way.abort();
    });
}
