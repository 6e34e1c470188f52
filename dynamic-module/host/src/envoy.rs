//! Both sides of Envoy's ABI of dynamic modules, for one thread that plays all of Envoy's.
//!
//! The facts are those of `source/extensions/dynamic_modules/abi/abi.h` in Envoy 1.38 to 1.40. What
//! this keeps is freed as early as Envoy may free it, so that `AddressSanitizer` sees who holds on to it.

#![allow(unsafe_code, reason = "the other side of the ABI is C's; no other file has any")]
#![allow(improper_ctypes, improper_ctypes_definitions, reason = "to the module they are addresses")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{c_char, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};

/// Bytes of the module's or of ours.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    start: *const u8,
    length: usize,
}

/// A header of the module's or of ours.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    name: Buffer,
    value: Buffer,
}

/// Names and values.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

unsafe extern "C" {
    fn envoy_dynamic_module_on_program_init() -> *const c_char;
    fn envoy_dynamic_module_on_http_filter_config_new(
        proxy: *const Proxy,
        name: Buffer,
        configuration: Buffer,
    ) -> *const c_void;
    fn envoy_dynamic_module_on_http_filter_config_destroy(handle: *const c_void);
    fn envoy_dynamic_module_on_http_filter_config_scheduled(
        proxy: *const Proxy,
        handle: *const c_void,
        event: u64,
    );
    fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
        proxy: *const Proxy,
        handle: *const c_void,
        id: u64,
        result: u32,
        headers: *const Header,
        count: usize,
        chunks: *const Buffer,
        chunk_count: usize,
    );
    fn envoy_dynamic_module_on_http_filter_config_http_stream_headers(
        proxy: *const Proxy,
        handle: *const c_void,
        id: u64,
        headers: *const Header,
        count: usize,
        is_last: bool,
    );
    fn envoy_dynamic_module_on_http_filter_config_http_stream_data(
        proxy: *const Proxy,
        handle: *const c_void,
        id: u64,
        chunks: *const Buffer,
        count: usize,
        is_last: bool,
    );
    fn envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
        proxy: *const Proxy,
        handle: *const c_void,
        id: u64,
        trailers: *const Header,
        count: usize,
    );
    fn envoy_dynamic_module_on_http_filter_config_http_stream_complete(
        proxy: *const Proxy,
        handle: *const c_void,
        id: u64,
    );
    fn envoy_dynamic_module_on_http_filter_config_http_stream_reset(
        proxy: *const Proxy,
        handle: *const c_void,
        id: u64,
        reason: u32,
    );
    fn envoy_dynamic_module_on_http_filter_per_route_config_new(
        name: Buffer,
        configuration: Buffer,
    ) -> *const c_void;
    fn envoy_dynamic_module_on_http_filter_new(
        handle: *const c_void,
        stream: *const Stream,
    ) -> *const c_void;
    fn envoy_dynamic_module_on_http_filter_destroy(filter: *const c_void);
    fn envoy_dynamic_module_on_http_filter_request_headers(
        stream: *const Stream,
        filter: *const c_void,
        is_last: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_request_body(
        stream: *const Stream,
        filter: *const c_void,
        is_last: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_request_trailers(
        stream: *const Stream,
        filter: *const c_void,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_response_headers(
        stream: *const Stream,
        filter: *const c_void,
        is_last: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_response_body(
        stream: *const Stream,
        filter: *const c_void,
        is_last: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_response_trailers(
        stream: *const Stream,
        filter: *const c_void,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_stream_complete(
        stream: *const Stream,
        filter: *const c_void,
    );
    fn envoy_dynamic_module_on_http_filter_scheduled(
        stream: *const Stream,
        filter: *const c_void,
        event: u64,
    );
    fn envoy_dynamic_module_on_http_filter_local_reply(
        stream: *const Stream,
        filter: *const c_void,
        status: u32,
        details: Buffer,
        is_reset: bool,
    ) -> u32;
}

/// The hooks of a stream that take nothing but it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hook {
    RequestHeaders {
        is_last: bool,
    },
    RequestBody {
        is_last: bool,
    },
    RequestTrailers,
    ResponseHeaders {
        is_last: bool,
    },
    ResponseBody {
        is_last: bool,
    },
    ResponseTrailers,
    Complete,
    LocalReply,
    /// As if the bell of the stream was rung.
    Scheduled,
}

/// The maps of headers of a stream, by the ABI's numbers.
pub const REQUEST_HEADERS: usize = 0;
pub const REQUEST_TRAILERS: usize = 1;
pub const RESPONSE_HEADERS: usize = 2;

/// The bodies of a stream, by the ABI's numbers.
pub const REQUEST_BODY: usize = 0;
pub const HELD_REQUEST_BODY: usize = 1;
pub const RESPONSE_BODY: usize = 2;

const CONTINUE: u32 = 0;

/// The schedulers that the module has not deleted.
pub static BELLS: AtomicI64 = AtomicI64::new(0);

/// The lines of the log that tell of panics.
pub static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What calls of the module fail, in turn; none when it is empty.
#[derive(Debug, Default)]
pub struct Faults(RefCell<VecDeque<bool>>);

/// One configuration.
#[derive(Debug)]
pub struct Proxy {
    handle: Cell<*const c_void>,
    rung: Arc<AtomicU64>,
    next_call: Cell<u64>,
    next_metric: Cell<usize>,
    /// Calls in flight, and where they go.
    pub calls: RefCell<Vec<(u64, Vec<u8>)>>,
    /// Calls in flight whose answers come part by part.
    pub settlements: RefCell<Vec<u64>>,
    faults: Rc<Faults>,
}

/// One stream.
#[derive(Debug, Default)]
pub struct Stream {
    filter: Cell<Option<*const c_void>>,
    maps: [RefCell<Headers>; 4],
    bodies: [RefCell<Vec<Vec<u8>>>; 3],
    state: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    attributes: RefCell<BTreeMap<u32, Vec<u8>>>,
    rung: Arc<AtomicU64>,
    /// The status of the local reply.
    pub replied: Cell<Option<u32>>,
    /// The head of the request has gone on.
    pub went_on: Cell<bool>,
    /// The part of the body that has just come is what was held.
    pub was_held: Cell<bool>,
    /// Other hooks are called while the module replies or lets the request go on, as Envoy does.
    pub reenters: Cell<bool>,
    /// A hook is called for the end of the answer.
    ends: Cell<bool>,
    faults: Rc<Faults>,
}

/// Counts the bytes that Rust has allocated and not freed, of the module and of this program.
#[derive(Debug)]
pub struct Counting;

/// What [`Counting`] counts.
pub static ALLOCATED: AtomicI64 = AtomicI64::new(0);

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size().cast_signed() as i64, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size().cast_signed() as i64, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.dealloc(start, layout) }
    }
}

struct Bell(Arc<AtomicU64>);

impl Buffer {
    const NONE: Self = Self { start: ptr::null(), length: 0 };

    fn of(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }

    fn copy(self) -> Vec<u8> {
        if self.start.is_null() {
            return Vec::new();
        }
        // SAFETY: the module gives bytes that live until the function returns.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }.to_vec()
    }
}

impl Header {
    fn of((name, value): &(Vec<u8>, Vec<u8>)) -> Self {
        Self { name: Buffer::of(name), value: Buffer::of(value) }
    }
}

impl Faults {
    pub fn new(faults: impl IntoIterator<Item = bool>) -> Self {
        Self(RefCell::new(faults.into_iter().collect()))
    }

    fn next(&self) -> bool {
        self.0.borrow_mut().pop_front().unwrap_or_default()
    }
}

/// Loads the module, once for the process.
fn load() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        let hook = std::panic::take_hook();
        // SAFETY: Envoy calls it once, before all others.
        let version = unsafe { envoy_dynamic_module_on_program_init() };
        // The module's hook would leave out what failed here.
        std::panic::set_hook(hook);
        assert!(!version.is_null());
    });
}

