//! A service of Envoy's rate-limit protocol that answers as envoyproxy/ratelimit does, by its source and
//! by what was seen of it, and misbehaves when a test has it.
//!
//! Its counters are apart from it, as Redis is: they outlive it, and forget when a test wants it.

mod call;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use call::{Counted, call};

/// Serves on one port, by the limits of one file.
pub struct RateLimitService {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Ends with this.
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

/// Says how the service behaves, to every call alike.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Behaviour {
    /// It counts and answers.
    #[default]
    Good,
    /// It counts, and answers with what is no message.
    Garbage,
    /// It counts, and never answers.
    Hangs,
    /// It does not count, and answers status 2, as if Redis were away.
    WithoutRedis,
    /// It counts, and breaks off.
    BreaksOff,
    /// It counts by limits that are twice as high.
    Doubled,
    /// It knows none of the limits.
    Unconfigured,
}

/// One descriptor of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// The name of the limit.
    pub limit: String,
    /// The counter.
    pub key: String,
    /// How much was told.
    pub hits: u64,
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    /// By name: the number, and the unit as the protocol numbers it.
    limits: HashMap<String, (u32, i32)>,
    domain: String,
    /// By limit, key and the beginning of the window.
    counters: HashMap<(String, String, u64), u64>,
    calls: Vec<Vec<Told>>,
    authorities: Vec<String>,
}

#[derive(Message)]
struct RateLimitRequest {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
}

#[derive(Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    #[prost(message, optional, tag = "3")]
    hits_addend: Option<u64>,
}

#[derive(Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Message)]
struct RateLimitResponse {
    #[prost(int32, tag = "1")]
    overall_code: i32,
    #[prost(message, repeated, tag = "2")]
    statuses: Vec<Status>,
}

#[derive(Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, optional, tag = "2")]
    current_limit: Option<RateLimit>,
    #[prost(uint32, tag = "3")]
    limit_remaining: u32,
    #[prost(message, optional, tag = "4")]
    duration_until_reset: Option<Seconds>,
}

#[derive(Message)]
struct RateLimit {
    #[prost(uint32, tag = "1")]
    requests_per_unit: u32,
    #[prost(int32, tag = "2")]
    unit: i32,
}

#[derive(Message)]
struct Seconds {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The path of the only method.
const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

const OK: i32 = 1;
const OVER_LIMIT: i32 = 2;

/// The units of the protocol: the word in a file, the number in answers, the length in seconds.
const UNITS: [(&str, i32, u64); 7] = [
    ("second", 1, 1),
    ("minute", 2, 60),
    ("hour", 3, 3_600),
    ("day", 4, 86_400),
    ("week", 7, 604_800),
    ("month", 5, 2_592_000),
    ("year", 6, 31_536_000),
];

impl RateLimitService {
    /// Starts one with a file of envoyproxy/ratelimit.
    pub async fn start(file: &str) -> Self {
        let state = State { domain: domain(file), limits: limits(file), ..State::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, tasks) = (Arc::new(Mutex::new(state)), Arc::<Mutex<JoinSet<()>>>::default());
        let (shared, connections) = (state.clone(), tasks.clone());
        tasks.lock().spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request| answer(state.clone(), request));
                let connection = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(connection), service);
                connections.lock().spawn(async move { _ = connection.await });
            }
        });
        Self { address, state, _tasks: tasks }
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it behave like this from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state.lock().behaviour = behaviour;
    }

    /// Has the counters forgotten, as those of a Redis are that keeps none.
    pub fn forget(&self) {
        self.state.lock().counters.clear();
    }

    /// Returns what all counters of a limit have counted.
    pub fn sum(&self, limit: &str) -> u64 {
        let state = self.state.lock();
        let of = state.counters.iter().filter(|((name, _, _), _)| name == limit);
        of.map(|(_, count)| count).sum()
    }

    /// Returns the calls that came, with what each told.
    pub fn calls(&self) -> Vec<Vec<Told>> {
        self.state.lock().calls.clone()
    }

    /// Returns whom the calls were for.
    pub fn authorities(&self) -> Vec<String> {
        self.state.lock().authorities.clone()
    }
}

impl fmt::Debug for RateLimitService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RateLimitService({})", self.address)
    }
}

