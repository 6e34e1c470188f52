//! One call to a service of Envoy's rate-limit protocol.

use std::net::SocketAddr;

use prost::Message;

use super::{Descriptor, Entry, METHOD, RateLimitRequest, RateLimitResponse, Told};

/// Holds what a service answers of one descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counted {
    /// Whether more was told than the limit has room for.
    pub is_over: bool,
    /// The number and the unit of the limit, as the protocol numbers it, if there is one.
    pub limit: Option<(u32, i32)>,
    /// How much is left.
    pub remaining: u32,
    /// Whether the end of the window was told, which depends on the clock.
    pub has_end: bool,
}

/// Tells a service of what was used; if it fails, with this gRPC status.
pub async fn call(
    address: SocketAddr,
    domain: &str,
    told: &[Told],
) -> Result<Vec<Counted>, Option<u32>> {
    let descriptors = told.iter().map(descriptor).collect();
    let message = RateLimitRequest { domain: domain.to_owned(), descriptors }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let request = client.post(format!("http://{address}{METHOD}")).header("te", "trailers");
    let request = request.header("content-type", "application/grpc");
    let answer = request.body([&[0][..], &length, &message].concat()).send().await.unwrap();
    let status = answer.headers().get("grpc-status").and_then(|status| status.to_str().ok());
    let status = status.and_then(|status| status.parse().ok());
    let body = answer.bytes().await.map_err(|_| status)?;
    let message = body.get(5..).ok_or(status)?;
    let RateLimitResponse { statuses, .. } = RateLimitResponse::decode(message).unwrap();
    let counted = statuses.into_iter().map(|status| Counted {
        is_over: status.code == super::OVER_LIMIT,
        limit: status.current_limit.map(|limit| (limit.requests_per_unit, limit.unit)),
        remaining: status.limit_remaining,
        has_end: status.duration_until_reset.is_some(),
    });
    Ok(counted.collect())
}

fn descriptor(told: &Told) -> Descriptor {
    let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
    let entries = vec![entry("limit", &told.limit), entry("key", &told.key)];
    Descriptor { entries, hits_addend: Some(told.hits) }
}
