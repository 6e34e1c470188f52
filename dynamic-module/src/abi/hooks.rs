//! The functions that Envoy calls. Each catches what panics: the request is refused, and Envoy lives.

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use keyless_core::http::MAX_BODY;

use super::{Buffer, Header, Level, Part, Proxy, Stream, answer, joined, log, value};
use crate::filter::{BodyStatus, Filter, HeadStatus};
use crate::plugin::Handle;

/// The oldest version of the ABI that has all that is used; the versions that know it load it.
const VERSION: &std::ffi::CStr = c"v0.1.0";

/// Envoy's numbers for what becomes of a head, the same for requests and answers.
const CONTINUE: u32 = 0;
const STOP: u32 = 1;
const STOP_ALL_AND_WATERMARK: u32 = 4;

/// Envoy's numbers for what becomes of a part of a body.
const STOP_AND_BUFFER: u32 = 1;

/// Makes the filter and the stream of a hook's pointers.
macro_rules! of_stream {
    ($envoy:ident, $filter:ident) => {{
        // SAFETY: Envoy passes what `http_filter_new` gave it, until it calls `http_filter_destroy`.
        let filter = unsafe { $filter.cast::<Filter>().as_ref() };
        (Stream { envoy: $envoy, hook: PhantomData }, filter)
    }};
}

/// Runs a hook of a stream. If it panics, the request is refused and counted as such.
fn guarded<T>(
    hook: &str,
    stream: &Stream<'_>,
    filter: Option<&Filter>,
    refused: T,
    run: impl FnOnce(&Filter) -> T,
) -> T {
    caught(hook, stream, filter, refused, Filter::refuse_after_panic, run)
}

/// Runs a hook of a stream in which nobody can be refused any more. If it panics, that is counted, and
/// all goes on: a reply at the end of an answer would end Envoy, and one in the place of a reply would
/// call its hook again.
fn guarded_late(
    hook: &str,
    stream: &Stream<'_>,
    filter: Option<&Filter>,
    run: impl FnOnce(&Filter),
) {
    caught(hook, stream, filter, (), Filter::count_panic, run);
}

fn caught<T>(
    hook: &str,
    stream: &Stream<'_>,
    filter: Option<&Filter>,
    failed: T,
    fail: fn(&Filter, &Stream<'_>),
    run: impl FnOnce(&Filter) -> T,
) -> T {
    let Some(filter) = filter else { return failed };
    match catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "chaos")]
        crate::chaos::obey(hook);
        run(filter)
    })) {
        Ok(value) => value,
        Err(panic) => {
            tell(hook, &*panic);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| fail(filter, stream))) {
                tell(hook, &*panic);
            }
            failed
        }
    }
}

/// Runs a hook that has no stream.
fn guarded_alone<T>(hook: &str, failed: T, run: impl FnOnce() -> T) -> T {
    let run = || {
        #[cfg(feature = "chaos")]
        crate::chaos::obey(hook);
        run()
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        tell(hook, &*panic);
        failed
    })
}

