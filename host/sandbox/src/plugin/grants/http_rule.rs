//! Which HTTP requests a capability includes: methods, scheme, host, port and the start of the path.

pub(crate) mod address;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use self::address::{Network, canonical};
use super::capability::{Coverage, shown};

/// Requests such as `GET,POST https://api.example.org:8443/v1/`, or `GET https://wiki.corp at 10.0.0.0/8` for a host whose
/// address is private. `*` stands for every method, host or port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpRule {
    /// The methods in upper case; empty for all.
    methods: Vec<String>,
    is_https: bool,
    host: HostPattern,
    /// The port; `None` for all.
    port: Option<u16>,
    /// The start of the path, which begins with `/`.
    path: String,
    /// Private addresses that the host may have.
    network: Option<Network>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// This host, in lower case, an IPv6 address without brackets.
    Exact(String),
    /// Every host below this domain: `*.example.org`.
    Below(String),
    /// Every host.
    Any,
}

/// The destination of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpTarget {
    /// In upper case.
    pub(crate) method: String,
    pub(crate) is_https: bool,
    /// In lower case, an IPv6 address in its usual form and without brackets.
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

impl HttpTarget {
    /// The host and, if it is not the scheme's own, the port, as the header `Host` has them.
    pub(crate) fn authority(&self) -> String {
        origin(self.is_https, &self.host, Some(self.port))
            .split_once("://")
            .map_or_else(String::new, |parts| parts.1.to_owned())
    }
}

impl fmt::Display for HttpTarget {
    /// As a rule that includes the target, without its query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split(['?', '#']).next().unwrap_or("/");
        let safe = |text: &str| shown(text).replace('"', "\u{fffd}");
        write!(f, "{} {}", safe(&self.method), origin(self.is_https, &safe(&self.host), Some(self.port)))?;
        f.write_str(&safe(path))
    }
}

/// `https://host:port`, without the scheme's own port.
fn origin(is_https: bool, host: &str, port: Option<u16>) -> String {
    let scheme = if is_https { "https" } else { "http" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let own = if is_https { 443 } else { 80 };
    match port {
        None => format!("{scheme}://{host}:*"),
        Some(port) if port == own => format!("{scheme}://{host}"),
        Some(port) => format!("{scheme}://{host}:{port}"),
    }
}

/// The host without the brackets of an IPv6 address and without the dot of a full name, in lower case.
fn bare(host: &str) -> String {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    // An IPv6 address has several spellings.
    if let Ok(address) = inner.parse::<Ipv6Addr>() {
        return address.to_string();
    }
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
            HostPattern::Any => true,
        };
        (self.methods.is_empty() || self.methods.contains(&target.method))
            && self.is_https == target.is_https
            && self.port.is_none_or(|port| port == target.port)
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

    /// Whether it names `address`, which is private: as its host, or as an address of its host.
    pub(crate) fn names_private(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        let is_host = match &self.host {
            HostPattern::Exact(host) if host == "localhost" => address.is_loopback(),
            HostPattern::Exact(host) => host.parse().is_ok_and(|host| canonical(host) == address),
            HostPattern::Below(_) | HostPattern::Any => false,
        };
        is_host || self.network.is_some_and(|network| network.contains(address))
    }

    /// How much of `asked` it includes.
    pub(super) fn coverage(&self, asked: &Self) -> Coverage {
        if self.is_https != asked.is_https {
            return Coverage::Nothing;
        }
        let port = match (self.port, asked.port) {
            (None, _) => Coverage::All,
            (Some(_), None) => Coverage::Part,
            (Some(own), Some(asked)) if own == asked => Coverage::All,
            _ => Coverage::Nothing,
        };
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
        methods.min(path).min(port).min(self.host.coverage(&asked.host))
    }
}

impl HostPattern {
    fn coverage(&self, asked: &Self) -> Coverage {
        let below = |host: &str, domain: &str| host.strip_suffix(domain).is_some_and(|before| before.ends_with('.'));
        match (self, asked) {
            (own, asked) if own == asked => Coverage::All,
            (Self::Any, _) => Coverage::All,
            (_, Self::Any) => Coverage::Part,
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
        let network = match (words.next(), words.next(), words.next()) {
            (None, ..) => None,
            (Some("at"), Some(network), None) => Some(network.parse()?),
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
            format!("the host of \"{}\" must be a name, an address, \"*.\" with a domain, or \"*\"", shown(text))
        })?;
        Ok(Self { methods, is_https, host, port, path: path.to_owned(), network })
    }
}

/// Host and port; the port is `None` for all.
fn split_port(authority: &str, is_https: bool) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, "*")) => Some((host, None)),
        Some((host, port)) if !port.contains(']') => Some((host, Some(port.parse().ok().filter(|port| *port > 0)?))),
        _ => Some((authority, Some(if is_https { 443 } else { 80 }))),
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
    if host == "*" {
        return Some(HostPattern::Any);
    }
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
            HostPattern::Any => "*".to_owned(),
        };
        write!(f, "{methods} {}{}", origin(self.is_https, &host, self.port), self.path)?;
        match self.network {
            Some(network) => write!(f, " at {network}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