impl State {
    fn count(&mut self, told: &Told, now: Duration) -> Status {
        let factor = match self.behaviour {
            Behaviour::Doubled => 2,
            Behaviour::Unconfigured => 0,
            _ => 1,
        };
        let limit = self.limits.get(&told.limit).filter(|_| factor > 0);
        let Some((most, unit)) = limit.map(|(most, unit)| (most * factor, *unit)) else {
            // What no rule is for is not counted, and is fine.
            return Status { code: OK, ..Status::default() };
        };
        let length = UNITS.iter().find(|(_, number, _)| *number == unit).unwrap().2;
        let begin = now.as_secs() - now.as_secs() % length;
        let counter = (told.limit.clone(), told.key.clone(), begin);
        let count = self.counters.entry(counter).or_default();
        *count += told.hits;
        Status {
            code: if *count > u64::from(most) { OVER_LIMIT } else { OK },
            current_limit: Some(RateLimit { requests_per_unit: most, unit }),
            limit_remaining: most.saturating_sub(u32::try_from(*count).unwrap_or(u32::MAX)),
            duration_until_reset: Some(Seconds {
                seconds: (begin + length - now.as_secs()).try_into().unwrap(),
            }),
        }
    }
}

/// The call ends without an answer.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call was broken off")
    }
}

impl std::error::Error for Broken {}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Answer, Broken> {
    assert_eq!(request.uri().path(), METHOD);
    let authority = request.uri().authority().map(ToString::to_string);
    let body = request.into_body().collect().await.map_err(|_| Broken)?.to_bytes();
    // One byte says whether it is compressed, four how long it is.
    let message = RateLimitRequest::decode(&body[5..]).unwrap();
    let told: Vec<_> = message.descriptors.into_iter().map(Told::of).collect();
    let (behaviour, statuses) = {
        let mut state = state.lock();
        assert_eq!(message.domain, state.domain);
        state.authorities.extend(authority);
        state.calls.push(told.clone());
        let statuses = match state.behaviour {
            Behaviour::WithoutRedis => Vec::new(),
            _ => told.iter().map(|told| state.count(told, now())).collect(),
        };
        (state.behaviour, statuses)
    };
    match behaviour {
        Behaviour::BreaksOff => return Err(Broken),
        Behaviour::Hangs => std::future::pending().await,
        _ => {}
    }
    let code = statuses.iter().map(|status: &Status| status.code).max().unwrap_or(OK);
    let message = RateLimitResponse { overall_code: code, statuses }.encode_to_vec();
    Ok(match behaviour {
        Behaviour::WithoutRedis => grpc(None, 2),
        Behaviour::Garbage => grpc(Some(b"\xff\xff\xff".to_vec()), 0),
        _ => grpc(Some(message), 0),
    })
}

fn grpc(message: Option<Vec<u8>>, status: u8) -> Answer {
    let status = HeaderValue::from(u16::from(status));
    let response = Response::builder().header("content-type", "application/grpc");
    // Without a message the status stands in the only head.
    let Some(message) = message else {
        let response = response.header("grpc-status", status);
        return response.body(BoxBody::new(Full::new(Bytes::new()))).unwrap();
    };
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0][..], &length, &message].concat();
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), status)]);
    let body = Full::new(Bytes::from(framed)).with_trailers(async move { Some(Ok(trailers)) });
    response.body(BoxBody::new(body)).unwrap()
}

impl Told {
    fn of(descriptor: Descriptor) -> Self {
        let mut entries = descriptor.entries.into_iter();
        let mut next = |key: &str| {
            let entry = entries.next().unwrap();
            assert_eq!(entry.key, key);
            entry.value
        };
        let (limit, key) = (next("limit"), next("key"));
        // Without a number of its own, a descriptor counts as 1.
        Self { limit, key, hits: descriptor.hits_addend.unwrap_or(1) }
    }
}

fn domain(file: &str) -> String {
    let file: serde_yaml_ng::Value = serde_yaml_ng::from_str(file).unwrap();
    file["domain"].as_str().unwrap().to_owned()
}

fn limits(file: &str) -> HashMap<String, (u32, i32)> {
    let file: serde_yaml_ng::Value = serde_yaml_ng::from_str(file).unwrap();
    let limit = |descriptor: &serde_yaml_ng::Value| {
        assert_eq!(descriptor["key"], "limit");
        let inner = &descriptor["descriptors"][0];
        assert_eq!(inner["key"], "key");
        let rate = &inner["rate_limit"];
        let unit = rate["unit"].as_str().unwrap();
        let (_, unit, _) = UNITS.iter().find(|(word, _, _)| *word == unit).unwrap();
        let most = rate["requests_per_unit"].as_u64().unwrap().try_into().unwrap();
        (descriptor["value"].as_str().unwrap().to_owned(), (most, *unit))
    };
    file["descriptors"].as_sequence().unwrap().iter().map(limit).collect()
}

#[expect(clippy::disallowed_methods, reason = "a service has a clock, and windows follow it")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
