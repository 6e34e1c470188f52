//! A filter without an SDK that makes the calls of a request whose token is remembered, and does
//! nothing else: what they cost is the floor of every filter that makes them in WebAssembly.
//!
//! Its configuration is one digit: how many values it writes to filter state.
//!
//! The functions are those of the ABI 0.2.1; the host calls one at a time.

#![cfg(target_arch = "wasm32")]

use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_define_metric(kind: u32, name: *const u8, size: usize, id: *mut u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        most: usize,
        data: *mut *const u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, size: usize) -> u32;
}

const REQUEST_HEADERS: u32 = 0;
const RESPONSE_HEADERS: u32 = 2;
const PLUGIN_CONFIGURATION: u32 = 7;
const CONTINUE: u32 = 0;

/// As long as an identity token.
static VALUE: [u8; 1500] = [b'v'; 1500];

/// The names in filter state.
const NAMES: [&str; 7] =
    ["floor.0", "floor.1", "floor.2", "floor.3", "floor.4", "floor.5", "floor.6"];

/// As long as an object id.
const NAMED_SIZE: usize = 36;

/// Where the host writes, one answer over the other: nobody reads them.
const MEMORY_SIZE: usize = 64 << 10;
static mut MEMORY: [u8; MEMORY_SIZE] = [0; MEMORY_SIZE];

static COUNTER: AtomicU32 = AtomicU32::new(0);
static NAMED: AtomicUsize = AtomicUsize::new(0);

/// Says which ABI this is.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// Returns the memory for an answer, if it fits.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    if size <= MEMORY_SIZE { (&raw mut MEMORY).cast() } else { null_mut() }
}

/// Does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(_: u32, _: u32) {}

/// Starts.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(_: u32, _: usize) -> u32 {
    1
}

/// Reads how many values go to filter state, and defines the counter.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(_: u32, size: usize) -> u32 {
    let (mut data, mut read, mut id) = (null(), 0, 0);
    let name = "floor";
    // SAFETY: all pointers are those of values that live; the host has written `read` bytes at `data`.
    let digit = unsafe {
        proxy_define_metric(0, name.as_ptr(), name.len(), &raw mut id);
        proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, &raw mut data, &raw mut read);
        if read == 0 { b'0' } else { *data }
    };
    COUNTER.store(id, Relaxed);
    NAMED.store(usize::from(digit.saturating_sub(b'0')), Relaxed);
    1
}

/// Makes the calls for the head of a request.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(_: u32, _: usize, _: u32) -> u32 {
    let (mut data, mut size, mut time) = (null_mut(), 0, 0);
    // Like `authorization` one of those that Envoy finds without a search.
    let header = "user-agent";
    // SAFETY: all pointers are those of values that live.
    unsafe {
        proxy_get_header_map_pairs(REQUEST_HEADERS, &raw mut data, &raw mut size);
        proxy_get_current_time_nanoseconds(&raw mut time);
        proxy_replace_header_map_value(
            REQUEST_HEADERS,
            header.as_ptr(),
            header.len(),
            VALUE.as_ptr(),
            VALUE.len(),
        );
        proxy_increment_metric(COUNTER.load(Relaxed), 1);
        for name in NAMES.iter().take(NAMED.load(Relaxed)) {
            proxy_set_property(name.as_ptr(), name.len(), VALUE.as_ptr(), NAMED_SIZE);
        }
    }
    CONTINUE
}

/// Reads the status of the answer.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(_: u32, _: usize, _: u32) -> u32 {
    let (mut data, mut size, name) = (null_mut(), 0, ":status");
    // SAFETY: all pointers are those of values that live.
    unsafe {
        proxy_get_header_map_value(
            RESPONSE_HEADERS,
            name.as_ptr(),
            name.len(),
            &raw mut data,
            &raw mut size,
        );
    }
    CONTINUE
}

/// Agrees that a stream, or all, is over.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_done(_: u32) -> u32 {
    1
}

/// Does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(_: u32) {}
