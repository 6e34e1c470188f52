//! A panic at each hook: it is caught and logged, nobody is admitted who must not be, and the next request
//! is served.

use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyless_dynamic_module_host::callers;
use keyless_dynamic_module_host::envoy::{
    Faults, Headers, Hook, PANICS, Proxy, REQUEST_BODY, REQUEST_HEADERS, REQUEST_TRAILERS,
    RESPONSE_BODY, RESPONSE_HEADERS, Stream, takes_route_configuration,
};

/// The panics that are asked for are the process's, so there is one test at a time.
static STAGE: Mutex<()> = Mutex::new(());

/// A configuration of a fleet, so that all kinds of calls are made.
const FLEET: u8 = 3;

fn stage() -> MutexGuard<'static, ()> {
    let stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // What was asked for need not be told.
        if panic.payload().downcast_ref() != Some(&"a panic on demand") {
            tell(panic);
        }
    }));
    stage
}

fn proxy(number: u16) -> Option<Box<Proxy>> {
    let text = callers::configuration(FLEET, number);
    Proxy::new(text.as_bytes(), &Rc::default())
}

fn stream(proxy: &Proxy) -> Box<Stream> {
    let stream = Stream::new(proxy, &Rc::new(Faults::default())).unwrap();
    stream.reenters.set(true);
    stream
}

fn head(hook: &str) -> Headers {
    let mut head = callers::head(0, &[]);
    head.push((b"x-keyless-panic".to_vec(), hook.as_bytes().to_vec()));
    head
}

