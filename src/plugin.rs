//! What a root and its streams share; streams that outlive a configuration keep theirs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use keyless_core::config::Config;
use keyless_core::fetch::SharedData;
use keyless_core::gate::{Decided, Fetch, Gate, Record, StreamId};
use keyless_core::http::Answer;
use keyless_core::identity::IdentityIndex;
use keyless_core::limit::Allowance;
use keyless_core::log::{Level, Line};
use keyless_core::settle::Settled;
use keyless_core::signature::{Crypto, Sandbox};
use log::{info, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::types::Action;

use crate::accounting::Accounting;
use crate::crypto::HostCrypto;
use crate::metrics::Metrics;
use crate::outcome::{self, Applied};
use crate::shared_data::EnvoySharedData;
use crate::{now, wake_root};

/// One gate, and what it reports to.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) gate: Rc<RefCell<Gate>>,
    metrics: Rc<RefCell<Metrics>>,
    /// What was done to resumed streams, until those streams ask.
    resumed: Rc<RefCell<HashMap<StreamId, Resumed>>>,
}

/// What was done to a request while its stream was not there.
pub(crate) struct Resumed {
    pub(crate) identity: Option<IdentityIndex>,
    pub(crate) accounting: Option<Accounting>,
    pub(crate) allowances: Vec<Allowance>,
}

impl Plugin {
    pub(crate) fn new(config: Config) -> Self {
        let mut metrics = Metrics::default();
        let host = HostCrypto::offered();
        let verifier = if host.is_some() { "host" } else { "sandbox" };
        write(config.introduction(env!("CARGO_PKG_VERSION"), verifier));
        metrics.gauge("keyless_host_crypto", u64::from(host.is_some()));
        let crypto: Box<dyn Crypto> = match host {
            Some(host) => Box::new(host),
            None => Box::new(Sandbox),
        };
        let shared: Rc<dyn SharedData> = Rc::new(EnvoySharedData::of_this_vm());
        let gate = Gate::new(config, crypto, variable, &shared);
        Self {
            gate: Rc::new(RefCell::new(gate)),
            metrics: Rc::new(RefCell::new(metrics)),
            resumed: Rc::default(),
        }
    }

    /// Hands an answer to the gate; the log tells changes, the counters everything.
    pub(crate) fn settle(&self, fetch: Fetch, answer: &Answer) {
        let Some(now) = now() else { return };
        let Some(report) = self.gate.borrow_mut().answered(fetch, answer, now) else { return };
        self.metrics.borrow_mut().count_fetch(&report);
        write(report.lines());
    }

    /// Hands the answer to a settlement to the gate; the log tells changes, the counters everything.
    pub(crate) fn settled(&self, settled: Settled) {
        let Some(now) = now() else { return };
        let Some(report) = self.gate.borrow_mut().settled(settled, now) else { return };
        self.metrics.borrow_mut().count_settlement(&report, now);
        write(report.lines());
    }

    /// Has the root called if a request has left something to settle.
    fn wake_to_settle(&self) {
        if self.gate.borrow().is_to_settle() {
            wake_root();
        }
    }

    /// Carries out a decision on the stream of the effective context, counts and records it.
    pub(crate) fn apply(&self, decided: Decided) -> Applied {
        self.recorded(outcome::apply(decided))
    }

    /// Refuses the request of the effective context because the host failed.
    pub(crate) fn fail(&self) -> Action {
        self.recorded(outcome::fail(Record::default())).action
    }

    fn recorded(&self, applied: Applied) -> Applied {
        let mut metrics = self.metrics.borrow_mut();
        metrics.count_request(applied.verdict, &applied.record);
        metrics.count_checks(&applied.record.checks);
        drop(metrics);
        outcome::record(applied.verdict, &applied.record);
        self.wake_to_settle();
        applied
    }

    /// Carries out a decision on a stream that waited. If the stream is gone, there is nobody to
    /// answer.
    pub(crate) fn resume(&self, stream: StreamId, decided: Decided) {
        if hostcalls::set_effective_context(stream).is_err() {
            return;
        }
        let Applied { action, identity, accounting, allowances, .. } = self.apply(decided);
        let resumed = Resumed { identity, accounting, allowances };
        self.resumed.borrow_mut().insert(stream, resumed);
        if action == Action::Continue {
            _ = hostcalls::resume_http_request();
        }
    }

    /// Returns what was done to a stream when it was resumed, once.
    pub(crate) fn resumed_with(&self, stream: StreamId) -> Option<Resumed> {
        self.resumed.borrow_mut().remove(&stream)
    }

    /// Closes the account of a stream that is over.
    pub(crate) fn close(&self, accounting: Accounting) {
        let Some(spent) = accounting.close(&mut self.metrics.borrow_mut()) else { return };
        let Some(now) = now() else { return };
        let evicted = self.gate.borrow().charge(&spent.charges, &spent.usage, spent.cost, now);
        self.metrics.borrow_mut().count_evicted(evicted);
        self.wake_to_settle();
    }

    /// Forgets a stream that is gone.
    pub(crate) fn forget(&self, stream: StreamId) {
        self.gate.borrow_mut().forget(stream);
        self.resumed.borrow_mut().remove(&stream);
    }

    /// Tells the gate and the operator that a backend rejected an identity token.
    pub(crate) fn report_rejection(&self, identity: IdentityIndex, said: &[u8]) {
        let Some(now) = now() else { return };
        let rejection = self.gate.borrow_mut().rejected_upstream(identity, said, now);
        let Some(rejection) = rejection else { return };
        self.metrics.borrow_mut().count_rejection(&rejection.identity);
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
