//! A play of Envoy's: bytes become configurations, streams, hooks and answers, in lawful orders and in
//! others. Nobody is let go on who must not be, whatever comes.

use std::rc::Rc;

use crate::callers::{self, IDENTITY_TOKEN};
use crate::envoy::{
    Faults, HELD_REQUEST_BODY, Hook, Proxy, REQUEST_BODY, REQUEST_HEADERS, REQUEST_TRAILERS,
    RESPONSE_BODY, RESPONSE_HEADERS, Stream, takes_route_configuration,
};

/// More than these at a time tell nothing more.
const MAX_PROXIES: usize = 3;
const MAX_STREAMS: usize = 12;

/// The attributes that the module asks for, by the ABI's numbers.
const RESPONSE_CODE_DETAILS: u32 = 16;
const UPSTREAM_ADDRESS: u32 = 41;

/// Reads a play; what is missing is zero.
#[derive(Debug)]
struct Script<'a>(&'a [u8]);

/// What is on the stage.
#[derive(Debug, Default)]
struct Stage {
    #[allow(clippy::vec_box, reason = "the module has their addresses")]
    proxies: Vec<Box<Proxy>>,
    streams: Vec<Actor>,
    faults: Rc<Faults>,
    next: u16,
    went_on: usize,
}

#[derive(Debug)]
struct Actor {
    stream: Box<Stream>,
    /// It has a credential that may admit it, or needs none.
    may: bool,
    begun: bool,
}

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    /// Picks one of that many.
    fn pick(&mut self, count: usize) -> Option<usize> {
        usize::from(self.byte()).checked_rem(count)
    }
}

/// Plays what the bytes say, then ends all. Returns how many requests have gone on.
pub fn play(script: &[u8]) -> usize {
    let mut script = Script(script);
    let faults = match script.byte() % 4 {
        0 => script.bytes().iter().map(|byte| byte % 8 == 0).collect(),
        _ => Vec::new(),
    };
    let mut stage = Stage { faults: Rc::new(Faults::new(faults)), ..Stage::default() };
    stage.configure(&mut script);
    while !script.0.is_empty() {
        stage.step(&mut script);
    }
    stage.end(script.byte())
}

impl Stage {
    fn configure(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let text = match kind {
            0..=239 => callers::configuration(kind, self.next).into_bytes(),
            _ => script.bytes().to_vec(),
        };
        self.next = self.next.wrapping_add(1);
        if self.proxies.len() >= MAX_PROXIES {
            self.proxies.remove(0);
        }
        self.proxies.extend(Proxy::new(&text, &self.faults));
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 20 {
            0 => self.configure(script),
            1 => drop(script.pick(self.proxies.len()).map(|at| self.proxies.remove(at))),
            2 | 3 => self.begin(script),
            4 | 5 => self.deliver(),
            6..=8 => self.answer(script),
            9 => self.settle(script),
            10 => assert!(!takes_route_configuration(script.bytes())),
            11 => self.finish(script),
            _ => self.act(script),
        }
    }

    /// Begins a stream; most go on to their head at once, as Envoy has it.
    fn begin(&mut self, script: &mut Script<'_>) {
        let Some(at) = script.pick(self.proxies.len()) else { return };
        if self.streams.len() >= MAX_STREAMS {
            let actor = self.streams.remove(0);
            self.went_on += usize::from(actor.stream.went_on.get());
        }
        let Some(stream) = Stream::new(&self.proxies[at], &self.faults) else { return };
        let flags = script.byte();
        stream.reenters.set(flags & 1 == 0);
        if flags & 2 == 0 {
            stream.set_attribute(RESPONSE_CODE_DETAILS, b"via_upstream");
            stream.set_attribute(UPSTREAM_ADDRESS, b"127.0.0.1:443");
        }
        let mut actor = Actor { stream, may: false, begun: false };
        if flags >= 16 {
            actor.request_head(script);
        }
        self.streams.push(actor);
    }

    fn deliver(&self) {
        self.proxies.iter().for_each(|proxy| proxy.deliver());
        for actor in &self.streams {
            actor.stream.deliver();
            actor.check();
        }
    }

    fn answer(&self, script: &mut Script<'_>) {
        let Some(at) = script.pick(self.proxies.len()) else { return };
        let proxy = &self.proxies[at];
        proxy.deliver();
        let kind = script.byte();
        let call = proxy.calls.borrow().first().cloned();
        // Now and then the answer to a call that nobody has made.
        let (id, cluster) = call.unwrap_or((u64::from(kind), Vec::new()));
        let (headers, chunks) = callers::answer(kind, &cluster, script.bytes());
        proxy.answer(id, &headers, &chunks);
        self.deliver();
    }

