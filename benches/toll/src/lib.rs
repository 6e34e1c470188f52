//! A filter that calls one function of the host so many times for each request, and does nothing
//! else. Its configuration is the function's name and a number: `proxy_set_property 20`.

#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, reason = "the macro `main` writes a function without")]

use std::hint::black_box;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, MapType, MetricType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::<Root>::default());
}}

/// As long as an identity token.
const VALUE: [u8; 1500] = [b'v'; 1500];

/// What to call, and how often.
#[derive(Clone, Default)]
struct Root {
    call: String,
    times: usize,
    counter: u32,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((call, times)) = text.split_once(' ') else { return false };
        let counter = hostcalls::define_metric(MetricType::Counter, "toll");
        *self = Self {
            call: call.to_owned(),
            times: times.parse().unwrap_or_default(),
            counter: counter.unwrap_or_default(),
        };
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream(self.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream(Root);

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        for number in 0..self.0.times {
            self.0.call(number);
        }
        Action::Continue
    }
}

impl Root {
    fn call(&self, number: usize) {
        match self.call.as_str() {
            "proxy_get_header_map_pairs" => {
                _ = black_box(hostcalls::get_map_bytes(MapType::HttpRequestHeaders));
            }
            "proxy_get_current_time_nanoseconds" => _ = black_box(hostcalls::get_current_time()),
            "proxy_increment_metric" => _ = hostcalls::increment_metric(self.counter, 1),
            "proxy_replace_header_map_value" => {
                let (map, value) = (MapType::HttpRequestHeaders, Some(VALUE.as_slice()));
                // Like `authorization` one of those that Envoy finds without a search.
                _ = hostcalls::set_map_value_bytes(map, "user-agent", value);
            }
            "proxy_set_property" => {
                // Each one new, and as long as an object id.
                let name = format!("toll.{number}");
                _ = hostcalls::set_property(vec![name.as_str()], Some(&VALUE[..36]));
            }
            _ => {}
        }
    }
}
