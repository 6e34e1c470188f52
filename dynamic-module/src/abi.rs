//! Envoy's ABI of dynamic modules: the functions that it exports, safe types around its pointers, and
//! in [`hooks`] the functions that it calls. No other file has `unsafe`.
//!
//! The facts are those of `source/extensions/dynamic_modules/abi/abi.h` in Envoy 1.38 to 1.40. An
//! object that says the oldest version is loaded by all of them.

#![allow(unsafe_code, reason = "the one place where memory of Envoy's is touched")]

pub(crate) mod hooks;

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;
use std::thread::{self, ThreadId};
use std::time::Duration;

use keyless_core::exchange::Refused;
use keyless_core::http::{Answer, Call, MAX_BODY, Reply, retry_after};
use keyless_core::log;
use keyless_core::settle::Settlement;
use keyless_core::usage::Reader;

use crate::now;

/// Bytes of Envoy's or of ours.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    start: *const u8,
    length: usize,
}

/// A header of Envoy's or of ours.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Header {
    name: Buffer,
    value: Buffer,
}

unsafe extern "C" {
    fn envoy_dynamic_module_callback_log(level: u32, message: Buffer);
    fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;
    fn envoy_dynamic_module_callback_http_get_header(
        stream: *mut c_void,
        map: u32,
        name: Buffer,
        value: *mut Buffer,
        index: usize,
        count: *mut usize,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_headers_size(stream: *mut c_void, map: u32) -> usize;
    fn envoy_dynamic_module_callback_http_get_headers(
        stream: *mut c_void,
        map: u32,
        headers: *mut Header,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_header(
        stream: *mut c_void,
        map: u32,
        name: Buffer,
        value: Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_send_response(
        stream: *mut c_void,
        status: u32,
        headers: *mut Header,
        count: usize,
        body: Buffer,
        details: Buffer,
    );
    fn envoy_dynamic_module_callback_http_get_body_size(stream: *mut c_void, body: u32) -> usize;
    fn envoy_dynamic_module_callback_http_get_body_chunks_size(
        stream: *mut c_void,
        body: u32,
    ) -> usize;
    fn envoy_dynamic_module_callback_http_get_body_chunks(
        stream: *mut c_void,
        body: u32,
        chunks: *mut Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_append_body(
        stream: *mut c_void,
        body: u32,
        bytes: Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_drain_body(
        stream: *mut c_void,
        body: u32,
        count: usize,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_received_buffered_request_body(
        stream: *mut c_void,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        stream: *mut c_void,
        key: Buffer,
        value: Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        stream: *mut c_void,
        attribute: u32,
        value: *mut Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        stream: *mut c_void,
        counter: usize,
        labels: *mut Buffer,
        count: usize,
        by: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_set_gauge(
        stream: *mut c_void,
        gauge: usize,
        labels: *mut Buffer,
        count: usize,
        value: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_clear_route_cache(stream: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_continue_decoding(stream: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_scheduler_new(stream: *mut c_void) -> *mut c_void;
    fn envoy_dynamic_module_callback_http_filter_scheduler_commit(bell: *mut c_void, event: u64);
    fn envoy_dynamic_module_callback_http_filter_scheduler_delete(bell: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        proxy: *mut c_void,
        name: Buffer,
        labels: *mut Buffer,
        count: usize,
        counter: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        proxy: *mut c_void,
        name: Buffer,
        labels: *mut Buffer,
        count: usize,
        gauge: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
        proxy: *mut c_void,
    ) -> *mut c_void;
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
        bell: *mut c_void,
        event: u64,
    );
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(bell: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_config_http_callout(
        proxy: *mut c_void,
        id: *mut u64,
        cluster: Buffer,
        headers: *mut Header,
        count: usize,
        body: Buffer,
        milliseconds: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_start_http_stream(
        proxy: *mut c_void,
        id: *mut u64,
        cluster: Buffer,
        headers: *mut Header,
        count: usize,
        body: Buffer,
        is_last: bool,
        milliseconds: u64,
    ) -> u32;
}

/// Levels of Envoy's log, under the name `dynamic_modules`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// The maps of headers of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
}

/// The bodies of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// The part of the request's body that has just come.
    Request = 0,
    /// What Envoy holds of the request's body.
    HeldRequest = 1,
    /// The part of the answer's body that has just come.
    Response = 2,
}

/// What Envoy knows of a stream, of all that the ABI numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attribute {
    ResponseCodeDetails = 16,
    UpstreamAddress = 41,
}

/// One stream, for as long as Envoy calls one of its hooks.
#[derive(Debug)]
pub(crate) struct Stream<'hook> {
    envoy: *mut c_void,
    hook: PhantomData<&'hook ()>,
}

/// One configuration on Envoy's main thread, for as long as Envoy calls one of its hooks.
#[derive(Debug)]
pub(crate) struct Proxy<'hook> {
    envoy: *mut c_void,
    hook: PhantomData<&'hook ()>,
}

/// Calls a stream on its own worker, from any thread. A stream that is gone is not called.
#[derive(Debug)]
pub(crate) struct StreamBell(*mut c_void);

/// Calls a configuration on Envoy's main thread, from any thread. One that is gone is not called.
#[derive(Debug)]
pub(crate) struct MainBell(*mut c_void);

/// The number of a counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter(usize);

/// The number of a gauge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauge(usize);

/// Keeps a value to the thread that made it.
#[derive(Debug)]
pub(crate) struct OfThread<T> {
    value: T,
    thread: ThreadId,
}

/// What comes of a call whose answer is taken part by part.
#[derive(Debug)]
pub(crate) enum Part {
    /// The headers `:status` and `grpc-status`.
    Headers(Option<Vec<u8>>, Option<Vec<u8>>),
    Data(Vec<u8>),
    /// The trailer `grpc-status`.
    Trailers(Option<Vec<u8>>),
    /// That was all.
    End,
    /// It broke off.
    Reset,
}

/// The call is on its way, or the metric is there.
const SUCCESS: u32 = 0;

/// The response details of local replies, as the access log shows them.
const DETAILS: &[u8] = b"keyless";

impl Buffer {
    const NONE: Self = Self { start: ptr::null(), length: 0 };

    fn of(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }

    fn copy(self) -> Vec<u8> {
        if self.start.is_null() || self.length == 0 {
            return Vec::new();
        }
        // SAFETY: Envoy gives bytes that live until its hook ends or the map is changed, and all
        // callers copy them at once.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }.to_vec()
    }
}

impl Header {
    fn of((name, value): (&str, &str)) -> Self {
        Self { name: Buffer::of(name.as_bytes()), value: Buffer::of(value.as_bytes()) }
    }
}

/// Writes lines to Envoy's log.
pub(crate) fn write(lines: impl IntoIterator<Item = log::Line>) {
    for log::Line { level, text } in lines {
        let level = match level {
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
        };
        log(level, &text);
    }
}

/// Writes a line to Envoy's log.
pub(crate) fn log(level: Level, line: &str) {
    // SAFETY: it takes a number.
    if unsafe { envoy_dynamic_module_callback_log_enabled(level as u32) } {
        // SAFETY: Envoy copies the line before it returns.
        unsafe { envoy_dynamic_module_callback_log(level as u32, Buffer::of(line.as_bytes())) }
    }
}

impl Stream<'_> {
    /// Returns the first value of a header.
    pub(crate) fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        let mut value = Buffer::NONE;
        let name = Buffer::of(name.as_bytes());
        // SAFETY: the stream lives while its hook is called; the count may be null.
        let is_there = unsafe {
            envoy_dynamic_module_callback_http_get_header(
                self.envoy,
                map as u32,
                name,
                &raw mut value,
                0,
                ptr::null_mut(),
            )
        };
        is_there.then(|| value.copy())
    }

    /// Returns all headers of a map.
    pub(crate) fn headers(&self, map: Map) -> Vec<(String, Vec<u8>)> {
        // SAFETY: the stream lives while its hook is called.
        let count =
            unsafe { envoy_dynamic_module_callback_http_get_headers_size(self.envoy, map as u32) };
        let mut headers = vec![Header { name: Buffer::NONE, value: Buffer::NONE }; count];
        // SAFETY: there is room for as many as Envoy has just said there are.
        let are_there = unsafe {
            envoy_dynamic_module_callback_http_get_headers(
                self.envoy,
                map as u32,
                headers.as_mut_ptr(),
            )
        };
        if !are_there {
            return Vec::new();
        }
        let text = |name: Buffer| {
            String::from_utf8(name.copy())
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        };
        headers.into_iter().map(|header| (text(header.name), header.value.copy())).collect()
    }

    /// Sets a header, in place of all of that name.
    pub(crate) fn set(&self, map: Map, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.put(map, name, Buffer::of(value))
    }

    /// Removes all headers of a name.
    pub(crate) fn remove(&self, map: Map, name: &str) -> Result<(), Refused> {
        self.put(map, name, Buffer::NONE)
    }

    fn put(&self, map: Map, name: &str, value: Buffer) -> Result<(), Refused> {
        let name = Buffer::of(name.as_bytes());
        // SAFETY: the stream lives while its hook is called, and Envoy copies name and value.
        let is_done = unsafe {
            envoy_dynamic_module_callback_http_set_header(self.envoy, map as u32, name, value)
        };
        if is_done { Ok(()) } else { Err(Refused) }
    }

    /// Sends a local reply. Envoy may call other hooks of the stream before this returns.
    pub(crate) fn reply(&self, reply: &Reply) {
        let header = |(name, value): &(&str, String)| Header::of((name, value.as_str()));
        let mut headers: Vec<_> = reply.headers.iter().map(header).collect();
        // SAFETY: the stream lives while its hook is called, and Envoy copies what it is given.
        unsafe {
            envoy_dynamic_module_callback_http_send_response(
                self.envoy,
                reply.status.into(),
                headers.as_mut_ptr(),
                headers.len(),
                Buffer::of(reply.body.as_bytes()),
                Buffer::of(DETAILS),
            );
        }
    }

    /// Returns how long a body is, in bytes.
    pub(crate) fn body_size(&self, body: Body) -> usize {
        // SAFETY: the stream lives while its hook is called.
        unsafe { envoy_dynamic_module_callback_http_get_body_size(self.envoy, body as u32) }
    }

    /// Returns a body, at most this many bytes of it.
    pub(crate) fn body(&self, body: Body, most: usize) -> Vec<u8> {
        joined(&self.chunks(body), most)
    }

    /// Has a body read where it lies: a copy of a large part would stay with the allocator.
    pub(crate) fn read_body(&self, body: Body, reader: &mut Reader) {
        let chunks = self.chunks(body).into_iter();
        for Buffer { start, length } in chunks.filter(|chunk| !chunk.start.is_null()) {
            // SAFETY: Envoy gives bytes that live until its hook ends or the body is changed, and the
            // reader has no way to Envoy.
            reader.read(unsafe { std::slice::from_raw_parts(start, length) });
        }
    }

    fn chunks(&self, body: Body) -> Vec<Buffer> {
        // SAFETY: the stream lives while its hook is called.
        let count = unsafe {
            envoy_dynamic_module_callback_http_get_body_chunks_size(self.envoy, body as u32)
        };
        let mut chunks = vec![Buffer::NONE; count];
        // SAFETY: there is room for as many as Envoy has just said there are.
        let are_there = count > 0
            && unsafe {
                envoy_dynamic_module_callback_http_get_body_chunks(
                    self.envoy,
                    body as u32,
                    chunks.as_mut_ptr(),
                )
            };
        if are_there { chunks } else { Vec::new() }
    }

    /// Returns true if the part of the request's body that has just come is what Envoy held of it.
    pub(crate) fn was_held(&self) -> bool {
        // SAFETY: the stream lives while its hook is called.
        unsafe { envoy_dynamic_module_callback_http_received_buffered_request_body(self.envoy) }
    }

    /// Replaces a body.
    pub(crate) fn replace_body(&self, body: Body, bytes: &[u8]) {
        let size = self.body_size(body);
        // SAFETY: the stream lives while its hook is called.
        unsafe { envoy_dynamic_module_callback_http_drain_body(self.envoy, body as u32, size) };
        if !bytes.is_empty() {
            let bytes = Buffer::of(bytes);
            // SAFETY: as above, and Envoy copies the bytes.
            unsafe {
                envoy_dynamic_module_callback_http_append_body(self.envoy, body as u32, bytes)
            };
        }
    }

    /// Writes filter state. A key can be written once.
    pub(crate) fn state(&self, key: &str, value: &str) {
        let (key, value) = (Buffer::of(key.as_bytes()), Buffer::of(value.as_bytes()));
        // SAFETY: the stream lives while its hook is called, and Envoy copies key and value.
        unsafe {
            envoy_dynamic_module_callback_http_set_filter_state_bytes(self.envoy, key, value);
        }
    }

    /// Returns what Envoy knows of the stream.
    pub(crate) fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>> {
        let mut value = Buffer::NONE;
        // SAFETY: the stream lives while its hook is called.
        let is_there = unsafe {
            envoy_dynamic_module_callback_http_filter_get_attribute_string(
                self.envoy,
                attribute as u32,
                &raw mut value,
            )
        };
        is_there.then(|| value.copy())
    }

    /// Adds to a counter.
    pub(crate) fn count(&self, counter: Counter, labels: &[&str], by: u64) {
        let mut labels = buffers(labels);
        // SAFETY: the stream lives while its hook is called. A number of labels that does not fit is
        // an error of Envoy's, not a fault.
        unsafe {
            envoy_dynamic_module_callback_http_filter_increment_counter(
                self.envoy,
                counter.0,
                labels.as_mut_ptr(),
                labels.len(),
                by,
            );
        }
    }

    /// Sets a gauge.
    pub(crate) fn gauge(&self, gauge: Gauge, labels: &[&str], value: u64) {
        let mut labels = buffers(labels);
        // SAFETY: as for counters.
        unsafe {
            envoy_dynamic_module_callback_http_filter_set_gauge(
                self.envoy,
                gauge.0,
                labels.as_mut_ptr(),
                labels.len(),
                value,
            );
        }
    }

    /// Has Envoy look for the route again.
    pub(crate) fn clear_route_cache(&self) {
        // SAFETY: the stream lives while its hook is called.
        unsafe { envoy_dynamic_module_callback_http_clear_route_cache(self.envoy) }
    }

    /// Lets a request go on that was held. Envoy may call other hooks of the stream before this
    /// returns.
    pub(crate) fn go_on(&self) {
        // SAFETY: the stream lives while its hook is called.
        unsafe { envoy_dynamic_module_callback_http_filter_continue_decoding(self.envoy) }
    }

    /// Makes a bell that calls this stream.
    pub(crate) fn bell(&self) -> StreamBell {
        // SAFETY: the stream lives while its hook is called.
        StreamBell(unsafe { envoy_dynamic_module_callback_http_filter_scheduler_new(self.envoy) })
    }
}

impl Proxy<'_> {
    /// Defines a counter; possible only while the configuration is made.
    pub(crate) fn define_counter(&self, name: &str, labels: &[&str]) -> Result<Counter, Refused> {
        let (mut labels, mut id) = (buffers(labels), 0);
        // SAFETY: the configuration lives while its hook is called, and Envoy copies the names.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_define_counter(
                self.envoy,
                Buffer::of(name.as_bytes()),
                labels.as_mut_ptr(),
                labels.len(),
                &raw mut id,
            )
        };
        if result == SUCCESS { Ok(Counter(id)) } else { Err(Refused) }
    }

    /// Defines a gauge; possible only while the configuration is made.
    pub(crate) fn define_gauge(&self, name: &str, labels: &[&str]) -> Result<Gauge, Refused> {
        let (mut labels, mut id) = (buffers(labels), 0);
        // SAFETY: as for counters.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_define_gauge(
                self.envoy,
                Buffer::of(name.as_bytes()),
                labels.as_mut_ptr(),
                labels.len(),
                &raw mut id,
            )
        };
        if result == SUCCESS { Ok(Gauge(id)) } else { Err(Refused) }
    }

    /// Makes a bell that calls this configuration on the main thread.
    pub(crate) fn bell(&self) -> MainBell {
        // SAFETY: the configuration lives while its hook is called.
        let bell =
            unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_new(self.envoy) };
        MainBell(bell)
    }

    /// Sends a call, and returns its number. Envoy refuses it if there is no such cluster, no healthy
    /// host in it, or no room.
    pub(crate) fn call(&self, call: &Call) -> Result<u64, Refused> {
        let own = [
            (":method", call.method),
            (":authority", call.authority.as_str()),
            (":path", call.path.as_str()),
        ];
        let more = call.headers.iter().map(|(name, value)| (*name, value.expose()));
        let mut headers: Vec<_> = own.into_iter().chain(more).map(Header::of).collect();
        let body = call.body.as_ref().map_or(b"" as &[u8], |body| body.expose().as_bytes());
        let mut id = 0;
        // SAFETY: the configuration lives while its hook is called, and Envoy copies what it is given.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_http_callout(
                self.envoy,
                &raw mut id,
                Buffer::of(call.cluster.as_bytes()),
                headers.as_mut_ptr(),
                headers.len(),
                Buffer::of(body),
                milliseconds(call.timeout),
            )
        };
        if result == SUCCESS { Ok(id) } else { Err(Refused) }
    }
}

