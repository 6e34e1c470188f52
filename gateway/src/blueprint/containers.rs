//! The configuration for containers, which find each other by name.

use serde_yaml_ng::Value;

use super::{
    Blueprint, clusters, dynamic, endpoints, has_endpoints, keep_host_name, module, take_off_tls,
};

/// The service of `compose.yaml` that plays all the world outside.
const HOST: &str = "local-azure";

/// Where that service plays which cluster.
const PORTS: [(&str, u16); 6] = [
    ("entra", 8001),
    ("imds", 8002),
    ("openai_provisioned", 8003),
    ("openai_pay_as_you_go", 8003),
    ("openai_single", 8003),
    ("on_prem", 8003),
];

/// Where the image of the gateway has the module.
const MODULE: &str = "/etc/envoy/keyless.wasm";

/// Says how the image has keyless.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Host {
    /// As a dynamic module.
    DynamicModule,
    /// As a Wasm module.
    Wasm,
}

impl Blueprint {
    /// Writes the configuration of the service `gateway` in `compose.yaml`: every cluster leads to
    /// `local-azure`, in plain text; listeners and all else are as in the file. Or the same for the
    /// image that has the dynamic module.
    ///
    /// # Panics
    ///
    /// When the file has a cluster that `local-azure` does not play.
    pub fn for_containers(mut self, host: Host) -> String {
        *module(&mut self.bootstrap) = MODULE.into();
        let clusters = clusters(&mut self.bootstrap).iter_mut();
        clusters.filter(|cluster| has_endpoints(cluster)).for_each(lead_to_local_azure);
        match host {
            Host::DynamicModule => dynamic::take_the_place(&mut self.bootstrap),
            Host::Wasm => {}
        }
        serde_yaml_ng::to_string(&self.bootstrap).expect("what was YAML can be written")
    }
}

fn lead_to_local_azure(cluster: &mut Value) {
    let port = PORTS.iter().find(|(name, _)| cluster["name"] == *name);
    let (_, port) = port.unwrap_or_else(|| panic!("{HOST} does not play {:?}", cluster["name"]));
    for endpoint in endpoints(cluster) {
        keep_host_name(endpoint);
        let address = &mut endpoint["address"]["socket_address"];
        address["address"] = HOST.into();
        address["port_value"] = (*port).into();
    }
    cluster["type"] = "STRICT_DNS".into();
    take_off_tls(cluster);
}
