//! Translates between proxy-wasm's callbacks and the gate; it decides nothing.
//!
//! The root context owns every call: the SDK would drop an answer whose stream is gone
//! (proxy-wasm/proxy-wasm-rust-sdk#385). A stream that must wait pauses and shortens the root's
//! tick; the root sends the calls and resumes the streams that its gate releases.

// Envoy is the only caller; elsewhere the crate is empty, and the tests link `keyless-core`.
#![cfg(target_arch = "wasm32")]
#![expect(missing_docs, reason = "`proxy_wasm::main` makes a public function without any")]

#[cfg(feature = "chaos")]
mod chaos;
mod crypto;
mod metrics;
mod notes;
mod rejected;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use keyless_core::body;
use keyless_core::config::Config;
use keyless_core::gate::{
    Fetch, Forward, Gate, Progress, Record, Refusal, Rejection, Ruling, StreamId, Verdict,
};
use keyless_core::http::{self, Answer, Call, MAX_BODY, Reply};
use keyless_core::lease::SharedData;
use keyless_core::request::Head;
use keyless_core::signature::{Crypto, Sandbox};
use log::{error, info, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel, MapType};

use crypto::Host;
use metrics::Metrics;
use notes::Notes;
use rejected::Rejected;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// One configuration on one thread.
#[derive(Default)]
struct Root {
    calls: HashMap<u32, Fetch>,
    shared: Option<Shared>,
}

/// What the root and its streams share; streams that outlive a configuration keep theirs.
#[derive(Clone)]
struct Shared {
    gate: Rc<RefCell<Gate>>,
    metrics: Rc<RefCell<Metrics>>,
}

/// One request.
struct Stream {
    id: StreamId,
    shared: Option<Shared>,
    /// The answer, if it is that of a backend which refused the identity token.
    rejected: Option<Rejected>,
}

/// How soon the root looks after a stream that waits; the least that Envoy knows.
const AT_ONCE: Duration = Duration::from_millis(1);