impl Proxy<'_> {
    /// Sends a settlement over HTTP/2, and returns its number; the answer comes part by part. Envoy
    /// refuses it as it does other calls, and no part of a refused one comes.
    pub(crate) fn settle(&self, settlement: &Settlement) -> Result<u64, Refused> {
        let (mut headers, body) = (settlement.headers().map(Header::of), settlement.body());
        let mut id = 0;
        // SAFETY: the configuration lives while its hook is called, and Envoy copies what it is given.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_start_http_stream(
                self.envoy,
                &raw mut id,
                Buffer::of(settlement.cluster.as_bytes()),
                headers.as_mut_ptr(),
                headers.len(),
                Buffer::of(&body),
                true,
                milliseconds(settlement.timeout),
            )
        };
        if result == SUCCESS { Ok(id) } else { Err(Refused) }
    }
}

// SAFETY: Envoy's schedulers are made to be used from any thread.
unsafe impl Send for StreamBell {}

impl StreamBell {
    /// Has the hook `http_filter_scheduled` of the stream called, on its worker.
    pub(crate) fn ring(&self) {
        // SAFETY: the scheduler is there until this is dropped, and knows whether the stream is.
        unsafe { envoy_dynamic_module_callback_http_filter_scheduler_commit(self.0, 0) }
    }
}

