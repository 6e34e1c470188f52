//! Addresses that the gate may call.

use std::net::IpAddr;

/// Holds the two parts of a URI that a dispatched call needs; the cluster knows the rest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uri {
    /// The host, and the port if it is not the scheme's own (RFC 3986 §6.2.3).
    pub authority: String,
    /// The path, with the query.
    pub path: String,
}

impl Uri {
    /// Parses an absolute URI with the scheme `https` or `http`, without user information.
    ///
    /// Returns `None` for anything else, and for a link-local address: that is where clouds keep
    /// their metadata and the credentials in it.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: ::http::Uri = text.parse().ok()?;
        uri.host().filter(|host| !is_link_local(host)).and_then(|_| Self::parse_anywhere(text))
    }

    /// Parses an absolute URI like [`Uri::parse`], and takes a link-local address, too: where the
    /// platform says so, that is the right one.
    pub fn parse_anywhere(text: &str) -> Option<Self> {
        let uri: ::http::Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?;
        let authority = uri.authority()?;
        let is_valid = (scheme == "https" || scheme == "http")
            && !authority.as_str().contains('@')
            && text.is_ascii();
        // `path_and_query` lacks the `/` where the path is empty (RFC 9112 §3.2.1).
        let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let path = format!("{}{query}", uri.path());
        let own_port = if scheme == "https" { 443 } else { 80 };
        let authority = match authority.port_u16() {
            Some(port) if port == own_port => authority.host(),
            Some(_) | None => authority.as_str(),
        };
        is_valid.then(|| Self { authority: authority.to_owned(), path })
    }
}

fn is_link_local(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            let mapped = address.to_ipv4_mapped();
            address.is_unicast_link_local() || mapped.is_some_and(|address| address.is_link_local())
        }
        Err(_) => false,
    }
}
