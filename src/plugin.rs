//! What a root and its streams share; streams that outlive a configuration keep theirs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use keyless_core::config::Config;
use keyless_core::exchange::{Admitted, Applied, Outcome, Rejected, Rests, Used};
use keyless_core::fetch::SharedData;
use keyless_core::gate::{Decided, Decision, Fetch, Gate, Record, StreamId, count_evicted};
use keyless_core::http::Answer;
use keyless_core::log::{Level, Line};
use keyless_core::metrics::{HOST_CRYPTO, Meter};
use keyless_core::settle::Settled;
use keyless_core::signature::{Crypto, Sandbox};
use log::{info, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::types::Action;

use crate::crypto::HostCrypto;
use crate::exchange::{EXCHANGE, send};
use crate::metrics::Metrics;
use crate::shared_data::EnvoySharedData;
use crate::{now, wake_root};

/// One gate, and what it reports to.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) gate: Rc<RefCell<Gate>>,
    metrics: Rc<RefCell<Metrics>>,
    rests: Rc<RefCell<Rests>>,
    /// What was done to resumed streams, until those streams ask.
    resumed: Rc<RefCell<HashMap<StreamId, Admitted>>>,
}

impl Plugin {
    pub(crate) fn new(config: Config) -> Self {
        let mut metrics = Metrics::default();
        let host = HostCrypto::offered();
        let verifier = if host.is_some() { "host" } else { "sandbox" };
        write(config.introduction(env!("CARGO_PKG_VERSION"), verifier));
        metrics.set(&HOST_CRYPTO, &[], u64::from(host.is_some()));
        let crypto: Box<dyn Crypto> = match host {
            Some(host) => Box::new(host),
            None => Box::new(Sandbox),
        };
        let shared: Rc<dyn SharedData> = Rc::new(EnvoySharedData::of_this_vm());
        let gate = Gate::new(config, crypto, variable, &shared);
        Self {
            gate: Rc::new(RefCell::new(gate)),
            metrics: Rc::new(RefCell::new(metrics)),
            rests: Rc::default(),
            resumed: Rc::default(),
        }
    }

    /// Hands an answer to the gate; the log tells changes, the counters everything.
    pub(crate) fn settle(&self, fetch: Fetch, answer: &Answer) {
        let Some(now) = now() else { return };
        let Some(report) = self.gate.borrow_mut().answered(fetch, answer, now) else { return };
        report.count(&mut *self.metrics.borrow_mut());
        write(report.lines());
    }

    /// Hands the answer to a settlement to the gate; the log tells changes, the counters everything.
    pub(crate) fn settled(&self, settled: Settled) {
        let Some(now) = now() else { return };
        let Some(report) = self.gate.borrow_mut().settled(settled, now) else { return };
        report.count(&mut *self.metrics.borrow_mut(), now);
        write(report.lines());
    }

    /// Has the root called if a request has left something to settle.
    fn wake_to_settle(&self) {
        if self.gate.borrow().is_to_settle() {
            wake_root();
        }
    }

    /// Carries out a decision on the stream of the effective context, counts and records it.
    pub(crate) fn apply(&self, decided: Decided) -> (Action, Admitted) {
        match decided.decision {
            // A probe may have found that something is to be fetched.
            Decision::Respond(_) | Decision::Wait(_) => wake_root(),
            Decision::Deny(_) | Decision::Forward(_) => {}
        }
        self.carry_out(Applied::new(decided, &EXCHANGE))
    }

    /// Refuses the request of the effective context because the host failed.
    pub(crate) fn fail(&self) -> Action {
        self.carry_out(Applied::failed(Record::default())).0
    }

    fn carry_out(&self, applied: Applied) -> (Action, Admitted) {
        applied.record.count(applied.verdict, &mut *self.metrics.borrow_mut());
        applied.record(&EXCHANGE);
        self.wake_to_settle();
        let action = match applied.outcome {
            Outcome::GoesOn => Action::Continue,
            Outcome::Reply(reply) => {
                send(&reply);
                Action::Pause
            }
            Outcome::Waits => Action::Pause,
        };
        (action, applied.admitted)
    }

    /// Carries out a decision on a stream that waited. If the stream is gone, there is nobody to
    /// answer.
    pub(crate) fn resume(&self, stream: StreamId, decided: Decided) {
        if hostcalls::set_effective_context(stream).is_err() {
            return;
        }
        let (action, admitted) = self.apply(decided);
        self.resumed.borrow_mut().insert(stream, admitted);
        if action == Action::Continue {
            _ = hostcalls::resume_http_request();
        }
    }

    /// Returns what was done to a stream when it was resumed, once.
    pub(crate) fn resumed_with(&self, stream: StreamId) -> Option<Admitted> {
        self.resumed.borrow_mut().remove(&stream)
    }

    /// Counts what a request used whose stream is over.
    pub(crate) fn count(&self, used: &Used) {
        let mut metrics = self.metrics.borrow_mut();
        used.count(&mut self.rests.borrow_mut(), &mut *metrics);
        if used.charges.is_empty() {
            return;
        }
        let Some(now) = now() else { return };
        count_evicted(used.charge(&self.gate.borrow(), now), &mut *metrics);
        drop(metrics);
        self.wake_to_settle();
    }

    /// Forgets a stream that is gone.
    pub(crate) fn forget(&self, stream: StreamId) {
        self.gate.borrow_mut().forget(stream);
        self.resumed.borrow_mut().remove(&stream);
    }

    /// Tells the gate and the operator that a backend rejected an identity token.
    pub(crate) fn report_rejection(&self, rejected: &Rejected) {
        let Some(now) = now() else { return };
        let Rejected { identity, said } = rejected;
        let rejection = self.gate.borrow_mut().rejected_upstream(*identity, said, now);
        let Some(rejection) = rejection else { return };
        rejection.count(&mut *self.metrics.borrow_mut());
        write(rejection.line());
        wake_root();
    }
}

/// Writes lines to Envoy's log.
fn write(lines: impl IntoIterator<Item = Line>) {
    for Line { level, text } in lines {
        match level {
            Level::Info => info!("{text}"),
            Level::Warn => warn!("{text}"),
        }
    }
}

/// Reads an environment variable of the VM; they are fixed when it is made.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}
