//! The stream context: one request, from its head to the end of its answer.

use keyless_core::body;
use keyless_core::denial::Denial;
use keyless_core::gate::{Decided, Decision, Progress, StreamId};
use keyless_core::identity::IdentityIndex;
use keyless_core::limit::Allowance;
use keyless_core::request::Head;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, MapType};

use crate::accounting::Accounting;
use crate::outcome;
use crate::plugin::Plugin;
use crate::upstream_rejection::ReplacedAnswer;
use crate::{now, wake_root};

/// One request.
pub(crate) struct Stream {
    id: StreamId,
    plugin: Option<Plugin>,
    /// The identity whose token the request carries.
    identity: Option<IdentityIndex>,
    /// The account of its answer, if that is counted.
    accounting: Option<Accounting>,
    /// What is left of limits, for the head of the answer.
    allowances: Vec<Allowance>,
    /// It had to wait, and nobody has told it what was decided since.
    has_waited: bool,
    /// The answer, if it is that of a backend which rejected the identity token.
    replaced: Option<ReplacedAnswer>,
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        self.report_rejection();
        if let Some(plugin) = self.plugin.as_ref().filter(|_| self.has_waited) {
            plugin.forget(self.id);
        }
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let Some(plugin) = self.plugin.clone() else {
            // Envoy serves nobody with a plugin that refused its configuration.
            return outcome::send(&Denial::GatewayError.reply());
        };
        let pairs = hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap_or_default();
        #[cfg(feature = "chaos")]
        crate::chaos::obey(&pairs);
        let head = Head::new(pairs);
        let head = if end_of_stream { head.without_body() } else { head };
        let Some(now) = now() else { return plugin.fail() };
        let decided = plugin.gate.borrow_mut().admit(self.id, head, now);
        if let Decision::Wait(_) = decided.decision {
            self.has_waited = true;
            wake_root();
            return Action::Pause;
        }
        self.apply(&plugin, decided)
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let action = self.proceed(end_of_stream);
        self.adopt();
        if let Some(accounting) = self.accounting.as_mut().filter(|_| action == Action::Continue) {
            accounting.request_body(size, end_of_stream);
        }
        action
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if let Some(plugin) = &self.plugin {
            let Ok(trailers) = hostcalls::get_map_bytes(MapType::HttpRequestTrailers) else {
                return plugin.fail();
            };
            for (name, _) in trailers {
                if plugin.gate.borrow().strips_trailer(&name)
                    && hostcalls::remove_map_value(MapType::HttpRequestTrailers, &name).is_err()
                {
                    return plugin.fail();
                }
            }
        }
        let action = self.proceed(true);
        self.adopt();
        let is_cut = self.accounting.as_ref().is_some_and(Accounting::cuts_request);
        match &self.plugin {
            Some(plugin) if is_cut => plugin.fail(),
            Some(_) | None => action,
        }
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.adopt();
        self.tell_allowances();
        if self.identity.is_none() && self.accounting.is_none() {
            return Action::Continue;
        }
        let status = hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, ":status");
        let status = status.ok().flatten();
        if let Some(accounting) = &mut self.accounting {
            accounting.response_head(status.as_deref(), end_of_stream);
        }
        let (Some(plugin), Some(identity)) = (&self.plugin, self.identity) else {
            return Action::Continue;
        };
        if status.as_deref() != Some(b"401") || !is_from_upstream() {
            return Action::Continue;
        }
        let denial = Denial::IdentityRejected;
        _ = hostcalls::set_property(vec!["keyless.reason"], Some(denial.code().as_bytes()));
        if end_of_stream {
            plugin.report_rejection(identity, &[]);
            return outcome::send(&denial.reply());
        }
        self.replaced = Some(ReplacedAnswer::begin(identity, denial.reply()));
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if let Some(accounting) = &mut self.accounting {
            accounting.response_body(size, end_of_stream);
        }
        if let Some(replaced) = &mut self.replaced
            && (replaced.replace(size) || end_of_stream)
        {
            self.report_rejection();
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let Some(accounting) = &mut self.accounting {
            accounting.response_trailers();
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        self.adopt();
        if let (Some(accounting), Some(plugin)) = (self.accounting.take(), &self.plugin) {
            plugin.close(accounting);
        }
    }
}

impl Stream {
    pub(crate) fn new(id: StreamId, plugin: Option<Plugin>) -> Self {
        let (identity, accounting, replaced) = (None, None, None);
        let allowances = Vec::new();
        Self { id, plugin, identity, accounting, allowances, has_waited: false, replaced }
    }

    /// Carries out a decision on this stream.
    fn apply(&mut self, plugin: &Plugin, decided: Decided) -> Action {
        let applied = plugin.apply(decided);
        (self.identity, self.accounting) = (applied.identity, applied.accounting);
        self.allowances = applied.allowances;
        applied.action
    }

    /// Tells the caller what is left, in place of what the backend says of all callers together.
    fn tell_allowances(&mut self) {
        for (name, value) in self.allowances.drain(..).flat_map(|allowance| allowance.headers()) {
            let value = Some(value.as_bytes());
            _ = hostcalls::set_map_value_bytes(MapType::HttpResponseHeaders, name, value);
        }
    }

    /// Takes over what the root did to the request when it resumed it.
    fn adopt(&mut self) {
        if self.has_waited
            && let Some(plugin) = &self.plugin
            && let Some(resumed) = plugin.resumed_with(self.id)
        {
            (self.identity, self.accounting) = (resumed.identity, resumed.accounting);
            self.allowances = resumed.allowances;
        }
    }

    /// Asks what to do with a part of the body; unless Envoy is told to show bodies while it holds
    /// the head (`allow_on_headers_stop_iteration`), only parts of admitted requests come. Where the
    /// head was decided at once, there is nothing to ask.
    fn proceed(&mut self, is_last: bool) -> Action {
        let Some(plugin) = &self.plugin else { return Action::Pause };
        if !self.has_waited {
            return Action::Continue;
        }
        let read = || {
            let most = body::MAX_BODY.saturating_add(1);
            let body = hostcalls::get_buffer(BufferType::HttpRequestBody, 0, most);
            body.ok().flatten().unwrap_or_default()
        };
        let Some(now) = now() else { return plugin.fail() };
        let progress = plugin.gate.borrow_mut().body(self.id, is_last, read, now);
        match progress {
            Progress::Decided(decided) => {
                let plugin = plugin.clone();
                self.has_waited = false;
                self.apply(&plugin, *decided)
            }
            Progress::Free => Action::Continue,
            Progress::Held => {
                wake_root();
                Action::Pause
            }
        }
    }

    /// Passes on what the backend has said, once.
    fn report_rejection(&mut self) {
        if let (Some(plugin), Some(replaced)) = (&self.plugin, &mut self.replaced)
            && let Some(identity) = replaced.identity.take()
        {
            plugin.report_rejection(identity, &replaced.said);
        }
    }
}

/// Returns true if the backend, and no filter in its place, answered.
fn is_from_upstream() -> bool {
    let details = hostcalls::get_property(vec!["response", "code_details"]);
    details.is_ok_and(|details| details.as_deref() == Some(b"via_upstream"))
}
