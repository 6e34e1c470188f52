//! A request as it arrived.

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::request::Parts;

/// Holds a request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// The path, and after a `?` the query, as they stood in the request line.
    pub target: String,
    /// Names in lower case, and values as bytes; a repeated name has one entry for each value.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// The trailers, in the form of the headers.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Recorded {
    pub(super) fn new(head: &Parts, body: &Bytes, trailers: &HeaderMap) -> Self {
        Self {
            method: head.method.to_string(),
            target: head.uri.path_and_query().map_or("", |target| target.as_str()).to_owned(),
            headers: fields(&head.headers),
            body: body.to_vec(),
            trailers: fields(trailers),
        }
    }

    /// Returns the first value of the header `name`, whatever its case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// Returns every value of the header `name`, whatever its case, in the order of arrival.
    pub fn header_values(&self, name: &str) -> Vec<&[u8]> {
        self.values(name).collect()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = self.headers.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice())
    }
}

fn fields(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}
