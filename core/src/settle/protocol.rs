//! The messages of Envoy's rate-limit protocol (`envoy.service.ratelimit.v3`), as far as they are
//! used; fields that are not named here are skipped.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;

use crate::ledger::{Item, Window};

/// What the service says of one counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Status {
    /// Its limit, if it has one.
    pub(super) limit: Option<(u32, Window)>,
    most: Option<u32>,
    remaining: u32,
    pub(super) resets_in: Option<Duration>,
}

/// The descriptor's key that has the name of the limit.
pub(super) const LIMIT: &str = "limit";

/// The descriptor's key that tells counters of a limit apart.
pub(super) const KEY: &str = "key";

#[derive(Message)]
#[prost(skip_debug)]
struct RateLimitRequest {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
}

#[derive(Message)]
#[prost(skip_debug)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    /// Absent would count as 1.
    #[prost(message, optional, tag = "3")]
    hits_addend: Option<u64>,
}

#[derive(Message)]
#[prost(skip_debug)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Message)]
#[prost(skip_debug)]
struct RateLimitResponse {
    #[prost(message, repeated, tag = "2")]
    statuses: Vec<DescriptorStatus>,
}

#[derive(Message)]
#[prost(skip_debug)]
struct DescriptorStatus {
    #[prost(message, optional, tag = "2")]
    current_limit: Option<RateLimit>,
    #[prost(uint32, tag = "3")]
    limit_remaining: u32,
    #[prost(message, optional, tag = "4")]
    duration_until_reset: Option<Seconds>,
}

#[derive(Message)]
#[prost(skip_debug)]
struct RateLimit {
    #[prost(uint32, tag = "1")]
    requests_per_unit: u32,
    #[prost(int32, tag = "2")]
    unit: i32,
}

/// `google.protobuf.Duration` without its fraction.
#[derive(Message)]
#[prost(skip_debug)]
struct Seconds {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// `envoy.config.core.v3.GrpcService`.
#[derive(Message)]
#[prost(skip_debug)]
struct GrpcService {
    #[prost(message, optional, tag = "1")]
    envoy_grpc: Option<EnvoyGrpc>,
}

#[derive(Message)]
#[prost(skip_debug)]
struct EnvoyGrpc {
    #[prost(string, tag = "1")]
    cluster_name: String,
    #[prost(string, tag = "2")]
    authority: String,
}

/// Writes a request that tells of these counters, each with the name of its limit.
pub(super) fn request<'a>(domain: &str, items: impl Iterator<Item = (&'a str, Item)>) -> Vec<u8> {
    let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
    let descriptor = |(limit, item): (&str, Item)| Descriptor {
        entries: vec![
            entry(LIMIT, limit.to_owned()),
            entry(KEY, URL_SAFE_NO_PAD.encode(item.key.0)),
        ],
        hits_addend: Some(item.hits),
    };
    let descriptors = items.map(descriptor).collect();
    RateLimitRequest { domain: domain.to_owned(), descriptors }.encode_to_vec()
}

/// Reads an answer that must say something of so many counters.
pub(super) fn statuses(message: &[u8], count: usize) -> Option<Vec<Status>> {
    let RateLimitResponse { statuses } = RateLimitResponse::decode(message).ok()?;
    (statuses.len() == count).then(|| statuses.into_iter().map(Status::of).collect())
}

/// Writes where a call goes to.
pub(super) fn target(cluster: &str, authority: &str) -> Vec<u8> {
    let (cluster_name, authority) = (cluster.to_owned(), authority.to_owned());
    GrpcService { envoy_grpc: Some(EnvoyGrpc { cluster_name, authority }) }.encode_to_vec()
}

impl Status {
    fn of(status: DescriptorStatus) -> Self {
        let DescriptorStatus { current_limit, limit_remaining, duration_until_reset } = status;
        let seconds = |Seconds { seconds }| u64::try_from(seconds).ok().map(Duration::from_secs);
        let limit = current_limit.as_ref();
        Self {
            limit: limit.and_then(|limit| Some((limit.requests_per_unit, window(limit.unit)?))),
            most: limit.map(|limit| limit.requests_per_unit),
            remaining: limit_remaining,
            resets_in: duration_until_reset.and_then(seconds),
        }
    }

    /// Returns how much the fleet has used, or at least that much where nothing is left.
    pub(super) fn used(&self) -> Option<u64> {
        self.limit?;
        self.most?.checked_sub(self.remaining).map(u64::from)
    }
}

/// Reads `RateLimitResponse.RateLimit.Unit`.
fn window(unit: i32) -> Option<Window> {
    Window::ALL.into_iter().map(|(_, window)| window).find(|window| window.unit().1 == unit)
}