impl Proxy {
    /// Makes a configuration, unless the module refuses it.
    pub fn new(configuration: &[u8], faults: &Rc<Faults>) -> Option<Box<Self>> {
        load();
        let proxy = Box::new(Self {
            handle: Cell::new(ptr::null()),
            rung: Arc::default(),
            next_call: Cell::new(1),
            next_metric: Cell::new(1),
            calls: RefCell::default(),
            settlements: RefCell::default(),
            faults: Rc::clone(faults),
        });
        let name = Buffer::of(b"keyless");
        // The module may keep nothing of this text.
        let text = configuration.to_vec();
        // SAFETY: the configuration lives while it is made.
        let handle = unsafe {
            envoy_dynamic_module_on_http_filter_config_new(
                &raw const *proxy,
                name,
                Buffer::of(&text),
            )
        };
        proxy.handle.set(handle);
        (!handle.is_null()).then_some(proxy)
    }

    /// Calls the module if its bell was rung.
    pub fn deliver(&self) {
        for _ in 0..self.rung.swap(0, Ordering::AcqRel).min(4) {
            // SAFETY: the configuration and its handle live until `self` is dropped.
            unsafe {
                envoy_dynamic_module_on_http_filter_config_scheduled(self, self.handle.get(), 0);
            }
        }
    }

