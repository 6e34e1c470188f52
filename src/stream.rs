//! The stream context: one request, from its head to the end of its answer.

use keyless_core::body;
use keyless_core::denial::Denial;
use keyless_core::exchange::{Admitted, Rejected, ResponseHead};
use keyless_core::gate::{Decided, Decision, Progress, StreamId};
use keyless_core::request::Head;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, MapType};

use crate::exchange::{EXCHANGE, EffectiveExchange, send};
use crate::plugin::Plugin;
use crate::{now, wake_root};

/// One request.
pub(crate) struct Stream {
    id: StreamId,
    plugin: Option<Plugin>,
    admitted: Admitted,
    /// It had to wait, and nobody has told it what was decided since.
    has_waited: bool,
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        if let Some(rejected) = self.admitted.rejected() {
            self.report(&rejected);
        }
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
            send(&Denial::GatewayError.reply());
            return Action::Pause;
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
        if action == Action::Continue {
            self.admitted.request_body(&EffectiveExchange { size }, end_of_stream);
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
        match &self.plugin {
            Some(plugin) if self.admitted.cuts_request() => plugin.fail(),
            Some(_) | None => action,
        }
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.adopt();
        match self.admitted.response_head(&EXCHANGE, end_of_stream) {
            ResponseHead::Passes => Action::Continue,
            ResponseHead::Replaced(rejected, reply) => {
                self.report(&rejected);
                send(&reply);
                Action::Pause
            }
        }
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let exchange = EffectiveExchange { size };
        if let Some(rejected) = self.admitted.response_body(&exchange, end_of_stream) {
            self.report(&rejected);
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.admitted.response_trailers();
        Action::Continue
    }

    fn on_log(&mut self) {
        self.adopt();
        if let (Some(used), Some(plugin)) = (self.admitted.close(&EXCHANGE), &self.plugin) {
            plugin.count(&used);
        }
    }
}

impl Stream {
    pub(crate) fn new(id: StreamId, plugin: Option<Plugin>) -> Self {
        Self { id, plugin, admitted: Admitted::default(), has_waited: false }
    }

    /// Carries out a decision on this stream.
    fn apply(&mut self, plugin: &Plugin, decided: Decided) -> Action {
        let (action, admitted) = plugin.apply(decided);
        self.admitted = admitted;
        action
    }

    /// Takes over what the root did to the request when it resumed it.
    fn adopt(&mut self) {
        if self.has_waited
            && let Some(plugin) = &self.plugin
            && let Some(admitted) = plugin.resumed_with(self.id)
        {
            self.admitted = admitted;
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

    /// Passes on what a backend has said of an identity that it rejected.
    fn report(&self, rejected: &Rejected) {
        if let Some(plugin) = &self.plugin {
            plugin.report_rejection(rejected);
        }
    }
}
