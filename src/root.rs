//! The root context: one configuration on one thread, and all calls that its gate makes.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use keyless_core::config::Config;
use keyless_core::gate::{Fetch, Wake};
use keyless_core::http::{self, Answer, Call, MAX_BODY};
use keyless_core::settle::{Settled, Settlement};
use log::error;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType, MapType};

use crate::plugin::Plugin;
use crate::stream::Stream;
use crate::{SHORTEST_TICK, now};

/// One configuration on one thread.
#[derive(Default)]
pub(crate) struct Root {
    /// What each call in flight is for, by the token that the host gave it.
    calls: HashMap<u32, Fetch>,
    /// The settlement in flight, by the token that the host gave it.
    settlement: Option<u32>,
    /// Absent until there is a valid configuration.
    plugin: Option<Plugin>,
}

/// The longest tick, in case the clock jumps.
const LONGEST_TICK: Duration = Duration::from_hours(1);

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _: usize) {
        let Some(fetch) = self.calls.remove(&token) else { return };
        if let Some(plugin) = self.plugin.clone() {
            plugin.settle(fetch, &answer(headers, body));
            self.drive(&plugin);
        }
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        if self.settlement != Some(token) {
            return;
        }
        self.settlement = None;
        let Some(plugin) = self.plugin.clone() else { return };
        plugin.settled(match status {
            0 => {
                let most = size.min(MAX_BODY);
                let message = hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, 0, most);
                Settled::Answered(message.ok().flatten().unwrap_or_default())
            }
            status => Settled::Failed(status),
        });
        self.drive(&plugin);
    }

    fn on_done(&mut self) -> bool {
        if let Some(plugin) = &self.plugin {
            plugin.gate.borrow().retire();
        }
        true
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        #[cfg(feature = "chaos")]
        if !crate::chaos::starts() {
            return false;
        }
        let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        match Config::parse(&bytes) {
            Ok(config) => {
                self.plugin = Some(Plugin::new(config));
                true
            }
            Err(errors) => {
                for error in errors.iter() {
                    error!("invalid configuration: {error}");
                }
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(plugin) = self.plugin.clone() {
            self.drive(&plugin);
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(id, self.plugin.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Root {
    /// Does all that is due: gives up lost calls, sends new ones, lets released streams go on.
    fn drive(&mut self, plugin: &Plugin) {
        let Some(now) = now() else { return };
        let lost = plugin.gate.borrow().lost(now);
        for fetch in lost {
            self.calls.retain(|_, other| *other != fetch);
            plugin.settle(fetch, &Answer::Lost);
        }
        let calls = plugin.gate.borrow_mut().calls(now);
        for (fetch, call) in calls {
            match dispatch(&call) {
                Some(token) => _ = self.calls.insert(token, fetch),
                None => plugin.settle(fetch, &Answer::Unsent),
            }
        }
        self.settle(plugin, now);
        let released = plugin.gate.borrow_mut().released(now);
        for (stream, decided) in released {
            plugin.resume(stream, decided);
        }
        Self::set_tick(plugin, now);
    }

    /// Settles with the other proxies of a fleet, if that is due.
    fn settle(&mut self, plugin: &Plugin, now: SystemTime) {
        let is_lost = plugin.gate.borrow().is_settlement_lost(now);
        if is_lost {
            self.settlement = None;
            plugin.settled(Settled::Lost);
        }
        let settlement = plugin.gate.borrow_mut().settlement(now);
        if let Some(settlement) = settlement {
            self.settlement = dispatch_settlement(&settlement);
            if self.settlement.is_none() {
                plugin.settled(Settled::Unsent);
            }
        }
    }

    fn set_tick(plugin: &Plugin, now: SystemTime) {
        let wake_at = plugin.gate.borrow().wake_at();
        _ = hostcalls::set_tick_period(match wake_at {
            Wake::At(time) => {
                let wait = time.duration_since(now).unwrap_or_default();
                wait.clamp(SHORTEST_TICK, LONGEST_TICK)
            }
            // Envoy takes zero for no tick at all.
            Wake::Never => Duration::ZERO,
            Wake::Now => SHORTEST_TICK,
        });
    }
}

/// Sends a settlement; the host refuses it if there is no such cluster.
fn dispatch_settlement(settlement: &Settlement) -> Option<u32> {
    let Settlement { target, message, timeout, .. } = settlement;
    let (service, method) = ("envoy.service.ratelimit.v3.RateLimitService", "ShouldRateLimit");
    hostcalls::dispatch_grpc_call(target, service, method, Vec::new(), Some(message), *timeout).ok()
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
    let retry_after = wait.ok().flatten().and_then(|value| http::retry_after(&value, now()?));
    let most = body.min(MAX_BODY.saturating_add(1));
    let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, most);
    Answer::Arrived { status, retry_after, body: body.ok().flatten().unwrap_or_default() }
}

/// Sends a call; the host refuses it if there is no such cluster, no healthy host in it, or no room.
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