    /// Answers a call; without headers it was reset.
    pub fn answer(&self, id: u64, headers: &Headers, chunks: &[Vec<u8>]) {
        self.calls.borrow_mut().retain(|(other, _)| *other != id);
        let headers: Vec<_> = headers.iter().map(Header::of).collect();
        let chunks: Vec<_> = chunks.iter().map(|chunk| Buffer::of(chunk)).collect();
        let start = if headers.is_empty() { ptr::null() } else { headers.as_ptr() };
        // SAFETY: as for `deliver`; headers and chunks live until it returns.
        unsafe {
            envoy_dynamic_module_on_http_filter_config_http_callout_done(
                self,
                self.handle.get(),
                id,
                headers.is_empty().into(),
                start,
                headers.len(),
                chunks.as_ptr(),
                chunks.len(),
            );
        }
    }

    /// Gives the headers of an answer that comes part by part, or its trailers.
    pub fn answer_headers(&self, id: u64, headers: &Headers, are_trailers: bool) {
        let headers: Vec<_> = headers.iter().map(Header::of).collect();
        let (handle, start, count) = (self.handle.get(), headers.as_ptr(), headers.len());
        if are_trailers {
            // SAFETY: as for `answer`.
            unsafe {
                envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
                    self, handle, id, start, count,
                );
            }
        } else {
            // SAFETY: as for `answer`.
            unsafe {
                envoy_dynamic_module_on_http_filter_config_http_stream_headers(
                    self, handle, id, start, count, false,
                );
            }
        }
    }

    /// Gives a piece of such an answer.
    pub fn answer_data(&self, id: u64, piece: &[u8]) {
        let chunk = Buffer::of(piece);
        // SAFETY: as for `answer`.
        unsafe {
            envoy_dynamic_module_on_http_filter_config_http_stream_data(
                self,
                self.handle.get(),
                id,
                &raw const chunk,
                1,
                false,
            );
        }
    }

    /// Ends such an answer.
    pub fn answer_end(&self, id: u64, is_reset: bool) {
        self.settlements.borrow_mut().retain(|other| *other != id);
        let handle = self.handle.get();
        if is_reset {
            // SAFETY: as for `answer`.
            unsafe {
                envoy_dynamic_module_on_http_filter_config_http_stream_reset(self, handle, id, 0);
            }
        } else {
            // SAFETY: as for `answer`.
            unsafe {
                envoy_dynamic_module_on_http_filter_config_http_stream_complete(self, handle, id);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let handle = self.handle.get();
        if !handle.is_null() {
            // SAFETY: it is given back once.
            unsafe { envoy_dynamic_module_on_http_filter_config_destroy(handle) }
        }
    }
}

/// Offers configuration for a single route, and returns true if the module takes it.
pub fn takes_route_configuration(configuration: &[u8]) -> bool {
    let name = Buffer::of(b"keyless");
    // SAFETY: both texts live until it returns.
    let taken = unsafe {
        envoy_dynamic_module_on_http_filter_per_route_config_new(name, Buffer::of(configuration))
    };
    !taken.is_null()
}

impl Stream {
    /// Begins a stream, unless the module makes no filter for it.
    pub fn new(proxy: &Proxy, faults: &Rc<Faults>) -> Option<Box<Self>> {
        let mut stream = Box::new(Self::default());
        stream.faults = Rc::clone(faults);
        // SAFETY: configuration and stream live while it is called.
        let filter = unsafe {
            envoy_dynamic_module_on_http_filter_new(proxy.handle.get(), &raw const *stream)
        };
        (!filter.is_null()).then(|| {
            stream.filter.set(Some(filter));
            stream
        })
    }

    pub fn set_map(&self, map: usize, headers: Headers) {
        *self.maps[map].borrow_mut() = headers;
    }

    pub fn map(&self, map: usize) -> Headers {
        self.maps[map].borrow().clone()
    }

    pub fn set_body(&self, body: usize, chunks: Vec<Vec<u8>>) {
        *self.bodies[body].borrow_mut() = chunks;
    }

    pub fn body(&self, body: usize) -> Vec<u8> {
        self.bodies[body].borrow().concat()
    }

    pub fn set_attribute(&self, attribute: u32, value: &[u8]) {
        self.attributes.borrow_mut().insert(attribute, value.to_vec());
    }

    /// Returns what the module has written to filter state.
    pub fn state(&self, key: &str) -> Option<Vec<u8>> {
        self.state.borrow().get(key.as_bytes()).cloned()
    }

    /// Returns the first value of a header of the request.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let map = self.maps[REQUEST_HEADERS].borrow();
        let found = map.iter().find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.clone())
    }

    /// Calls a hook, and returns true if what has come goes on.
    pub fn call(&self, hook: Hook) -> bool {
        let Some(filter) = self.filter.get() else { return false };
        let ends = matches!(hook, Hook::ResponseBody { is_last: true } | Hook::ResponseTrailers);
        let did_end = self.ends.replace(ends);
        let status = match hook {
            Hook::RequestHeaders { is_last } => {
                // SAFETY: stream and filter live until `self` is dropped.
                unsafe {
                    envoy_dynamic_module_on_http_filter_request_headers(self, filter, is_last)
                }
            }
            Hook::RequestBody { is_last } => {
                // SAFETY: as above.
                unsafe { envoy_dynamic_module_on_http_filter_request_body(self, filter, is_last) }
            }
            Hook::RequestTrailers => {
                // SAFETY: as above.
                unsafe { envoy_dynamic_module_on_http_filter_request_trailers(self, filter) }
            }
            Hook::ResponseHeaders { is_last } => {
                // SAFETY: as above.
                unsafe {
                    envoy_dynamic_module_on_http_filter_response_headers(self, filter, is_last)
                }
            }
            Hook::ResponseBody { is_last } => {
                // SAFETY: as above.
                unsafe { envoy_dynamic_module_on_http_filter_response_body(self, filter, is_last) }
            }
            Hook::ResponseTrailers => {
                // SAFETY: as above.
                unsafe { envoy_dynamic_module_on_http_filter_response_trailers(self, filter) }
            }
            Hook::Complete => {
                // SAFETY: as above.
                unsafe { envoy_dynamic_module_on_http_filter_stream_complete(self, filter) }
                CONTINUE
            }
            Hook::Scheduled => {
                // SAFETY: as above.
                unsafe { envoy_dynamic_module_on_http_filter_scheduled(self, filter, 0) }
                CONTINUE
            }
            Hook::LocalReply => {
                let details = Buffer::of(b"direct_response");
                // SAFETY: as above, and the details live until it returns.
                unsafe {
                    envoy_dynamic_module_on_http_filter_local_reply(
                        self, filter, 503, details, false,
                    )
                }
            }
        };
        self.ends.set(did_end);
        status == CONTINUE
    }

    /// Calls the module if the bell of this stream was rung.
    pub fn deliver(&self) {
        let Some(filter) = self.filter.get() else { return };
        for _ in 0..self.rung.swap(0, Ordering::AcqRel).min(4) {
            // SAFETY: as for `call`.
            unsafe { envoy_dynamic_module_on_http_filter_scheduled(self, filter, 0) }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(filter) = self.filter.take() {
            // SAFETY: it is given back once.
            unsafe { envoy_dynamic_module_on_http_filter_destroy(filter) }
        }
    }
}

