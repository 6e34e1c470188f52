//! gRPC over HTTP/2, for a host that has no gRPC client: one message there and one back
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use super::{Settled, Settlement, authority};
use crate::http::MAX_BODY;

/// Takes the parts of an HTTP/2 response to a [`Settlement`] as they come.
///
/// ```
/// # use keyless_core::settle::{GrpcAnswer, Settled};
/// let mut answer = GrpcAnswer::default();
/// answer.headers(Some(b"200"), None);
/// answer.data(&[0, 0, 0, 0, 2]);
/// answer.data(b"hi");
/// answer.trailers(Some(b"0"));
/// assert_eq!(answer.end(), Settled::Answered(b"hi".to_vec()));
/// ```
#[derive(Debug, Default)]
pub struct GrpcAnswer {
    http_status: Option<u32>,
    grpc_status: Option<u32>,
    body: Vec<u8>,
}

/// Before a message: whether it is compressed, and how long it is in bytes.
const PREFIX: usize = 5;

/// gRPC's number for a failure that nothing else is known of.
const UNKNOWN: u32 = 2;

/// gRPC's number for an answer that is not framed as gRPC says.
const INTERNAL: u32 = 13;

/// gRPC's number for a service that is away.
const UNAVAILABLE: u32 = 14;

impl Settlement {
    /// Returns the headers of the request over HTTP/2, the pseudo-headers among them.
    pub fn headers(&self) -> [(&'static str, &str); 5] {
        [
            (":method", "POST"),
            (":authority", authority(&self.cluster)),
            (":path", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
    }

    /// Returns the body of the request over HTTP/2.
    pub fn body(&self) -> Vec<u8> {
        // It tells of 200 counters at most, and is never longer than a u32 can say.
        let length = u32::try_from(self.message.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&[0][..], &length, &self.message].concat()
    }
}

impl GrpcAnswer {
    /// Takes the headers `:status` and `grpc-status`. The latter is there if nothing follows.
    pub fn headers(&mut self, status: Option<&[u8]>, grpc_status: Option<&[u8]>) {
        self.http_status = status.and_then(number);
        self.trailers(grpc_status);
    }

    /// Takes a part of the body.
    pub fn data(&mut self, piece: &[u8]) {
        // One byte more is kept than a message may have, so that a longer one is none.
        let room = MAX_BODY.saturating_add(PREFIX + 1).saturating_sub(self.body.len());
        self.body.extend(piece.iter().take(room));
    }

    /// Takes the trailer `grpc-status`.
    pub fn trailers(&mut self, grpc_status: Option<&[u8]>) {
        self.grpc_status = grpc_status.and_then(number).or(self.grpc_status);
    }

    /// Returns what came of it, now that the response is over.
    pub fn end(self) -> Settled {
        match self.grpc_status {
            Some(0) => message(&self.body)
                .map_or(Settled::Failed(INTERNAL), |message| Settled::Answered(message.to_vec())),
            Some(status) => Settled::Failed(status),
            None => Settled::Failed(self.http_status.map_or(UNKNOWN, status_of)),
        }
    }

    /// Returns what came of it if the response broke off.
    pub fn broken() -> Settled {
        Settled::Failed(UNAVAILABLE)
    }
}

/// The one message of a body.
fn message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_first_chunk::<PREFIX>()?;
    let [0, length @ ..] = prefix else { return None };
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (message.len() == length && length <= MAX_BODY).then_some(message)
}

fn number(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// gRPC's number for a response that no gRPC server sent
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
fn status_of(http_status: u32) -> u32 {
    match http_status {
        400 => INTERNAL,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: &[u8], body: &[&[u8]], grpc_status: Option<&[u8]>) -> Settled {
        let mut answer = GrpcAnswer::default();
        answer.headers(Some(status), None);
        for piece in body {
            answer.data(piece);
        }
        answer.trailers(grpc_status);
        answer.end()
    }

    #[test]
    fn a_message_may_come_in_pieces() {
        let whole = b"\0\0\0\0\x03abc";
        for at in 0..=whole.len() {
            let (one, other) = whole.split_at(at);
            let settled = answered(b"200", &[one, other], Some(b"0"));
            assert_eq!(settled, Settled::Answered(b"abc".to_vec()), "{at}");
        }
    }

    #[test]
    fn what_is_not_one_whole_plain_message_is_none() {
        let too_long = vec![0; MAX_BODY + 1];
        let length = u32::try_from(too_long.len()).unwrap().to_be_bytes();
        let too_long = [&[0][..], &length, &too_long].concat();
        for body in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x03ab",
            b"\0\0\0\0\x03abcd",
            b"\x01\0\0\0\x03abc",
            b"\0\xff\xff\xff\xffabc",
            &too_long,
        ] {
            let settled = answered(b"200", &[body], Some(b"0"));
            assert_eq!(settled, Settled::Failed(INTERNAL));
        }
    }

    #[test]
    fn the_trailers_say_whether_it_failed_and_else_the_http_status() {
        let message = b"\0\0\0\0\0";
        assert_eq!(answered(b"200", &[message], Some(b"8")), Settled::Failed(8));
        assert_eq!(answered(b"200", &[message], None), Settled::Failed(UNKNOWN));
        assert_eq!(answered(b"200", &[message], Some(b"many")), Settled::Failed(UNKNOWN));
        assert_eq!(answered(b"503", &[b"no healthy upstream"], None), Settled::Failed(UNAVAILABLE));
        let mut without_body = GrpcAnswer::default();
        without_body.headers(Some(b"200"), Some(b"12"));
        assert_eq!(without_body.end(), Settled::Failed(12));
    }

    #[test]
    fn a_call_is_a_post_of_one_message_to_the_host_of_the_cluster() {
        let cluster = "outbound|8081||ratelimit.example.com".to_owned();
        let timeout = std::time::Duration::from_secs(1);
        let message = b"abc".to_vec();
        let call = Settlement { cluster, target: String::new(), message, timeout };
        assert_eq!(call.headers()[1], (":authority", "ratelimit.example.com"));
        assert_eq!(call.body(), b"\0\0\0\0\x03abc");
    }
}
