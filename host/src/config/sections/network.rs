//! IP networks: an address, or an address with a prefix length.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses with the same prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether `address` belongs to the network. An IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a network; write 10.0.0.0/8, 127.0.0.1 or fd00::/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |prefix| prefix.trim().parse()).map_err(|_| wrong())?;
        if prefix > bits {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_of_its_prefix() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().expect("a network").contains(address.parse().expect("an address"))
        };
        for (network, address) in [
            ("10.0.0.0/8", "10.255.1.2"),
            ("10.0.0.0/8", "::ffff:10.1.2.3"),
            ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0/0", "8.8.8.8"),
            ("fd00::/8", "fdff::1"),
            ("::/0", "2001:db8::1"),
            ("192.168.1.77/24", "192.168.1.1"),
        ] {
            assert!(holds(network, address), "{network} {address}");
        }
        for (network, address) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "::1"),
            ("::/0", "1.2.3.4"),
            ("fd00::/8", "fe00::1"),
        ] {
            assert!(!holds(network, address), "{network} {address}");
        }
    }

    #[test]
    fn invalid_networks_are_refused_with_an_example() {
        for text in ["", "/", "10.0.0.0/33", "::/129", "10.0.0/8", "1.2.3.4/-1", "1.2.3.4/", "example.org", "*"] {
            let why = text.parse::<Network>().expect_err(text);
            assert!(why.contains("10.0.0.0/8"), "{why}");
        }
    }
}