/// The longest tick, in case the clock jumps.
const LONGEST_TICK: Duration = Duration::from_hours(1);

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _: usize) {
        let Some(fetch) = self.calls.remove(&token) else { return };
        if let Some(shared) = self.shared.clone() {
            shared.settle(fetch, &answer(headers, body));
            self.drive(&shared);
        }
    }

    fn on_done(&mut self) -> bool {
        if let Some(shared) = &self.shared {
            shared.gate.borrow().retire();
        }
        true
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        #[cfg(feature = "chaos")]
        if !chaos::starts() {
            return false;
        }
        let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        match Config::parse(&bytes) {
            Ok(config) => {
                self.shared = Some(Shared::new(config));
                true
            }
            Err(error) => {
                error!("the configuration is refused: {error}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(shared) = self.shared.clone() {
            self.drive(&shared);
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { id, shared: self.shared.clone(), rejected: None }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Root {
    /// Does all that is due: gives up lost calls, sends new ones, lets released streams go on.
    fn drive(&mut self, shared: &Shared) {
        let now = now();
        let lost = shared.gate.borrow().lost(now);
        for fetch in lost {
            self.calls.retain(|_, other| *other != fetch);
            shared.settle(fetch, &Answer::Lost);
        }
        let calls = shared.gate.borrow_mut().calls(now);
        for (fetch, call) in calls {
            match dispatch(&call) {
                Some(token) => _ = self.calls.insert(token, fetch),
                None => shared.settle(fetch, &Answer::Unsent),
            }
        }
        let released = shared.gate.borrow_mut().released(now);
        for (stream, ruling) in released {
            // It fails if the stream is gone, and then there is nobody to answer.
            if hostcalls::set_effective_context(stream).is_ok()
                && shared.apply(ruling) == Action::Continue
            {
                _ = hostcalls::resume_http_request();
            }
        }
        let wake_at = shared.gate.borrow().wake_at();
        let wait = wake_at.map(|time| time.duration_since(now).unwrap_or_default());
        let tick = wait.map_or(Duration::ZERO, |wait| wait.clamp(AT_ONCE, LONGEST_TICK));
        _ = hostcalls::set_tick_period(tick);
    }
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        self.tell_refusal();
        if let Some(shared) = &self.shared {
            shared.gate.borrow_mut().forget(self.id);
        }
        true
    }
}

impl HttpContext for Stream {
    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let Some(shared) = &self.shared else { return Action::Continue };
        if !is_refused_by_backend() {
            return Action::Continue;
        }
        let (route, reason) = (text_of("keyless.route"), text_of("keyless.reason"));
        let (Some(route), Some(reason)) = (route, reason) else { return Action::Continue };
        let rejection = shared.gate.borrow().rejection(&route, &reason);
        let Some(Rejection { reply, reason }) = rejection else { return Action::Continue };
        _ = hostcalls::set_property(vec!["keyless.reason"], Some(reason.as_bytes()));
        if end_of_stream {
            shared.tell_refusal(&route, &[]);
            return send(&reply);
        }
        self.rejected = Some(Rejected::begin(route, reply));
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if let Some(rejected) = &mut self.rejected
            && (rejected.exchange(size) || end_of_stream)
        {
            self.tell_refusal();
        }
        Action::Continue
    }

    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let Some(shared) = &self.shared else {
            // Envoy serves nobody with a plugin that refused its configuration.
            _ = hostcalls::send_http_response(503, Vec::new(), None);
            return Action::Pause;
        };
        let pairs = hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap_or_default();
        #[cfg(feature = "chaos")]
        chaos::obey(&pairs);
        let head = Head::new(pairs);
        let head = if end_of_stream { head.without_body() } else { head };
        let ruling = shared.gate.borrow_mut().admit(self.id, head, now());
        if let Some(ruling) = ruling {
            shared.apply(ruling)
        } else {
            _ = hostcalls::set_tick_period(AT_ONCE);
            Action::Pause
        }
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if let Some(shared) = &self.shared {
            for name in shared.gate.borrow().stripped() {
                _ = hostcalls::remove_map_value(MapType::HttpRequestTrailers, name.as_str());
            }
        }
        self.proceed(true)
    }

    fn on_http_request_body(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.proceed(end_of_stream)
    }
}

impl Stream {
    /// Asks what to do with a part of the body; unless Envoy is told to show bodies while it holds
    /// the head (`allow_on_headers_stop_iteration`), only parts of admitted requests come.
    fn proceed(&self, is_last: bool) -> Action {
        let Some(shared) = &self.shared else { return Action::Pause };
        let read = || {
            let most = body::MAX_BODY.saturating_add(1);
            let body = hostcalls::get_buffer(BufferType::HttpRequestBody, 0, most);
            body.ok().flatten().unwrap_or_default()
        };
        let progress = shared.gate.borrow_mut().body(self.id, is_last, read, now());
        match progress {
            Progress::Free => Action::Continue,
            Progress::Held => {
                _ = hostcalls::set_tick_period(AT_ONCE);
                Action::Pause
            }
            Progress::Ruled(ruling) => shared.apply(ruling),
        }
    }

    /// Passes on what the backend has said, once.
    fn tell_refusal(&mut self) {
        if let (Some(shared), Some(rejected)) = (&self.shared, &mut self.rejected)
            && let Some(route) = rejected.route.take()
        {
            shared.tell_refusal(&route, &rejected.said);
        }
    }
}

impl Shared {
    fn new(config: Config) -> Self {
        let mut metrics = Metrics::default();
        let host = Host::offered();
        let version = env!("CARGO_PKG_VERSION");
        let verifier = if host.is_some() { "the host" } else { "the sandbox" };
        let (issuers, routes) = (config.issuers.len(), config.routes.len());
        info!("keyless {version}: issuers {issuers}, routes {routes}, signatures by {verifier}");
        if config.report_only {
            warn!("report_only: callers are not refused for their faults, which are only recorded");
        }
        metrics.gauge("keyless_host_crypto", u64::from(host.is_some()));
        let crypto: Box<dyn Crypto> = match host {
            Some(host) => Box::new(host),
            None => Box::new(Sandbox),
        };
        let shared: Rc<dyn SharedData> = Rc::new(Notes::of_this_vm());
        let gate = Rc::new(RefCell::new(Gate::new(config, crypto, variable, &shared)));
        Self { gate, metrics: Rc::new(RefCell::new(metrics)) }
    }

    /// Hands an answer to the gate; the log tells changes, the counters everything.
    fn settle(&self, fetch: Fetch, answer: &Answer) {
        let Some(report) = self.gate.borrow_mut().answered(fetch, answer, now()) else { return };
        self.metrics.borrow_mut().count_fetch(&report);
        let (kind, name) = (report.kind, &report.name);
        match &report.result {
            Ok(()) if report.is_news => info!("{kind} {name}: fetched"),
            Err(error) if report.is_news => warn!("{kind} {name}: the fetch failed: {error}"),
            Ok(()) | Err(_) => {}
        }
    }

    /// Tells the gate and the operator that a backend refused the identity token.
    fn tell_refusal(&self, route: &str, said: &[u8]) {
        let Some(refusal) = self.gate.borrow_mut().rejected(route, said, now()) else { return };
        let Refusal { identity, explanation, is_news } = refusal;
        self.metrics.borrow_mut().count_rejection(&identity);
        if is_news {
            let explanation = explanation.unwrap_or_else(|| "it does not say why".to_owned());
            warn!("identity {identity}: a backend refused the token: {explanation}");
        }
        _ = hostcalls::set_tick_period(AT_ONCE);
    }

    /// Carries out a ruling on the stream of the effective context.
    fn apply(&self, ruling: Ruling) -> Action {
        let verdict = ruling.verdict.word();
        self.metrics.borrow_mut().count_request(verdict, &ruling.record);
        record(verdict, &ruling.record);
        match ruling.verdict {
            Verdict::Answer(reply) => {
                // A probe may have found that something is to be fetched.
                _ = hostcalls::set_tick_period(AT_ONCE);
                send(&reply)
            }
            Verdict::Deny(reply) => send(&reply),
            Verdict::Forward(forward) => edit(&forward),
        }
    }
}

/// Returns true if the backend, and no filter in its place, answered 401.
fn is_refused_by_backend() -> bool {
    let status = hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, ":status");
    let details = || hostcalls::get_property(vec!["response", "code_details"]);
    status.is_ok_and(|status| status.as_deref() == Some(b"401"))
        && details().is_ok_and(|details| details.as_deref() == Some(b"via_upstream"))
}

