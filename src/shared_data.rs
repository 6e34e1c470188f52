//! Envoy's shared data: what the threads of one proxy have in common, under their `vm_id`.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use proxy_wasm::hostcalls;

use keyless_core::fetch::SharedData;

/// Reads and writes for one gate.
#[derive(Debug)]
pub(crate) struct EnvoySharedData {
    holder: u64,
    is_offered: bool,
    is_private: bool,
}

/// The number of no version. Envoy lets any number create a note, but zero replace one as well.
const NO_VERSION: u32 = u32::MAX;

impl EnvoySharedData {
    /// An empty `vm_id` names data that every module without one of its own can read. Where a list
    /// of capabilities does not let us ask for it, shared data is left alone, too: the SDK panics on
    /// a call that is not allowed.
    pub(crate) fn of_this_vm() -> Self {
        let vm_id = hostcalls::get_property(vec!["plugin_vm_id"]);
        let holder = RandomState::new().build_hasher().finish().max(1);
        let is_offered = vm_id.is_ok();
        let is_private = vm_id.ok().flatten().is_some_and(|id| !id.is_empty());
        Self { holder, is_offered, is_private }
    }
}

impl SharedData for EnvoySharedData {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        if !self.is_offered {
            return None;
        }
        let (note, version) = hostcalls::get_shared_data(key).ok()?;
        Some((note.unwrap_or_default(), version?))
    }

    fn replace(&self, key: &str, version: Option<u32>, note: &[u8]) -> bool {
        let version = version.unwrap_or(NO_VERSION);
        !self.is_offered || hostcalls::set_shared_data(key, Some(note), Some(version)).is_ok()
    }

    fn is_private(&self) -> bool {
        self.is_private
    }

    fn holder(&self) -> u64 {
        self.holder
    }
}
