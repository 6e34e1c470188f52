//! Fetches for all workers, and settles what they have counted with the other proxies of a fleet, on
//! Envoy's main thread: the only one on which a configuration can make calls. Its gate decides no
//! request.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use keyless_core::config::Config;
use keyless_core::fetch::SharedData;
use keyless_core::gate::{Fetch, Gate, Wake};
use keyless_core::http::Answer;
use keyless_core::settle::{GrpcAnswer, Settled};

use crate::abi::{Part, Proxy};
use crate::crypto::NativeCrypto;
use crate::now;
use crate::plugin::{CallReport, Plugin};
use crate::shared_data::ProcessData;

/// The gate that fetches, and its calls.
#[derive(Debug)]
pub(crate) struct Fetcher {
    gate: Gate,
    plugin: Arc<Plugin>,
    /// What each call in flight is for, by the number that Envoy gave it.
    calls: HashMap<u64, Fetch>,
    /// The settlement in flight, by the number that Envoy gave it, and what has come of its answer.
    settlement: Option<(u64, GrpcAnswer)>,
}

/// The shortest wait; time passes unevenly by the clock on the wall.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The longest wait, in case the clock on the wall jumps.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_hours(1);

impl Fetcher {
    pub(crate) fn new(config: Config, plugin: &Arc<Plugin>) -> Self {
        let shared: Rc<dyn SharedData> = Rc::new(ProcessData::of_fetcher());
        let gate = Gate::new(config, Box::new(NativeCrypto::default()), variable, &shared);
        Self { gate, plugin: Arc::clone(plugin), calls: HashMap::new(), settlement: None }
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
                self.end(fetch, &Answer::Lost);
            } else {
                // It cannot be made at all, as each worker finds for itself, and says.
                _ = self.gate.answered(fetch, &Answer::Lost, now);
            }
        }
        for (fetch, call) in self.gate.calls(now) {
            match proxy.call(&call) {
                Ok(id) => _ = self.calls.insert(id, fetch),
                Err(_) => self.end(fetch, &Answer::Unsent),
            }
        }
        self.settle_fleet(proxy, now);
        self.plugin.bells.ring_main_at(instant(self.gate.wake_at(), now));
    }

    /// Takes the answer to a call.
    pub(crate) fn answered(&mut self, proxy: &Proxy<'_>, call: u64, answer: &Answer) {
        if let Some(fetch) = self.calls.remove(&call) {
            self.end(fetch, answer);
            self.drive(proxy);
        }
    }

    /// Takes a part of the answer to a settlement.
    pub(crate) fn settlement_part(&mut self, proxy: &Proxy<'_>, call: u64, part: Part) {
        let Some((_, answer)) = self.settlement.as_mut().filter(|(id, _)| *id == call) else {
            return;
        };
        let settled = match part {
            Part::Headers(status, grpc_status) => {
                return answer.headers(status.as_deref(), grpc_status.as_deref());
            }
            Part::Data(piece) => return answer.data(&piece),
            Part::Trailers(grpc_status) => return answer.trailers(grpc_status.as_deref()),
            Part::End => std::mem::take(answer).end(),
            Part::Reset => GrpcAnswer::broken(),
        };
        self.settlement = None;
        self.settled(settled, now());
        self.drive(proxy);
    }

    /// Lets the fetcher of another configuration take over what this one is fetching.
    pub(crate) fn retire(&self) {
        self.gate.retire();
    }

    /// Settles with the other proxies of a fleet, if that is due.
    fn settle_fleet(&mut self, proxy: &Proxy<'_>, now: SystemTime) {
        if self.gate.is_settlement_lost(now) {
            self.settlement = None;
            self.settled(Settled::Lost, now);
        }
        self.hear_of_settlement(now);
        if let Some(settlement) = self.gate.settlement(now) {
            match proxy.settle(&settlement) {
                Ok(id) => self.settlement = Some((id, GrpcAnswer::default())),
                Err(_) => self.settled(Settled::Unsent, now),
            }
        }
        self.hear_of_settlement(now);
    }

    /// Hears of what workers have left to settle, unless it has not begun with what it heard of before:
    /// until it hears, they do not say it again. They have marked it before they say it, and the gate
    /// looks for marks after it has heard.
    fn hear_of_settlement(&mut self, now: SystemTime) {
        let has_begun = self.gate.settlement_at().is_none_or(|at| at <= now);
        if has_begun && self.plugin.takes_settlement() {
            self.gate.settle_for_another(now);
        }
    }

    fn settled(&mut self, settled: Settled, now: SystemTime) {
        if let Some(report) = self.gate.settled(settled, now) {
            self.plugin.report(CallReport::Settlement(report, now));
        }
    }

    /// Ends a fetch, or the first of its two calls.
    fn end(&mut self, fetch: Fetch, answer: &Answer) {
        if let Some(report) = self.gate.answered(fetch, answer, now()) {
            self.plugin.report(CallReport::Fetch(report));
            self.plugin.bells.ring_workers();
        }
    }
}

/// Says when a gate is to be asked again, by the clock that nobody sets.
pub(crate) fn instant(wake: Wake, now: SystemTime) -> Option<Instant> {
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
