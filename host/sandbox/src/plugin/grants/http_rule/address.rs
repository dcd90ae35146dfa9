//! Which addresses are private, and networks of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::super::capability::shown;

/// An address, or all addresses with the same first bits, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address`, in its canonical form, is one of the network.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                let of = |address: Ipv4Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                of(first) == of(address)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                let of = |address: Ipv6Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                of(first) == of(address)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{}\" is no address or network; write for example 10.1.2.3 or 10.0.0.0/8", shown(text));
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        if first != canonical(first) {
            return Err(wrong());
        }
        let all = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        if bits > all { Err(wrong()) } else { Ok(Self { first, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.first.is_ipv4() { 32 } else { 128 };
        if self.bits == all { self.first.fmt(f) } else { write!(f, "{}/{}", self.first, self.bits) }
    }
}

/// An IPv4 address that is written as one of IPv6, as IPv4.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether an address is not one of a public server: this machine, a private network, link-local with the metadata of
/// clouds, shared, reserved, multicast or for documentation.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // An address of IPv4 in one of the forms that systems translate is judged as such.
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => return is_private_v4(v4(high, low)),
        [0x2002, high, low, ..] => return is_private_v4(v4(high, low)),
        _ => {}
    }
    // All public servers are in this eighth of the addresses (RFC 4291, and the registry of IANA).
    (a & 0xe000) != 0x2000 || (a == 0x2001 && (b == 0xdb8 || b < 0x200)) || (a == 0x3fff && b < 0x1000)
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}
