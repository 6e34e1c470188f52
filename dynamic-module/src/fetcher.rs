//! Fetches for all workers, on Envoy's main thread: the only one on which a configuration can make
//! calls. Its gate decides no request.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyless_core::config::Config;
use keyless_core::fetch::SharedData;
use keyless_core::gate::{Fetch, Gate, Wake};
use keyless_core::http::Answer;

use crate::abi::Proxy;
use crate::crypto::NativeCrypto;
use crate::now;
use crate::plugin::Plugin;
use crate::shared_data::ProcessData;

/// The gate that fetches, and its calls.
#[derive(Debug)]
pub(crate) struct Fetcher {
    gate: Gate,
    plugin: Arc<Plugin>,
    /// What each call in flight is for, by the number that Envoy gave it.
    calls: HashMap<u64, Fetch>,
}

/// The shortest wait; time passes unevenly by the clock on the wall.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The longest wait, in case the clock on the wall jumps.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_hours(1);

impl Fetcher {
    pub(crate) fn new(config: Config, plugin: &Arc<Plugin>) -> Self {
        let shared: Rc<dyn SharedData> = Rc::new(ProcessData::of_fetcher());
        let gate = Gate::new(config, Box::new(NativeCrypto::default()), variable, &shared);
        Self { gate, plugin: Arc::clone(plugin), calls: HashMap::new() }
    }

    /// Does all that is due: takes what workers want, gives up lost calls, sends new ones.
    pub(crate) fn drive(&mut self, proxy: &Proxy<'_>) {
        let now = now();
        for requested in self.plugin.requested() {
            self.gate.fetch_for_another(requested, now);
        }
        for fetch in self.gate.lost(now) {
            let in_flight = self.calls.len();
            self.calls.retain(|_, other| *other != fetch);
            if self.calls.len() < in_flight {
                self.settle(fetch, &Answer::Lost);
            } else {
                // It cannot be made at all, as each worker finds for itself, and says.
                _ = self.gate.answered(fetch, &Answer::Lost, now);
            }
        }
        for (fetch, call) in self.gate.calls(now) {
            match proxy.call(&call) {
                Ok(id) => _ = self.calls.insert(id, fetch),
                Err(_) => self.settle(fetch, &Answer::Unsent),
            }
        }
        self.plugin.bells.ring_main_at(instant(self.gate.wake_at(), now));
    }

    /// Takes the answer to a call.
    pub(crate) fn answered(&mut self, proxy: &Proxy<'_>, call: u64, answer: &Answer) {
        if let Some(fetch) = self.calls.remove(&call) {
            self.settle(fetch, answer);
            self.drive(proxy);
        }
    }

    /// Lets the fetcher of another configuration take over what this one is fetching.
    pub(crate) fn retire(&self) {
        self.gate.retire();
    }

    fn settle(&mut self, fetch: Fetch, answer: &Answer) {
        if let Some(report) = self.gate.answered(fetch, answer, now()) {
            self.plugin.report(report);
            self.plugin.bells.ring_workers();
        }
    }
}

/// Says when a gate is to be asked again, by the clock that nobody sets.
pub(crate) fn instant(wake: Wake, now: std::time::SystemTime) -> Option<Instant> {
    let wait = match wake {
        Wake::At(time) => time.duration_since(now).unwrap_or_default(),
        Wake::Now => Duration::ZERO,
        Wake::Never => return None,
    };
    Instant::now().checked_add(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT))
}

/// Reads a variable of Envoy's environment.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}
