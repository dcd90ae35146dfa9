//! Which HTTP requests a capability includes: methods, scheme, host, port and the start of the path.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::capability::{Coverage, shown};

/// Requests such as `GET,POST https://api.example.org:8443/v1/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpRule {
    /// The methods in upper case; empty for all.
    methods: Vec<String>,
    is_https: bool,
    host: HostPattern,
    port: u16,
    /// The start of the path, which begins with `/`.
    path: String,
    /// Whether the host may have a private address.
    private: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// This host, in lower case, an IPv6 address without brackets.
    Exact(String),
    /// Every host below this domain: `*.example.org`.
    Below(String),
}

/// The destination of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpTarget {
    /// In upper case.
    pub(crate) method: String,
    pub(crate) is_https: bool,
    /// In lower case, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// With the query.
    pub(crate) path: String,
}

impl HttpTarget {
    /// The target of a request.
    pub(crate) fn new(method: &str, is_https: bool, host: &str, port: Option<u16>, path: &str) -> Self {
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        let path = if path.is_empty() { "/" } else { path };
        Self { method: method.to_ascii_uppercase(), is_https, host: bare(host), port, path: path.to_owned() }
    }
}

impl fmt::Display for HttpTarget {
    /// As a rule that includes the target, without its query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split(['?', '#']).next().unwrap_or("/");
        let safe = |text: &str| shown(text).replace('"', "\u{fffd}");
        write!(f, "{} {}", safe(&self.method), origin(self.is_https, &safe(&self.host), self.port))?;
        f.write_str(&safe(path))
    }
}

/// `https://host:port`, without the scheme's own port.
fn origin(is_https: bool, host: &str, port: u16) -> String {
    let scheme = if is_https { "https" } else { "http" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let own = if is_https { 443 } else { 80 };
    if port == own { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
}

/// The host without the brackets of an IPv6 address and without the dot of a full name, in lower case.
fn bare(host: &str) -> String {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    inner.strip_suffix('.').unwrap_or(inner).to_ascii_lowercase()
}

impl HttpRule {
    /// Whether it includes requests to `target`.
    pub(crate) fn matches(&self, target: &HttpTarget) -> bool {
        let host = match &self.host {
            HostPattern::Exact(host) => *host == target.host,
            HostPattern::Below(domain) => {
                target.host.strip_suffix(domain).is_some_and(|before| before.len() > 1 && before.ends_with('.'))
            }
        };
        (self.methods.is_empty() || self.methods.contains(&target.method))
            && self.is_https == target.is_https
            && self.port == target.port
            && host
            && self.has_path(&target.path)
    }

    /// Whether `path` lies below the rule's. A path that a server could read as another one does not.
    fn has_path(&self, path: &str) -> bool {
        if self.path == "/" {
            return true;
        }
        let path = path.split(['?', '#']).next().unwrap_or_default();
        is_plain_path(path) && is_below(path, &self.path)
    }

    /// Whether it names a private address, or says that the host may have one.
    pub(crate) fn names_private(&self) -> bool {
        let is_named = |host: &String| host == "localhost" || host.parse().is_ok_and(is_private);
        self.private || matches!(&self.host, HostPattern::Exact(host) if is_named(host))
    }

    /// How much of `asked` it includes.
    pub(super) fn coverage(&self, asked: &Self) -> Coverage {
        if self.is_https != asked.is_https || self.port != asked.port {
            return Coverage::Nothing;
        }
        let methods = match (self.methods.as_slice(), asked.methods.as_slice()) {
            ([], _) => Coverage::All,
            (_, []) => Coverage::Part,
            (own, asked) => match asked.iter().filter(|method| own.contains(method)).count() {
                0 => Coverage::Nothing,
                found if found == asked.len() => Coverage::All,
                _ => Coverage::Part,
            },
        };
        let path = match (is_below(&asked.path, &self.path), is_below(&self.path, &asked.path)) {
            (true, _) => Coverage::All,
            (false, true) => Coverage::Part,
            (false, false) => Coverage::Nothing,
        };
        methods.min(path).min(self.host.coverage(&asked.host))
    }
}

impl HostPattern {
    fn coverage(&self, asked: &Self) -> Coverage {
        let below = |host: &str, domain: &str| host.strip_suffix(domain).is_some_and(|before| before.ends_with('.'));
        match (self, asked) {
            (own, asked) if own == asked => Coverage::All,
            (Self::Below(domain), Self::Exact(host) | Self::Below(host)) if below(host, domain) => Coverage::All,
            (Self::Exact(host) | Self::Below(host), Self::Below(domain)) if below(host, domain) => Coverage::Part,
            _ => Coverage::Nothing,
        }
    }
}

/// Whether `path` is `start`, or continues it after a `/`.
fn is_below(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| start.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

/// Whether every server reads the path in the same way: no `.` and `..`, also not encoded, and no encoded separators.
fn is_plain_path(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let is_dots = |segment: &str| matches!(segment.replace("%2e", ".").as_str(), "." | "..");
    let encoded = ["%2f", "%5c", "%25", "%00", "\\", "//"];
    !path.split('/').any(|segment| is_dots(segment.split(';').next().unwrap_or_default()))
        && !encoded.iter().any(|part| path.contains(part))
}

impl FromStr for HttpRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{}\" is not METHODS URL; write for example \"GET https://example.org/v1/\"", shown(text));
        let mut words = text.split_ascii_whitespace();
        let (Some(methods), Some(url)) = (words.next(), words.next()) else { return Err(wrong()) };
        let private = match (words.next(), words.next()) {
            (None, None) => false,
            (Some("private"), None) => true,
            _ => return Err(wrong()),
        };
        let is_method = |method: &str| !method.is_empty() && method.bytes().all(|c| c.is_ascii_alphabetic());
        if methods != "*" && !methods.split(',').all(is_method) {
            return Err(wrong());
        }
        let methods =
            if methods == "*" { Vec::new() } else { methods.split(',').map(str::to_ascii_uppercase).collect() };
        let (is_https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(wrong()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        if !is_plain_path(path) || path.contains(['?', '#', '*']) {
            return Err(format!("the path of \"{}\" must be plain, without \"..\", \"?\" and \"*\"", shown(text)));
        }
        let (host, port) = split_port(authority, is_https).ok_or_else(wrong)?;
        let host = pattern(host).ok_or_else(|| {
            format!("the host of \"{}\" must be a name, an address or \"*.\" with a domain", shown(text))
        })?;
        Ok(Self { methods, is_https, host, port, path: path.to_owned(), private })
    }
}

fn split_port(authority: &str, is_https: bool) -> Option<(&str, u16)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => Some((host, port.parse().ok().filter(|port| *port > 0)?)),
        _ => Some((authority, if is_https { 443 } else { 80 })),
    }
}

