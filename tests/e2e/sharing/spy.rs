//! Two other modules in the same Envoy that read shared data: one with the same `vm_id` as keyless's,
//! and one without any.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use gateway::Blueprint;
use keyless_core::config::Config;
use keyless_core::fetch::record_key;
use keyless_core::identity::Endpoint;
use reqwest::Method;
use serde_json::json;

use testkit::reply::Reply;
use testkit::world::World;

/// The `vm_id` of `envoy.yaml`.
const PRIVATE: &str = "keyless-private-gateway";

/// Names what one of the two modules reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spy {
    /// What all modules without an id have in common.
    Nobodys,
    /// What keyless keeps for itself.
    Private,
}

impl Spy {
    /// The header whose value is the key that the module reads.
    fn header(self) -> &'static str {
        match self {
            Self::Nobodys => "x-spy-nobodys",
            Self::Private => "x-spy-private",
        }
    }

    /// Reads the note under a key, if there is one.
    pub(super) async fn read(self, world: &World, key: &str) -> Option<Vec<u8>> {
        let request = world.request(Method::GET, "/healthz").header(self.header(), key);
        let reply = Reply::to(request).await.unwrap();
        assert!(matches!(reply.status, 200 | 404), "{reply:?}");
        (reply.status == 200).then_some(reply.body)
    }
}

/// Puts both modules into the filter chain, where they answer on the public route.
pub(super) fn with_spies(shipped: Blueprint) -> Blueprint {
    shipped.connection_manager(|manager| {
        let filters = manager["http_filters"].as_sequence_mut().unwrap();
        for (spy, vm_id) in [(Spy::Nobodys, ""), (Spy::Private, PRIVATE)] {
            let filter = json!({
                "name": spy.header(),
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": { "name": spy.header(), "vm_config": {
                        "vm_id": vm_id, "runtime": "envoy.wasm.runtime.v8",
                        "code": { "local": { "filename": module(spy) } },
                    } },
                },
            });
            filters.insert(filters.len() - 1, serde_yaml_ng::to_value(filter).unwrap());
        }
    })
}

/// Returns the key under which keyless keeps its record of the only identity.
pub(super) fn key_of_identity(configuration: &serde_json::Value) -> String {
    let mut config = Config::parse(configuration.to_string().as_bytes()).unwrap();
    let endpoint = Endpoint::new(config.identities.remove(0), &|_| None);
    record_key("identity", &endpoint.calls())
}

/// Makes the module that listens to the spy's header, once for all tests.
fn module(spy: Spy) -> &'static PathBuf {
    static MODULES: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    MODULES[spy as usize].get_or_init(|| {
        let name = format!("{}-{}.wasm", spy.header(), std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let text = include_str!("spy.wat").replace("x-spy-nobodys", spy.header());
        fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        path
    })
}
