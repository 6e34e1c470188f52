//! What the threads of one configuration have in common.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::SystemTime;

use keyless_core::config::Config;
use keyless_core::exchange::Applied;
use keyless_core::gate::{Record, Report, RequestedFetch};
use keyless_core::http::Answer;
use keyless_core::settle::SettlementReport;

use crate::abi::{Level, OfThread, Part, Proxy, Stream, log, write};
use crate::bells::Bells;
use crate::fetcher::Fetcher;
use crate::lock;
use crate::metrics::Metrics;
use crate::worker;

/// What Envoy holds for one configuration. It ends with it; streams that outlive it keep the
/// [`Plugin`].
#[derive(Debug)]
pub(crate) struct Handle {
    plugin: Arc<Plugin>,
    fetcher: OfThread<RefCell<Fetcher>>,
    clock: Option<JoinHandle<()>>,
}

/// One configuration, for all threads.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// The configuration's text. Every thread parses it, and comes to the same.
    configuration: Vec<u8>,
    pub(crate) bells: Bells,
    pub(crate) metrics: Metrics,
    /// What workers want fetched, until the main thread takes it.
    requested: Mutex<Vec<RequestedFetch>>,
    /// Workers have left something to settle since the main thread last looked for it.
    is_to_settle: AtomicBool,
    /// What came of calls, until a stream comes by that can count it.
    reports: Mutex<Vec<CallReport>>,
    has_reports: AtomicBool,
    /// Envoy has let go of the configuration.
    is_over: AtomicBool,
}

/// What came of a call, or what else is counted where there is no stream.
#[derive(Debug)]
pub(crate) enum CallReport {
    /// A request is refused, because there is no gate for it.
    NoGate,
    Fetch(Report),
    /// A settlement, and when it ended.
    Settlement(SettlementReport, SystemTime),
}

/// More reports than this are not kept for a proxy that serves nobody.
const MAX_REPORTS: usize = 1024;

impl Handle {
    /// Takes a configuration, or says in the log what is wrong with it.
    pub(crate) fn new(proxy: &Proxy<'_>, configuration: Vec<u8>) -> Option<Self> {
        let config = parse(&configuration)?;
        let Ok(metrics) = Metrics::define(proxy) else {
            log(Level::Error, "Envoy does not define metrics");
            return None;
        };
        write(config.introduction(env!("CARGO_PKG_VERSION"), "native"));
        let plugin = Arc::new(Plugin {
            configuration,
            bells: Bells::new(proxy.bell()),
            metrics,
            requested: Mutex::default(),
            is_to_settle: AtomicBool::new(false),
            reports: Mutex::default(),
            has_reports: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let fetcher = OfThread::new(RefCell::new(Fetcher::new(config, &plugin)));
        let clock = std::thread::Builder::new().name("keyless-clock".to_owned());
        let bells = Arc::clone(&plugin);
        let clock = clock.spawn(move || bells.bells.run());
        match clock {
            Ok(clock) => Some(Self { plugin, fetcher, clock: Some(clock) }),
            Err(error) => {
                log(Level::Error, &format!("there is no thread for the clock: {error}"));
                None
            }
        }
    }

    pub(crate) fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Does on the main thread what is due.
    pub(crate) fn called(&self, proxy: &Proxy<'_>) {
        if let Some(fetcher) = self.fetcher.of_this_thread() {
            fetcher.borrow_mut().drive(proxy);
        }
    }

    /// Takes a part of the answer to a settlement.
    pub(crate) fn settlement_part(&self, proxy: &Proxy<'_>, call: u64, part: Part) {
        if let Some(fetcher) = self.fetcher.of_this_thread() {
            fetcher.borrow_mut().settlement_part(proxy, call, part);
        }
    }

    /// Takes the answer to a call.
    pub(crate) fn answered(&self, proxy: &Proxy<'_>, call: u64, answer: &Answer) {
        if let Some(fetcher) = self.fetcher.of_this_thread() {
            fetcher.borrow_mut().answered(proxy, call, answer);
        }
    }
}

impl Drop for Handle {
    /// Ends the clock before Envoy can unload this object.
    fn drop(&mut self) {
        self.plugin.is_over.store(true, Ordering::Release);
        worker::end_configuration();
        self.plugin.bells.end();
        if let Some(clock) = self.clock.take() {
            _ = clock.join();
        }
        if let Some(fetcher) = self.fetcher.of_this_thread() {
            fetcher.borrow().retire();
        }
    }
}

impl Plugin {
    /// Parses the configuration for another thread.
    pub(crate) fn config(&self) -> Option<Config> {
        parse(&self.configuration)
    }

    /// Returns true when Envoy has let go of the configuration, and only streams still use it.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Has the main thread fetch.
    pub(crate) fn want(&self, requested: Vec<RequestedFetch>) {
        if !requested.is_empty() {
            lock(&self.requested).extend(requested);
            self.bells.ring_main();
        }
    }

    /// Takes what the workers want.
    pub(crate) fn requested(&self) -> Vec<RequestedFetch> {
        std::mem::take(&mut *lock(&self.requested))
    }

    /// Has the main thread settle. It is called once until it looks, however many requests come.
    pub(crate) fn settle(&self) {
        if !self.is_to_settle.load(Ordering::Acquire)
            && !self.is_to_settle.swap(true, Ordering::AcqRel)
        {
            self.bells.ring_main();
        }
    }

    /// Returns true once if workers have left something to settle.
    pub(crate) fn takes_settlement(&self) -> bool {
        self.is_to_settle.swap(false, Ordering::AcqRel)
    }

    /// Takes what came of a call; the log tells changes, the counters everything.
    pub(crate) fn report(&self, report: CallReport) {
        write(match &report {
            CallReport::NoGate => Vec::new(),
            CallReport::Fetch(report) => report.lines(),
            CallReport::Settlement(report, _) => report.lines(),
        });
        let mut reports = lock(&self.reports);
        if reports.len() < MAX_REPORTS {
            reports.push(report);
        }
        self.has_reports.store(true, Ordering::Release);
    }

    /// Counts a request that has failed here, as one that is refused.
    pub(crate) fn count_failed(&self, stream: &Stream<'_>) {
        let Applied { verdict, record, .. } = Applied::failed(Record::default());
        record.count(verdict, &mut self.metrics.with(stream));
    }

    /// Counts what came of calls: Envoy 1.38 counts only where there is a stream.
    pub(crate) fn count_reports(&self, stream: &Stream<'_>) {
        if self.has_reports.load(Ordering::Relaxed)
            && self.has_reports.swap(false, Ordering::AcqRel)
        {
            let reports = std::mem::take(&mut *lock(&self.reports));
            let mut meter = self.metrics.with(stream);
            for report in &reports {
                match report {
                    CallReport::NoGate => self.count_failed(stream),
                    CallReport::Fetch(report) => report.count(&mut meter),
                    CallReport::Settlement(report, at) => report.count(&mut meter, *at),
                }
            }
        }
    }
}

/// Parses a configuration; what is wrong with it is in the log.
fn parse(configuration: &[u8]) -> Option<Config> {
    let errors = match Config::parse(configuration) {
        Ok(config) => return Some(config),
        Err(errors) => errors,
    };
    for error in errors.iter() {
        log(Level::Error, &format!("invalid configuration: {error}"));
    }
    None
}
