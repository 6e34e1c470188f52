//! The request of the effective context and its answer, as the gate's decision is carried out on them.

use std::time::{Duration, UNIX_EPOCH};

use keyless_core::exchange::{Body, Exchange, REASON, Refused};
use keyless_core::http::Reply;
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, Status};

use crate::now;

/// The exchange of the effective context, while so many bytes of a body pass.
#[derive(Clone, Copy)]
pub(crate) struct EffectiveExchange {
    pub(crate) size: usize,
}

/// The exchange of the effective context, while no part of a body passes.
pub(crate) const EXCHANGE: EffectiveExchange = EffectiveExchange { size: 0 };

/// Sends a local reply.
pub(crate) fn send(reply: &Reply) {
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    _ = hostcalls::send_http_response(reply.status.into(), headers, Some(reply.body.as_bytes()));
}

impl Exchange for EffectiveExchange {
    fn remove_request_header(&self, name: &str) -> Result<(), Refused> {
        #[cfg(feature = "chaos")]
        if crate::chaos::keeps_headers() {
            return Err(Refused);
        }
        done(hostcalls::remove_map_value(MapType::HttpRequestHeaders, name))
    }

    fn set_request_header(&self, name: &str, value: &[u8]) -> Result<(), Refused> {
        done(hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value)))
    }

    fn clear_route_cache(&self, is_unchanged: bool) {
        if is_unchanged {
            _ = hostcalls::call_foreign_function("clear_route_cache", None);
        }
    }

    fn response_headers(&self) -> Vec<(String, Vec<u8>)> {
        hostcalls::get_map_bytes(MapType::HttpResponseHeaders).unwrap_or_default()
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name).ok().flatten()
    }

    fn remove_response_header(&self, name: &str) -> Result<(), Refused> {
        done(hostcalls::remove_map_value(MapType::HttpResponseHeaders, name))
    }

    fn set_response_header(&self, name: &str, value: &[u8]) -> Result<(), Refused> {
        done(hostcalls::set_map_value_bytes(MapType::HttpResponseHeaders, name, Some(value)))
    }

    fn is_from_upstream(&self) -> bool {
        property(&["response", "code_details"]).as_deref() == Some(b"via_upstream")
    }

    /// The end mostly comes by itself, without any bytes.
    fn part(&self, body: Body, most: usize) -> Vec<u8> {
        let most = most.min(self.size);
        let part = (most > 0).then(|| hostcalls::get_buffer(buffer(body), 0, most));
        part.and_then(Result::ok).flatten().unwrap_or_default()
    }

    fn replace_part(&self, body: Body, bytes: &[u8]) {
        _ = hostcalls::set_buffer(buffer(body), 0, self.size, bytes);
    }

    fn age(&self) -> Option<Duration> {
        let began = property(&["request", "time"])?;
        let began = Duration::from_nanos(began.try_into().map(u64::from_le_bytes).ok()?);
        now()?.duration_since(UNIX_EPOCH).ok()?.checked_sub(began)
    }

    fn was_sent(&self) -> bool {
        property(&["upstream", "address"]).is_some_and(|address| !address.is_empty())
    }

    fn request_size(&self) -> u64 {
        let size = property(&["request", "size"]);
        size.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    /// Envoy writes `wasm.` before what a module calls it.
    fn record(&self, name: &'static str, value: &str) {
        let name = name.strip_prefix("wasm.").unwrap_or(name);
        _ = hostcalls::set_property(vec![name], Some(value.as_bytes()));
    }

    fn record_reason(&self, reason: &'static str) {
        self.record(REASON, reason);
    }
}

fn done(result: Result<(), Status>) -> Result<(), Refused> {
    result.map_err(|_| Refused)
}

fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}

fn buffer(body: Body) -> BufferType {
    match body {
        Body::Request => BufferType::HttpRequestBody,
        Body::Response => BufferType::HttpResponseBody,
    }
}