impl Drop for StreamBell {
    fn drop(&mut self) {
        // SAFETY: nobody else has this scheduler.
        unsafe { envoy_dynamic_module_callback_http_filter_scheduler_delete(self.0) }
    }
}

// SAFETY: Envoy's schedulers are made to be used from any thread.
unsafe impl Send for MainBell {}

impl MainBell {
    /// Has the hook `http_filter_config_scheduled` called, on the main thread.
    pub(crate) fn ring(&self) {
        // SAFETY: the scheduler is there until this is dropped, and knows whether the configuration is.
        unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_commit(self.0, 0) }
    }
}

impl Drop for MainBell {
    fn drop(&mut self) {
        // SAFETY: nobody else has this scheduler.
        unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_delete(self.0) }
    }
}

// SAFETY: `of_this_thread` gives the value to its own thread alone. Whoever drops it has it alone, and
// with it all that it counts references to.
unsafe impl<T> Send for OfThread<T> {}

// SAFETY: as above.
unsafe impl<T> Sync for OfThread<T> {}

impl<T> OfThread<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value, thread: thread::current().id() }
    }

    /// Returns the value on the thread that made it.
    pub(crate) fn of_this_thread(&self) -> Option<&T> {
        (self.thread == thread::current().id()).then_some(&self.value)
    }
}

/// Reads what came back for a call; there are no headers if the stream was reset.
fn answer(headers: &[Header], chunks: &[Buffer]) -> Answer {
    let status =
        value(headers, b":status").and_then(|text| str::from_utf8(&text).ok()?.parse().ok());
    let Some(status) = status else { return Answer::Broken };
    let retry_after = value(headers, b"retry-after").and_then(|value| retry_after(&value, now()));
    Answer::Arrived { status, retry_after, body: joined(chunks, MAX_BODY.saturating_add(1)) }
}

/// The first value of a header.
fn value(headers: &[Header], name: &[u8]) -> Option<Vec<u8>> {
    let header = headers.iter().find(|header| header.name.copy() == name);
    header.map(|header| header.value.copy())
}

fn joined(chunks: &[Buffer], most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks {
        let room = most.saturating_sub(bytes.len());
        bytes.extend(Buffer { length: chunk.length.min(room), ..*chunk }.copy());
    }
    bytes
}

fn buffers(texts: &[&str]) -> Vec<Buffer> {
    texts.iter().map(|text| Buffer::of(text.as_bytes())).collect()
}

/// Zero is no limit to Envoy.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