/// Does what is due, and answers all calls.
fn serve(proxy: &Proxy, stream: &Stream) {
    for _ in 0..20 {
        proxy.deliver();
        let calls = proxy.calls.borrow().clone();
        for (id, cluster) in calls {
            let (headers, chunks) = callers::answer(0, &cluster, &[]);
            proxy.answer(id, &headers, &chunks);
        }
        let settlements = proxy.settlements.borrow().clone();
        for id in settlements {
            let status = |name: &[u8], value: &[u8]| vec![(name.to_vec(), value.to_vec())];
            proxy.answer_headers(id, &status(b":status", b"200"), false);
            proxy.answer_data(id, &[0, 0, 0, 0, 0]);
            proxy.answer_headers(id, &status(b"grpc-status", b"0"), true);
            proxy.answer_end(id, false);
        }
        stream.deliver();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Sends a request, and returns its stream when it was decided.
fn request(proxy: &Proxy, head: Headers) -> Box<Stream> {
    let stream = stream(proxy);
    stream.set_map(REQUEST_HEADERS, head);
    let goes_on = stream.call(Hook::RequestHeaders { is_last: false });
    stream.went_on.set(goes_on);
    for _ in 0..100 {
        if stream.went_on.get() || stream.replied.get().is_some() {
            break;
        }
        serve(proxy, &stream);
    }
    stream
}

/// Plays the rest of a request and its answer.
fn finish(stream: &Stream) {
    stream.set_body(REQUEST_BODY, vec![br#"{"messages":[],"stream":false}"#.to_vec()]);
    stream.call(Hook::RequestBody { is_last: false });
    stream.set_map(REQUEST_TRAILERS, vec![(b"x-checksum".to_vec(), b"1".to_vec())]);
    stream.call(Hook::RequestTrailers);
    stream.set_map(RESPONSE_HEADERS, callers::response_head(0, &[]));
    stream.call(Hook::ResponseHeaders { is_last: false });
    stream.set_body(RESPONSE_BODY, vec![callers::piece(3, &[])]);
    stream.call(Hook::ResponseBody { is_last: false });
    stream.call(Hook::ResponseTrailers);
    stream.call(Hook::Complete);
}

fn is_admitted(stream: &Stream) -> bool {
    stream.went_on.get() && stream.replied.get().is_none()
}

/// Fails unless this hook alone has panicked, once.
fn assert_panicked(hook: &str) {
    let panics = std::mem::take(&mut *PANICS.lock().unwrap());
    let told = format!("panicked hook={hook} message=\"a panic on demand\"");
    assert_eq!(panics, [told], "{hook}");
}

fn assert_admits(proxy: &Proxy, hook: &str) {
    let stream = request(proxy, callers::head(0, &[]));
    assert!(is_admitted(&stream), "{hook}: {stream:?}");
    finish(&stream);
    assert_eq!(stream.replied.get(), None, "{hook}");
}

#[test]
fn at_the_hooks_of_a_request_it_is_refused_and_the_next_is_not() {
    let _stage = stage();
    let hooks = [
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
        "response_body",
    ];
    let proxy = proxy(0).unwrap();
    for hook in hooks {
        let stream = request(&proxy, head(hook));
        finish(&stream);
        assert_eq!(stream.replied.get(), Some(503), "{hook}");
        assert_panicked(hook);
        assert_admits(&proxy, hook);
    }
}

#[test]
fn at_the_hook_of_a_request_that_waits_it_is_refused() {
    let _stage = stage();
    let proxy = proxy(1).unwrap();
    // It is called whether there is news or not.
    let stream = stream(&proxy);
    stream.set_map(REQUEST_HEADERS, head("scheduled"));
    assert!(!stream.call(Hook::RequestHeaders { is_last: true }) || stream.replied.get().is_none());
    stream.call(Hook::Scheduled);
    assert_eq!(stream.replied.get(), Some(503));
    assert_panicked("scheduled");
    assert_admits(&proxy, "scheduled");
}

#[test]
fn where_nobody_is_left_to_refuse_nobody_else_is() {
    let _stage = stage();
    let proxy = proxy(2).unwrap();
    for hook in ["response_trailers", "stream_complete", "destroy"] {
        let stream = request(&proxy, head(hook));
        assert!(is_admitted(&stream), "{hook}");
        finish(&stream);
        drop(stream);
        assert_panicked(hook);
        assert_admits(&proxy, hook);
    }
    let mut refused = head("local_reply");
    refused.retain(|(name, _)| name != b"authorization");
    let stream = request(&proxy, refused);
    assert_eq!(stream.replied.get(), Some(401));
    assert_panicked("local_reply");
    assert_admits(&proxy, "local_reply");
}

#[test]
fn a_request_without_a_filter_of_its_own_is_refused() {
    let _stage = stage();
    let proxy = proxy(3).unwrap();
    finish(&request(&proxy, head("new")));
    let stream = request(&proxy, callers::head(0, &[]));
    assert_eq!(stream.replied.get(), Some(503));
    finish(&stream);
    assert_panicked("new");
    assert_admits(&proxy, "new");
}

#[test]
fn at_the_hooks_of_a_configuration_requests_are_served_on() {
    let _stage = stage();
    let hooks = [
        "config_scheduled",
        "config_http_callout_done",
        "config_http_stream_headers",
        "config_http_stream_data",
        "config_http_stream_trailers",
        "config_http_stream_complete",
        "config_http_stream_reset",
    ];
    for (number, hook) in (10..).zip(hooks) {
        let proxy = proxy(number).unwrap();
        finish(&request(&proxy, head(hook)));
        let stream = stream(&proxy);
        serve(&proxy, &stream);
        // Answers to calls that nobody made come as well.
        let status = vec![(b":status".to_vec(), b"200".to_vec())];
        proxy.answer(99, &status, &[]);
        proxy.answer_headers(99, &status, false);
        proxy.answer_data(99, b"x");
        proxy.answer_headers(99, &status, true);
        proxy.answer_end(99, false);
        proxy.answer_end(99, true);
        assert_panicked(hook);
        assert_admits(&proxy, hook);
    }
}

#[test]
fn a_configuration_that_cannot_be_made_or_ended_leaves_the_others_alone() {
    let _stage = stage();
    let present = proxy(20).unwrap();
    finish(&request(&present, head("config_new")));
    assert!(proxy(21).is_none(), "Envoy keeps the one that it has");
    assert_panicked("config_new");
    assert_admits(&present, "config_new");
    finish(&request(&present, head("config_destroy")));
    let next = proxy(22).unwrap();
    drop(present);
    assert_panicked("config_destroy");
    assert_admits(&next, "config_destroy");
    finish(&request(&next, head("per_route_config_new")));
    assert!(!takes_route_configuration(b"{}"));
    assert_panicked("per_route_config_new");
    assert_admits(&next, "per_route_config_new");
}