/// What panics say may hold what callers sent; the log has only the text of those that are known when
/// the object is built.
fn tell(hook: &str, panic: &dyn Any) {
    let said = panic.downcast_ref::<&'static str>().copied().unwrap_or("a panic");
    log(Level::Error, &format!("panicked hook={hook} message={said:?}"));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    // The hook of the standard library writes to stderr what may hold what callers sent.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        log(Level::Error, &format!("panicked at {place}"));
    }));
    VERSION.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    proxy: *mut c_void,
    _name: Buffer,
    configuration: Buffer,
) -> *const c_void {
    let proxy = Proxy { envoy: proxy, hook: PhantomData };
    let handle = guarded_alone("config_new", None, || Handle::new(&proxy, configuration.copy()));
    handle.map_or(ptr::null(), |handle| Box::into_raw(Box::new(handle)).cast_const().cast())
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(handle: *mut c_void) {
    if !handle.is_null() {
        // SAFETY: it is what `config_new` gave, and Envoy gives it back once.
        let handle = unsafe { Box::from_raw(handle.cast::<Handle>()) };
        guarded_alone("config_destroy", (), || drop(handle));
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    proxy: *mut c_void,
    handle: *const c_void,
    _event: u64,
) {
    let proxy = Proxy { envoy: proxy, hook: PhantomData };
    // SAFETY: Envoy passes what `config_new` gave it, until it calls `config_destroy`.
    if let Some(handle) = unsafe { handle.cast::<Handle>().as_ref() } {
        guarded_alone("config_scheduled", (), || handle.called(&proxy));
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
    proxy: *mut c_void,
    handle: *const c_void,
    id: u64,
    _result: u32,
    headers: *const Header,
    count: usize,
    chunks: *const Buffer,
    chunk_count: usize,
) {
    let proxy = Proxy { envoy: proxy, hook: PhantomData };
    // SAFETY: Envoy gives as many headers as it says, or none.
    let headers = unsafe { slice(headers, count) };
    // SAFETY: and as many chunks.
    let chunks = unsafe { slice(chunks, chunk_count) };
    // SAFETY: Envoy passes what `config_new` gave it, until it calls `config_destroy`.
    if let Some(handle) = unsafe { handle.cast::<Handle>().as_ref() } {
        let answered = || handle.answered(&proxy, id, &answer(headers, chunks));
        guarded_alone("config_http_callout_done", (), answered);
    }
}

/// Passes on a part of the answer to a call, which is read in what catches panics.
fn part(
    hook: &str,
    proxy: *mut c_void,
    handle: *const c_void,
    id: u64,
    read: impl FnOnce() -> Part,
) {
    let proxy = Proxy { envoy: proxy, hook: PhantomData };
    // SAFETY: Envoy passes what `config_new` gave it, until it calls `config_destroy`.
    if let Some(handle) = unsafe { handle.cast::<Handle>().as_ref() } {
        guarded_alone(hook, (), || handle.settlement_part(&proxy, id, read()));
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_headers(
    proxy: *mut c_void,
    handle: *const c_void,
    id: u64,
    headers: *const Header,
    count: usize,
    _is_last: bool,
) {
    // SAFETY: Envoy gives as many headers as it says, or none.
    let headers = unsafe { slice(headers, count) };
    let read = || Part::Headers(value(headers, b":status"), value(headers, b"grpc-status"));
    part("config_http_stream_headers", proxy, handle, id, read);
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_data(
    proxy: *mut c_void,
    handle: *const c_void,
    id: u64,
    chunks: *const Buffer,
    count: usize,
    _is_last: bool,
) {
    // SAFETY: Envoy gives as many chunks as it says, or none.
    let chunks = unsafe { slice(chunks, count) };
    let read = || Part::Data(joined(chunks, MAX_BODY.saturating_add(1)));
    part("config_http_stream_data", proxy, handle, id, read);
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
    proxy: *mut c_void,
    handle: *const c_void,
    id: u64,
    trailers: *const Header,
    count: usize,
) {
    // SAFETY: Envoy gives as many trailers as it says, or none.
    let trailers = unsafe { slice(trailers, count) };
    let read = || Part::Trailers(value(trailers, b"grpc-status"));
    part("config_http_stream_trailers", proxy, handle, id, read);
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_complete(
    proxy: *mut c_void,
    handle: *const c_void,
    id: u64,
) {
    part("config_http_stream_complete", proxy, handle, id, || Part::End);
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_reset(
    proxy: *mut c_void,
    handle: *const c_void,
    id: u64,
    _reason: u32,
) {
    part("config_http_stream_reset", proxy, handle, id, || Part::Reset);
}

/// # Safety
///
/// There must be `count` items, or none and `start` is null.
unsafe fn slice<'a, T>(start: *const T, count: usize) -> &'a [T] {
    if start.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller says so.
    unsafe { std::slice::from_raw_parts(start, count) }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_new(
    handle: *const c_void,
    _stream: *mut c_void,
) -> *const c_void {
    // SAFETY: Envoy passes what `config_new` gave it, until it calls `config_destroy`.
    let handle = unsafe { handle.cast::<Handle>().as_ref() };
    let filter = guarded_alone("new", None, || Some(Filter::new(handle?)));
    let refusing = || guarded_alone("new", None, || Some(Filter::refusing(handle?)));
    // Without a filter the other hooks could refuse nothing, and the request would hang.
    filter
        .or_else(refusing)
        .map_or(ptr::null(), |filter| Box::into_raw(Box::new(filter)).cast_const().cast())
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: *mut c_void) {
    if !filter.is_null() {
        // SAFETY: it is what `http_filter_new` gave, and Envoy gives it back once.
        let filter = unsafe { Box::from_raw(filter.cast::<Filter>()) };
        guarded_alone("destroy", (), || drop(filter));
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    envoy: *mut c_void,
    filter: *const c_void,
    is_last: bool,
) -> u32 {
    let (stream, filter) = of_stream!(envoy, filter);
    #[cfg(feature = "chaos")]
    crate::chaos::hear(&stream);
    let run = |filter: &Filter| filter.request_head(&stream, is_last);
    match guarded("request_headers", &stream, filter, HeadStatus::Stop, run) {
        HeadStatus::Continue => CONTINUE,
        HeadStatus::Stop => STOP,
        HeadStatus::StopAll => STOP_ALL_AND_WATERMARK,
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    envoy: *mut c_void,
    filter: *const c_void,
    is_last: bool,
) -> u32 {
    let (stream, filter) = of_stream!(envoy, filter);
    let run = |filter: &Filter| filter.request_body(&stream, is_last);
    body_status(guarded("request_body", &stream, filter, BodyStatus::Stop, run))
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    envoy: *mut c_void,
    filter: *const c_void,
) -> u32 {
    let (stream, filter) = of_stream!(envoy, filter);
    let run = |filter: &Filter| filter.request_trailers(&stream);
    match guarded("request_trailers", &stream, filter, BodyStatus::Stop, run) {
        BodyStatus::Continue => CONTINUE,
        BodyStatus::Stop => STOP,
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    envoy: *mut c_void,
    filter: *const c_void,
    is_last: bool,
) -> u32 {
    let (stream, filter) = of_stream!(envoy, filter);
    let run = |filter: &Filter| filter.response_head(&stream, is_last);
    match guarded("response_headers", &stream, filter, HeadStatus::Stop, run) {
        HeadStatus::Continue => CONTINUE,
        HeadStatus::Stop | HeadStatus::StopAll => STOP,
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_body(
    envoy: *mut c_void,
    filter: *const c_void,
    is_last: bool,
) -> u32 {
    let (stream, filter) = of_stream!(envoy, filter);
    if is_last {
        guarded_late("response_body", &stream, filter, |filter| {
            filter.response_body(&stream, true);
        });
        return CONTINUE;
    }
    let run = |filter: &Filter| {
        filter.response_body(&stream, false);
        BodyStatus::Continue
    };
    body_status(guarded("response_body", &stream, filter, BodyStatus::Stop, run))
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_trailers(
    envoy: *mut c_void,
    filter: *const c_void,
) -> u32 {
    let (stream, filter) = of_stream!(envoy, filter);
    guarded_late("response_trailers", &stream, filter, Filter::response_trailers);
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    envoy: *mut c_void,
    filter: *const c_void,
) {
    let (stream, filter) = of_stream!(envoy, filter);
    guarded_late("stream_complete", &stream, filter, |filter| filter.complete(&stream));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
    envoy: *mut c_void,
    filter: *const c_void,
    _event: u64,
) {
    let (stream, filter) = of_stream!(envoy, filter);
    guarded("scheduled", &stream, filter, (), |filter| filter.called(&stream));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_local_reply(
    envoy: *mut c_void,
    filter: *const c_void,
    _status: u32,
    _details: Buffer,
    _is_reset: bool,
) -> u32 {
    let (stream, filter) = of_stream!(envoy, filter);
    guarded_late("local_reply", &stream, filter, Filter::local_reply);
    CONTINUE
}

/// Configuration for single routes is refused: a route could be without a guard then.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    _name: Buffer,
    _configuration: Buffer,
) -> *const c_void {
    guarded_alone("per_route_config_new", (), || {
        log(Level::Error, "invalid configuration: keyless takes none for single routes");
    });
    ptr::null()
}

fn body_status(status: BodyStatus) -> u32 {
    match status {
        BodyStatus::Continue => CONTINUE,
        BodyStatus::Stop => STOP_AND_BUFFER,
    }
}

/// Hooks that Envoy wants to find, for events that never come: nothing here asks for them.
macro_rules! unused {
    ($($name:ident)*) => { $(#[unsafe(no_mangle)] extern "C" fn $name() {})* };
}

unused! {
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark
    envoy_dynamic_module_on_http_filter_http_callout_done
    envoy_dynamic_module_on_http_filter_http_stream_complete
    envoy_dynamic_module_on_http_filter_http_stream_data
    envoy_dynamic_module_on_http_filter_http_stream_headers
    envoy_dynamic_module_on_http_filter_http_stream_reset
    envoy_dynamic_module_on_http_filter_http_stream_trailers
    envoy_dynamic_module_on_http_filter_per_route_config_destroy
}
