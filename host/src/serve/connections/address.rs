//! The address of a client that connects directly or through a trusted proxy.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};

use crate::config::Network;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of a request's client, in the extensions of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The proxies whose header `X-Forwarded-For` is used (`server.trusted_proxies`).
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// The proxies in these networks.
    #[must_use]
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// Whether the proxy at `address` is trusted.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client of a request from `peer`. If `peer` is a trusted proxy, it is the last address in `X-Forwarded-For` that is
    /// not one. An entry that is no address ends the search: the client is the proxy that wrote the entry.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer.to_canonical();
        if !self.contains(client) {
            return ClientAddress(client);
        }
        let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or("?")).collect();
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let Some(address) = address_of(entry.trim()) else { break };
            client = address;
            if !self.contains(client) {
                break;
            }
        }
        ClientAddress(client)
    }
}

/// The address of an entry, which may have brackets and a port.
fn address_of(entry: &str) -> Option<IpAddr> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let bare = match entry.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => entry.split_once(':')?.0,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let networks = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
        }
        TrustedProxies::new(networks).client(peer.parse().expect("an address"), &headers).0.to_string()
    }

    #[test]
    fn x_forwarded_for_counts_only_from_a_trusted_proxy() {
        let proxies = ["10.0.0.0/8", "::1"];
        for (peer, lines, expected) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"][..], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"][..], "198.51.100.1"),
            // The client's own entries are to the left of the proxy's.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"][..], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"][..], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"][..], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3,10.0.0.2"][..], "10.0.0.3"),
            ("::1", &["198.51.100.1:4711"][..], "198.51.100.1"),
            ("::1", &["[2001:db8::7]:443"][..], "2001:db8::7"),
            ("::1", &["2001:db8::7"][..], "2001:db8::7"),
        ] {
            assert_eq!(client(&proxies, peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn an_entry_that_is_no_address_is_not_a_client() {
        for odd in ["unknown", "", "1.2.3", "\"1.2.3.4\"", "[::1", "%00", "1.2.3.4, ", "\u{e9}"] {
            assert_eq!(client(&["127.0.0.1"], "127.0.0.1", &[odd]), "127.0.0.1", "{odd}");
        }
        assert_eq!(client(&["127.0.0.1"], "127.0.0.1", &["8.8.8.8, nobody, 127.0.0.1"]), "127.0.0.1");
        assert_eq!(client(&[], "127.0.0.1", &["8.8.8.8"]), "127.0.0.1");
    }
}
