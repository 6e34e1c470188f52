//! Plays of which the module must come out whole.

#![allow(
    clippy::unnecessary_box_returns,
    reason = "the module has the addresses of what is in them"
)]

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keyless_dynamic_module_host::callers;
use keyless_dynamic_module_host::envoy::{
    ALLOCATED, BELLS, Counting, Faults, Hook, PANICS, Proxy, REQUEST_HEADERS, Stream,
};
use keyless_dynamic_module_host::play::play;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Plays leave their marks on counters of the process, so there is one at a time.
static STAGE: Mutex<()> = Mutex::new(());

/// Bytes of Knuth's MMIX.
fn script(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut byte = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    let length = 40 + usize::from(byte()) * 4;
    std::iter::repeat_with(byte).take(length).collect()
}

fn stage() -> MutexGuard<'static, ()> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn configuration(number: u16) -> Box<Proxy> {
    let text = callers::configuration(u8::try_from(number % 4).unwrap(), number);
    Proxy::new(text.as_bytes(), &Rc::new(Faults::default())).unwrap()
}

/// Sends a request that is admitted, after a wait if keys or the identity's token are missing.
fn admitted(proxy: &Proxy) -> Box<Stream> {
    let stream = Stream::new(proxy, &Rc::new(Faults::default())).unwrap();
    stream.set_map(REQUEST_HEADERS, callers::head(0, &[]));
    if !stream.call(Hook::RequestHeaders { is_last: true }) {
        let begun = Instant::now();
        while !stream.went_on.get() {
            assert!(begun.elapsed() < Duration::from_secs(20) && stream.replied.get().is_none());
            proxy.deliver();
            let calls = proxy.calls.borrow().clone();
            for (id, cluster) in calls {
                let (headers, chunks) = callers::answer(0, &cluster, &[]);
                proxy.answer(id, &headers, &chunks);
            }
            stream.deliver();
        }
    }
    assert_eq!(stream.state("wasm.keyless.verdict").as_deref(), Some(&b"admitted"[..]));
    stream
}

/// Runs it on a thread that ends, after which the module has no scheduler left.
fn on_a_worker(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
    assert_eq!(BELLS.load(Ordering::Relaxed), 0, "each scheduler was deleted");
}

fn allocated() -> i64 {
    ALLOCATED.load(Ordering::Relaxed)
}

fn plays() -> u64 {
    std::env::var("PLAYS").map_or(3000, |count| count.parse().unwrap())
}

#[test]
fn no_order_of_hooks_harms_the_module_or_admits_whom_it_must_not() {
    let _stage = stage();
    on_a_worker(|| {
        let mut went_on = 0;
        for seed in 0..plays() {
            went_on += play(&script(seed));
            let panics = std::mem::take(&mut *PANICS.lock().unwrap());
            assert!(panics.is_empty(), "play {seed}: {panics:?}");
        }
        assert!(went_on > 0, "no play was worth watching");
        println!("{went_on} requests have gone on");
    });
}

#[test]
fn configurations_come_and_go_and_leave_nothing_behind() {
    let _stage = stage();
    on_a_worker(|| {
        let mut before = 0;
        for number in 0..2000 {
            let proxy = configuration(number % 8);
            admitted(&proxy).call(Hook::Complete);
            if number == 200 {
                before = allocated();
            }
        }
        let growth = allocated() - before;
        assert!(growth < 64 * 1024, "{growth} bytes");
    });
}

#[test]
fn what_a_thread_has_of_an_old_configuration_goes_with_its_next_request() {
    let _stage = stage();
    let resident = configuration(0);
    admitted(&resident).call(Hook::Complete);
    let before = allocated();
    let old: Vec<_> = (0..60).map(configuration).collect();
    for proxy in &old {
        drop(admitted(proxy));
    }
    let most = allocated() - before;
    drop(old);
    admitted(&resident).call(Hook::Complete);
    let left = allocated() - before;
    assert!(left < most / 20, "{left} of {most} bytes");
}