/// Reads back what [`record`] wrote.
fn text_of(name: &str) -> Option<String> {
    String::from_utf8(hostcalls::get_property(vec![name]).ok()??).ok()
}

/// Reads an environment variable of the VM, which are fixed when it is made.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

fn now() -> SystemTime {
    hostcalls::get_current_time().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Reads the answer to a call; the headers are missing if the stream was reset.
fn answer(headers: usize, body: usize) -> Answer {
    if headers == 0 {
        return Answer::Broken;
    }
    let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status");
    let status = status.ok().flatten().and_then(|bytes| str::from_utf8(&bytes).ok()?.parse().ok());
    let Some(status) = status else { return Answer::Broken };
    let wait = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, "retry-after");
    let retry_after = wait.ok().flatten().and_then(|value| http::retry_after(&value, now()));
    let most = body.min(MAX_BODY.saturating_add(1));
    let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, most);
    Answer::Arrived { status, retry_after, body: body.ok().flatten().unwrap_or_default() }
}

fn dispatch(call: &Call) -> Option<u32> {
    let mut headers = vec![
        (":method", call.method),
        (":authority", call.authority.as_str()),
        (":path", call.path.as_str()),
    ];
    headers.extend(call.headers.iter().map(|(name, value)| (*name, value.expose())));
    let body = call.body.as_ref().map(|body| body.expose().as_bytes());
    hostcalls::dispatch_http_call(&call.cluster, headers, body, Vec::new(), call.timeout).ok()
}

/// Writes what operators see to filter state, as `wasm.keyless.…`.
fn record(verdict: &str, record: &Record) {
    let state = [
        ("keyless.verdict", Some(verdict)),
        ("keyless.reason", Some(record.reason)),
        ("keyless.issuer", record.issuer.as_deref()),
        ("keyless.client", record.client()),
        ("keyless.subject", record.subject()),
        ("keyless.route", record.route.as_deref()),
        ("keyless.deployment", record.deployment.as_deref()),
    ];
    for (name, value) in state {
        if let Some(value) = value {
            _ = hostcalls::set_property(vec![name], Some(value.as_bytes()));
        }
    }
}

fn send(reply: &Reply) -> Action {
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    _ = hostcalls::send_http_response(reply.status.into(), headers, Some(reply.body.as_bytes()));
    Action::Pause
}

fn edit(forward: &Forward) -> Action {
    let set = |name: &str, value: &[u8]| {
        _ = hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value));
    };
    if let Some(target) = &forward.target {
        set(":path", target);
    }
    for name in &forward.remove {
        _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name.as_str());
    }
    for (name, value) in &forward.set {
        set(name.as_str(), value.expose().as_bytes());
    }
    if forward.is_unchanged() {
        // Each change has Envoy look for the route anew, which may depend on the verdict.
        _ = hostcalls::call_foreign_function("clear_route_cache", None);
    }
    Action::Continue
}