/// # Safety
///
/// It must be one that was given to the module, and is alive.
unsafe fn of<'a, T>(given: *const T) -> &'a T {
    // SAFETY: the caller says so.
    unsafe { given.as_ref() }.unwrap()
}

/// # Safety
///
/// There must be as many as it says.
unsafe fn headers_of(start: *const Header, count: usize) -> Headers {
    if count == 0 {
        return Headers::new();
    }
    // SAFETY: the caller says so.
    let headers = unsafe { std::slice::from_raw_parts(start, count) };
    headers.iter().map(|header| (header.name.copy(), header.value.copy())).collect()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log(_level: u32, message: Buffer) {
    let line = String::from_utf8(message.copy()).unwrap();
    if line.contains("panicked") {
        PANICS.lock().unwrap().push(line);
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log_enabled(_level: u32) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_header(
    stream: *const Stream,
    map: u32,
    name: Buffer,
    value: *mut Buffer,
    index: usize,
    count: *mut usize,
) -> bool {
    // SAFETY: it is a stream whose hook is called.
    let stream = unsafe { of(stream) };
    let name = name.copy();
    let map = stream.maps[map as usize].borrow();
    let found: Vec<_> = map.iter().filter(|(other, _)| other.eq_ignore_ascii_case(&name)).collect();
    if !count.is_null() {
        // SAFETY: it is the module's, which wants the number there.
        unsafe { count.write(found.len()) }
    }
    let found = found.get(index).map(|(_, value)| Buffer::of(value));
    // SAFETY: as above.
    unsafe { value.write(found.unwrap_or(Buffer::NONE)) }
    found.is_some()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_headers_size(
    stream: *const Stream,
    map: u32,
) -> usize {
    // SAFETY: it is a stream whose hook is called.
    unsafe { of(stream) }.maps[map as usize].borrow().len()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_headers(
    stream: *const Stream,
    map: u32,
    headers: *mut Header,
) -> bool {
    // SAFETY: it is a stream whose hook is called.
    let stream = unsafe { of(stream) };
    if stream.faults.next() {
        return false;
    }
    for (at, header) in stream.maps[map as usize].borrow().iter().enumerate() {
        // SAFETY: there is room for as many as the module was told there are.
        let place = unsafe { headers.add(at) };
        // SAFETY: as above.
        unsafe { place.write(Header::of(header)) }
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_set_header(
    stream: *const Stream,
    map: u32,
    name: Buffer,
    value: Buffer,
) -> bool {
    // SAFETY: it is a stream whose hook is called.
    let stream = unsafe { of(stream) };
    if stream.faults.next() {
        return false;
    }
    let (name, is_set, value) = (name.copy(), !value.start.is_null(), value.copy());
    let mut map = stream.maps[map as usize].borrow_mut();
    map.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
    if is_set {
        map.push((name, value));
    }
    // Nothing of the map is where it was.
    let moved = map.iter().cloned().collect();
    *map = moved;
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_send_response(
    stream: *const Stream,
    status: u32,
    headers: *const Header,
    count: usize,
    body: Buffer,
    _details: Buffer,
) {
    // SAFETY: it is a stream whose hook is called.
    let stream = unsafe { of(stream) };
    // SAFETY: the module says how many there are.
    let mut headers = unsafe { headers_of(headers, count) };
    let body = body.copy();
    assert!(!stream.ends.get(), "Envoy itself would end");
    if stream.replied.replace(Some(status)).is_some() || !stream.reenters.get() {
        return;
    }
    headers.push((b":status".to_vec(), status.to_string().into_bytes()));
    stream.call(Hook::LocalReply);
    stream.set_map(RESPONSE_HEADERS, headers);
    stream.call(Hook::ResponseHeaders { is_last: body.is_empty() });
    if !body.is_empty() {
        stream.set_body(RESPONSE_BODY, vec![body]);
        stream.call(Hook::ResponseBody { is_last: true });
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_body_size(
    stream: *const Stream,
    body: u32,
) -> usize {
    // SAFETY: it is a stream whose hook is called.
    unsafe { of(stream) }.bodies[body as usize].borrow().iter().map(Vec::len).sum()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_body_chunks_size(
    stream: *const Stream,
    body: u32,
) -> usize {
    // SAFETY: it is a stream whose hook is called.
    unsafe { of(stream) }.bodies[body as usize].borrow().len()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_body_chunks(
    stream: *const Stream,
    body: u32,
    chunks: *mut Buffer,
) -> bool {
    // SAFETY: it is a stream whose hook is called.
    let stream = unsafe { of(stream) };
    if stream.faults.next() {
        return false;
    }
    for (at, chunk) in stream.bodies[body as usize].borrow().iter().enumerate() {
        // SAFETY: there is room for as many as the module was told there are.
        let place = unsafe { chunks.add(at) };
        // SAFETY: as above.
        unsafe { place.write(Buffer::of(chunk)) }
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_append_body(
    stream: *const Stream,
    body: u32,
    bytes: Buffer,
) -> bool {
    // SAFETY: it is a stream whose hook is called.
    unsafe { of(stream) }.bodies[body as usize].borrow_mut().push(bytes.copy());
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_drain_body(
    stream: *const Stream,
    body: u32,
    count: usize,
) -> bool {
    // SAFETY: it is a stream whose hook is called.
    let mut chunks = unsafe { of(stream) }.bodies[body as usize].borrow_mut();
    let rest = chunks.concat().get(count..).map(<[u8]>::to_vec);
    *chunks = rest.into_iter().filter(|rest| !rest.is_empty()).collect();
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_received_buffered_request_body(
    stream: *const Stream,
) -> bool {
    // SAFETY: it is a stream whose hook is called.
    unsafe { of(stream) }.was_held.get()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
    stream: *const Stream,
    key: Buffer,
    value: Buffer,
) -> bool {
    // SAFETY: it is a stream whose hook is called.
    let stream = unsafe { of(stream) };
    // Envoy lets a key be written once.
    stream.state.borrow_mut().entry(key.copy()).or_insert_with(|| value.copy());
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
    stream: *const Stream,
    attribute: u32,
    value: *mut Buffer,
) -> bool {
    // SAFETY: it is a stream whose hook is called.
    let stream = unsafe { of(stream) };
    let attributes = stream.attributes.borrow();
    let found = attributes.get(&attribute).map(|value| Buffer::of(value));
    if let Some(found) = found {
        // SAFETY: it is the module's, which wants the text there.
        unsafe { value.write(found) }
    }
    found.is_some()
}

fn labels_of(labels: *const Buffer, count: usize) -> u32 {
    for at in 0..count {
        // SAFETY: the module says how many there are.
        let label = unsafe { labels.add(at) };
        // SAFETY: as above.
        let label = unsafe { label.read() }.copy();
        assert!(std::str::from_utf8(&label).is_ok());
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_increment_counter(
    stream: *const Stream,
    _counter: usize,
    labels: *const Buffer,
    count: usize,
    _by: u64,
) -> u32 {
    // SAFETY: it is a stream whose hook is called.
    _ = unsafe { of(stream) };
    labels_of(labels, count)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_set_gauge(
    stream: *const Stream,
    _gauge: usize,
    labels: *const Buffer,
    count: usize,
    _value: u64,
) -> u32 {
    // SAFETY: it is a stream whose hook is called.
    _ = unsafe { of(stream) };
    labels_of(labels, count)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_clear_route_cache(stream: *const Stream) {
    // SAFETY: it is a stream whose hook is called.
    _ = unsafe { of(stream) };
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_continue_decoding(stream: *const Stream) {
    // SAFETY: it is a stream whose hook is called.
    let stream = unsafe { of(stream) };
    stream.went_on.set(true);
    if !stream.reenters.get() {
        return;
    }
    let held = std::mem::take(&mut *stream.bodies[HELD_REQUEST_BODY].borrow_mut());
    if !held.is_empty() {
        stream.set_body(REQUEST_BODY, held);
        stream.was_held.set(true);
        stream.call(Hook::RequestBody { is_last: true });
        stream.was_held.set(false);
    }
}

fn new_bell(rung: &Arc<AtomicU64>) -> *mut Bell {
    BELLS.fetch_add(1, Ordering::Relaxed);
    Box::into_raw(Box::new(Bell(Arc::clone(rung))))
}

fn ring(bell: *const Bell) {
    // SAFETY: the module has not deleted it.
    unsafe { of(bell) }.0.fetch_add(1, Ordering::AcqRel);
}

fn delete(bell: *mut Bell) {
    BELLS.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: the module deletes it once.
    drop(unsafe { Box::from_raw(bell) });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_scheduler_new(
    stream: *const Stream,
) -> *mut c_void {
    // SAFETY: it is a stream whose hook is called.
    new_bell(&unsafe { of(stream) }.rung).cast()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_scheduler_commit(
    bell: *mut c_void,
    _event: u64,
) {
    ring(bell.cast());
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_scheduler_delete(bell: *mut c_void) {
    delete(bell.cast());
}

fn define(proxy: *const Proxy, id: *mut usize) -> u32 {
    // SAFETY: it is a configuration whose hook is called.
    let proxy = unsafe { of(proxy) };
    let next = proxy.next_metric.get();
    proxy.next_metric.set(next + 1);
    // SAFETY: it is the module's, which wants the number there.
    unsafe { id.write(next) }
    proxy.faults.next().into()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_counter(
    proxy: *const Proxy,
    _name: Buffer,
    labels: *const Buffer,
    count: usize,
    counter: *mut usize,
) -> u32 {
    labels_of(labels, count);
    define(proxy, counter)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
    proxy: *const Proxy,
    _name: Buffer,
    labels: *const Buffer,
    count: usize,
    gauge: *mut usize,
) -> u32 {
    labels_of(labels, count);
    define(proxy, gauge)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
    proxy: *const Proxy,
) -> *mut c_void {
    // SAFETY: it is a configuration whose hook is called.
    new_bell(&unsafe { of(proxy) }.rung).cast()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
    bell: *mut c_void,
    _event: u64,
) {
    ring(bell.cast());
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(bell: *mut c_void) {
    delete(bell.cast());
}

/// Takes a call, and returns its number unless it is refused.
fn take(proxy: &Proxy, id: *mut u64, headers: &Headers) -> Option<u64> {
    assert!(headers.iter().any(|(name, _)| name == b":path"));
    if proxy.faults.next() {
        return None;
    }
    let next = proxy.next_call.get();
    proxy.next_call.set(next + 1);
    // SAFETY: it is the module's, which wants the number there.
    unsafe { id.write(next) }
    Some(next)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_http_callout(
    proxy: *const Proxy,
    id: *mut u64,
    cluster: Buffer,
    headers: *const Header,
    count: usize,
    _body: Buffer,
    milliseconds: u64,
) -> u32 {
    assert!(milliseconds > 0);
    // SAFETY: it is a configuration whose hook is called.
    let proxy = unsafe { of(proxy) };
    // SAFETY: the module says how many there are.
    let headers = unsafe { headers_of(headers, count) };
    let Some(next) = take(proxy, id, &headers) else { return 1 };
    proxy.calls.borrow_mut().push((next, cluster.copy()));
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_start_http_stream(
    proxy: *const Proxy,
    id: *mut u64,
    _cluster: Buffer,
    headers: *const Header,
    count: usize,
    body: Buffer,
    _is_last: bool,
    milliseconds: u64,
) -> u32 {
    assert!(milliseconds > 0 && !body.copy().is_empty());
    // SAFETY: it is a configuration whose hook is called.
    let proxy = unsafe { of(proxy) };
    // SAFETY: the module says how many there are.
    let headers = unsafe { headers_of(headers, count) };
    let Some(next) = take(proxy, id, &headers) else { return 1 };
    proxy.settlements.borrow_mut().push(next);
    0
}