    fn settle(&self, script: &mut Script<'_>) {
        let Some(at) = script.pick(self.proxies.len()) else { return };
        let proxy = &self.proxies[at];
        proxy.deliver();
        let id = proxy.settlements.borrow().first().copied().unwrap_or_default();
        let kind = script.byte();
        let status = |name: &str, value: &[u8]| vec![(name.as_bytes().to_vec(), value.to_vec())];
        match kind % 5 {
            0 => proxy.answer_headers(id, &status(":status", b"200"), false),
            1 => proxy.answer_data(id, script.bytes()),
            2 => proxy.answer_headers(id, &status("grpc-status", script.bytes()), true),
            _ => proxy.answer_end(id, kind.is_multiple_of(2)),
        }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        let Some(at) = script.pick(self.streams.len()) else { return };
        self.streams[at].act(script);
        self.streams[at].check();
    }

    /// Ends a stream, with or without the hook for it.
    fn finish(&mut self, script: &mut Script<'_>) {
        let Some(at) = script.pick(self.streams.len()) else { return };
        let actor = self.streams.remove(at);
        self.went_on += usize::from(actor.stream.went_on.get());
        if !script.byte().is_multiple_of(4) {
            actor.stream.call(Hook::Complete);
        }
    }

    /// Ends all: the streams first, as Envoy does, or the configurations.
    fn end(self, order: u8) -> usize {
        let Self { proxies, streams, .. } = self;
        let went_on = streams.iter().filter(|actor| actor.stream.went_on.get()).count();
        if order.is_multiple_of(2) {
            for actor in &streams {
                actor.stream.call(Hook::Complete);
            }
            drop(streams);
        } else {
            drop(proxies);
        }
        self.went_on + went_on
    }
}

impl Actor {
    fn request_head(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let head = callers::head(kind, script.bytes());
        let has_token = |(_, value): &(Vec<u8>, Vec<u8>)| {
            let token = callers::token().as_bytes();
            value.windows(token.len()).any(|window| window == token)
        };
        let is_public = head.iter().any(|(_, value)| value.starts_with(b"/healthz"));
        self.may |= is_public || head.iter().any(has_token);
        self.stream.set_map(REQUEST_HEADERS, head);
        self.begun = true;
        if self.stream.call(Hook::RequestHeaders { is_last: kind >= 128 }) {
            self.stream.went_on.set(true);
        }
        self.check();
    }

    fn act(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let stream = &self.stream;
        let is_last = kind >= 128;
        match script.byte() % 9 {
            // A stream has one head.
            0 if !self.begun => self.request_head(script),
            1 | 2 => {
                stream.set_body(REQUEST_BODY, vec![callers::piece(kind, script.bytes())]);
                if !stream.call(Hook::RequestBody { is_last }) {
                    let held = [stream.body(HELD_REQUEST_BODY), stream.body(REQUEST_BODY)];
                    stream.set_body(HELD_REQUEST_BODY, held.into());
                }
            }
            3 => {
                stream.set_map(REQUEST_TRAILERS, callers::head(kind, script.bytes()));
                stream.call(Hook::RequestTrailers);
            }
            4 => {
                stream.set_map(RESPONSE_HEADERS, callers::response_head(kind, script.bytes()));
                stream.call(Hook::ResponseHeaders { is_last });
            }
            5 | 6 => {
                stream.set_body(RESPONSE_BODY, vec![callers::piece(kind, script.bytes())]);
                stream.call(Hook::ResponseBody { is_last });
            }
            0 | 7 => _ = stream.call(Hook::ResponseTrailers),
            _ => _ = stream.call(Hook::LocalReply),
        }
    }

    /// Fails if the request has gone on and must not have, or with a credential of its caller's.
    fn check(&self) {
        if !self.stream.went_on.get() || self.stream.replied.get().is_some() {
            return;
        }
        assert!(self.begun && self.may, "{self:?}");
        assert_eq!(self.stream.state("wasm.keyless.verdict").as_deref(), Some(&b"admitted"[..]));
        let ours = format!("Bearer {IDENTITY_TOKEN}");
        let credential = self.stream.header("authorization");
        assert!(credential.is_none_or(|theirs| theirs == ours.as_bytes()), "{self:?}");
    }
}
