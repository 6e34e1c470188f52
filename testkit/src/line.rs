//! A connection on which a caller may say anything, well-formed or not.

use std::io;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::reply::Reply;
use crate::world::ANSWERED_WITHIN;

/// Holds one connection to one worker.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    /// What was received beyond the last reply.
    received: Vec<u8>,
}

impl Line {
    /// Connects, and sends nothing yet.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Sends bytes, and waits for no reply.
    pub async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request and returns the reply, or `None` if the connection ends without one.
    pub async fn ask(&mut self, request: &[u8]) -> Option<Reply> {
        self.say(request).await.ok()?;
        self.hear().await
    }

    /// Returns the reply to the earliest request that has none yet, or `None` if the connection ends
    /// without one.
    pub async fn hear(&mut self) -> Option<Reply> {
        let reply = timeout(ANSWERED_WITHIN, self.receive()).await;
        reply.expect("a reply in time, or the end of the connection")
    }

    /// Reads one reply that comes in chunks, to its end.
    pub async fn hear_chunks(&mut self) -> Vec<u8> {
        let end = b"\r\n0\r\n\r\n";
        let receive = async {
            loop {
                if let Some(at) = self.received.windows(end.len()).position(|window| window == end)
                {
                    return self.received.drain(..at + end.len()).collect();
                }
                let mut buffer = [0; 4096];
                let count = self.stream.read(&mut buffer).await.unwrap_or_default();
                assert!(count > 0, "the connection ended before the reply");
                self.received.extend(&buffer[..count]);
            }
        };
        timeout(ANSWERED_WITHIN, receive).await.expect("a reply in time")
    }

    /// Reads one reply, whose length is in `content-length`.
    async fn receive(&mut self) -> Option<Reply> {
        loop {
            if let Some((reply, length)) = parse(&self.received) {
                self.received.drain(..length);
                return Some(reply);
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).await.unwrap_or_default();
            if count == 0 {
                return None;
            }
            self.received.extend(&buffer[..count]);
        }
    }
}

/// Returns the reply at the beginning of the bytes, and how many they are, once it is complete.
fn parse(bytes: &[u8]) -> Option<(Reply, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(start) = head.parse(bytes).expect("HTTP/1.1") else {
        return None;
    };
    let field = |field: &httparse::Header<'_>| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).unwrap();
        (name, HeaderValue::from_bytes(field.value).unwrap())
    };
    let headers: HeaderMap = head.headers.iter().map(field).collect();
    assert!(!headers.contains_key("transfer-encoding"), "a reply in chunks: {headers:?}");
    let length = headers.get("content-length").map_or("0", |value| value.to_str().unwrap());
    let end = start + length.parse::<usize>().unwrap();
    let body = bytes.get(start..end)?.to_vec();
    Some((Reply { status: head.code.unwrap(), headers, body }, end))
}
