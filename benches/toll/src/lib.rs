//! A filter that calls functions of the host for each request and does nothing else.
//!
//! Its configuration names them, one a line, each with how often it is called:
//! `proxy_set_property 20`. `verify_signature` verifies the bearer token of the request with RS256;
//! its line ends with the public key, as SPKI in base64, and a forged token is answered with 401.

#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, reason = "the macro `main` writes a function without")]

use std::hint::black_box;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, Bytes, ContextType, MapType, MetricType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::<Root>::default());
}}

/// As long as an identity token.
const VALUE: [u8; 1500] = [b'v'; 1500];

/// What is called for each request.
#[derive(Clone, Default)]
struct Root {
    calls: Rc<[Call]>,
    counter: u32,
}

/// A function of the host, and how often it is called.
struct Call {
    name: String,
    times: usize,
    key: Vec<u8>,
}

/// Envoy's `VerifySignatureArguments`.
#[derive(Message)]
struct Arguments {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        let calls = String::from_utf8_lossy(&bytes).lines().map(Call::parse).collect();
        let counter = hostcalls::define_metric(MetricType::Counter, "toll").unwrap_or_default();
        let Some(calls) = calls else { return false };
        *self = Self { calls, counter };
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
        let mut pairs = Vec::new();
        for call in &*self.0.calls {
            for number in 0..call.times {
                match call.name.as_str() {
                    "proxy_get_header_map_pairs" => pairs = request_headers(),
                    "verify_signature" if !verify(&pairs, &call.key) => {
                        _ = hostcalls::send_http_response(401, Vec::new(), None);
                        return Action::Pause;
                    }
                    name => self.0.request(name, number),
                }
            }
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        for call in &*self.0.calls {
            if call.name == "proxy_get_header_map_value" {
                for _ in 0..call.times {
                    let map = MapType::HttpResponseHeaders;
                    _ = black_box(hostcalls::get_map_value_bytes(map, ":status"));
                }
            }
        }
        Action::Continue
    }
}

impl Call {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, times) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let key = STANDARD.decode(words.next().unwrap_or_default()).ok()?;
        Some(Self { name, times, key })
    }
}

impl Root {
    fn request(&self, name: &str, number: usize) {
        match name {
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

/// Returns all headers.
fn request_headers() -> Vec<(String, Bytes)> {
    black_box(hostcalls::get_map_bytes(MapType::HttpRequestHeaders)).unwrap_or_default()
}

/// Has the host verify the bearer token among the headers; `result` is the answer's only member.
fn verify(pairs: &[(String, Bytes)], key: &[u8]) -> bool {
    let Some(arguments) = arguments(pairs, key) else { return false };
    let message = arguments.encode_to_vec();
    let answer = hostcalls::call_foreign_function("verify_signature", Some(&message));
    answer.is_ok_and(|answer| answer.as_deref() == Some(&[0x08, 0x01]))
}

fn arguments(pairs: &[(String, Bytes)], key: &[u8]) -> Option<Arguments> {
    let (_, value) = pairs.iter().find(|(name, _)| name == "authorization")?;
    let token = value.strip_prefix(b"Bearer ")?;
    let dot = token.iter().rposition(|&byte| byte == b'.')?;
    let (text, signature) = token.split_at(dot);
    Some(Arguments {
        hash_function: "sha256".to_owned(),
        public_key: key.to_vec(),
        signature: URL_SAFE_NO_PAD.decode(&signature[1..]).ok()?,
        text: text.to_vec(),
    })
}