fn pattern(host: &str) -> Option<HostPattern> {
    let is_v6 = host.starts_with('[');
    let host = bare(host);
    if is_v6 {
        let address: Ipv6Addr = host.parse().ok()?;
        return Some(HostPattern::Exact(address.to_string()));
    }
    let is_name = |name: &str| {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
        !name.is_empty() && name.bytes().all(allowed) && !name.starts_with('.') && !name.contains("..")
    };
    match host.strip_prefix("*.") {
        // A domain of one label, such as `*.org`, is no host's own.
        Some(domain) => (is_name(domain) && domain.contains('.')).then(|| HostPattern::Below(domain.to_owned())),
        None => is_name(&host).then_some(HostPattern::Exact(host)),
    }
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = if self.methods.is_empty() { "*".to_owned() } else { self.methods.join(",") };
        let host = match &self.host {
            HostPattern::Exact(host) => host.clone(),
            HostPattern::Below(domain) => format!("*.{domain}"),
        };
        write!(f, "{methods} {}{}", origin(self.is_https, &host, self.port), self.path)?;
        if self.private { f.write_str(" private") } else { Ok(()) }
    }
}

/// Whether an address is not one of a public server: this machine, a private network, link-local with the metadata of
/// clouds, shared, reserved, multicast or for documentation.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
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
    let [a, b, c, ..] = address.segments();
    // An address of IPv4 in one of the forms that systems translate is judged as such.
    let embedded = match (address.to_ipv4_mapped(), address.segments()) {
        (Some(v4), _) => Some(v4),
        (None, [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low]) => Some(v4(high, low)),
        (None, [0x2002, high, low, ..]) => Some(v4(high, low)),
        _ => None,
    };
    embedded.is_some_and(is_private_v4)
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || (a & 0xfe00) == 0xfc00
        || (a & 0xffc0) == 0xfe80
        || (a & 0xffc0) == 0xfec0
        || (a == 0x64 && b == 0xff9b && c == 1)
        || (a == 0x100 && b == 0)
        || (a == 0x2001 && (b == 0xdb8 || b < 0x200))
        || (a == 0x3fff && b < 0x1000)
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests;
