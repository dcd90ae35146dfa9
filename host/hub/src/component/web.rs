//! Requests to the host that the user named, and to those that it redirects to.
//!
//! A user may name any host, also one on this machine or in a private network. A host on the internet may lead only to other
//! hosts on the internet: its redirects, token servers and upload addresses are resolved, checked, and then reached at the
//! addresses that were checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use firebox_contract::limits;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url, redirect};

use crate::client::{backoff, body, host, innermost, is_local, provide_tls};
use crate::error::{HubError, shown};

/// The client for one named host.
#[derive(Debug, Clone)]
pub(super) struct Web {
    /// The named host.
    named: Url,
    /// Whether the named host is in a private network or on this machine, so that it may lead there.
    is_private: bool,
}

/// A request.
pub(super) struct WebRequest<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Goes only to the origin of `url`, which the caller has chosen for it.
    pub(super) authorization: Option<HeaderValue>,
    pub(super) body: &'a [u8],
}

impl<'a> WebRequest<'a> {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), authorization: None, body: &[] }
    }

    pub(super) fn with(self, body: &'a [u8]) -> Self {
        Self { body, ..self }
    }
}

impl Web {
    /// The client for the host of `url`.
    ///
    /// # Errors
    /// `HubError::Name` for an address that cannot be used.
    pub(super) async fn of(url: &str) -> Result<(Self, Url), HubError> {
        let wrong = |why: &str| HubError::Name(format!("\"{}\" {why}", shown(url)));
        let parsed = Url::parse(url).map_err(|_| wrong("is not an address; write https://HOST/PATH"))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(HubError::Name(
                "an address must not have a password in it; use a signed-in registry".to_owned(),
            ));
        }
        if parsed.scheme() != "https" && !(parsed.scheme() == "http" && is_local(&parsed)) {
            return Err(wrong("must begin with https://; http:// is for this machine only"));
        }
        let mut named = parsed.clone();
        named.set_fragment(None);
        let found = addresses(&parsed).await.unwrap_or_default();
        let is_private = !found.is_empty() && found.iter().all(|address| !is_public(address.ip()));
        Ok((Self { named: named.clone(), is_private }, named))
    }

    /// The address `text`, which the named host or an answer of it gave, relative to `from`.
    ///
    /// # Errors
    /// `HubError::Denied` for an address that is not allowed.
    pub(super) fn next(&self, from: &Url, text: &str) -> Result<Url, HubError> {
        let refused = |why: &str| HubError::Denied(format!("\"{}\" leads to \"{}\", {why}", host(from), shown(text)));
        let to = from.join(text).map_err(|_| refused("which is not an address"))?;
        let is_open = to.scheme() == "http" && is_local(&to) && is_local(&self.named);
        if to.scheme() != "https" && !is_open {
            return Err(refused("which is not https and was not followed"));
        }
        Ok(to)
    }

    /// Sends a request until it has an answer that is no redirect, and repeats it when a failure may pass.
    ///
    /// # Errors
    /// `HubError::Unreachable`, `HubError::Denied`.
    pub(super) async fn send(&self, ask: &WebRequest<'_>) -> Result<Response, HubError> {
        let mut failures = 0;
        loop {
            let (error, wait) = match self.attempt(ask).await {
                Ok(response) if is_passing(response.status()) => {
                    let (host, status) = (host(&ask.url), response.status().as_u16());
                    let asked = response.headers().get("retry-after").and_then(|text| text.to_str().ok()?.parse().ok());
                    let why = format!("\"{host}\" answered with status {status}; try again later");
                    (HubError::Unreachable(why), asked.map(Duration::from_secs))
                }
                Ok(response) => return Ok(response),
                Err(error @ HubError::Unreachable(_)) => (error, None),
                Err(error) => return Err(error),
            };
            failures += 1;
            let wait = backoff::wait(failures, wait, limits::HUB_BACKOFF_MIN);
            if failures >= limits::COMPONENT_ATTEMPTS_MAX || wait > limits::HUB_BACKOFF_MAX {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, ask: &WebRequest<'_>) -> Result<Response, HubError> {
        let (mut url, mut method) = (ask.url.clone(), ask.method.clone());
        for _ in 0..=limits::HUB_REDIRECTS_MAX {
            let mut request =
                self.client(&url).await?.request(method.clone(), url.clone()).headers(ask.headers.clone());
            request = request.header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            if let Some(value) = ask.authorization.clone().filter(|_| url.origin() == ask.url.origin()) {
                request = request.header(AUTHORIZATION, value);
            }
            if !ask.body.is_empty() || method == Method::POST || method == Method::PUT {
                request = request.body(ask.body.to_vec());
            }
            let sent = tokio::time::timeout(limits::COMPONENT_TIMEOUT, request.send()).await;
            let response = match sent {
                Err(_) => return Err(HubError::Unreachable(format!("\"{}\" did not answer in time", host(&url)))),
                Ok(Err(error)) => return Err(unanswered(&url, &error)),
                Ok(Ok(response)) => response,
            };
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            if response.status() == StatusCode::SEE_OTHER {
                method = Method::GET;
            }
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            url = self.next(&url, to)?;
        }
        let (host, max) = (host(&ask.url), limits::HUB_REDIRECTS_MAX);
        Err(HubError::Unreachable(format!("\"{host}\" redirects more than {max} times")))
    }

    /// The HTTP client for `url`. For a host that the user did not name it reaches checked addresses only.
    async fn client(&self, url: &Url) -> Result<reqwest::Client, HubError> {
        provide_tls();
        let builder = reqwest::Client::builder()
            .connect_timeout(limits::HUB_CONNECT_TIMEOUT)
            .read_timeout(limits::HUB_READ_TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("firebox/", env!("CARGO_PKG_VERSION")));
        let builder = if is_local(url) { builder.no_proxy() } else { builder };
        let builder = if self.is_private || url.origin() == self.named.origin() || uses_proxy() {
            self.check_literal(url)?;
            builder
        } else {
            let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            builder.resolve_to_addrs(&name, &self.checked(url).await?)
        };
        builder.build().map_err(|error| {
            let why = shown(&innermost(&error));
            HubError::Unreachable(format!("TLS cannot be set up: {why}; install ca-certificates, or set SSL_CERT_FILE"))
        })
    }

    /// # Errors
    /// `HubError::Denied` for an address in numbers that a host on the internet must not lead to. A proxy resolves names itself.
    fn check_literal(&self, url: &Url) -> Result<(), HubError> {
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_named = self.is_private || url.origin() == self.named.origin();
        match name.parse::<IpAddr>() {
            Ok(address) if !is_named && !is_public(address) => Err(self.private(url, address)),
            _ => Ok(()),
        }
    }

    /// The addresses of `url`, all of which are public.
    async fn checked(&self, url: &Url) -> Result<Vec<SocketAddr>, HubError> {
        let found = addresses(url).await?;
        match found.iter().find(|address| !is_public(address.ip())) {
            Some(address) => Err(self.private(url, address.ip())),
            None => Ok(found),
        }
    }

    fn private(&self, url: &Url, address: IpAddr) -> HubError {
        let (from, to) = (host(&self.named), host(url));
        HubError::Denied(format!("\"{from}\" leads to \"{to}\", whose address \"{address}\" is not on the internet"))
    }

    /// The body of the file at `url`; `None` if there is none.
    ///
    /// # Errors
    /// As [`Web::send`]; `HubError::TooLarge`.
    pub(super) async fn file(&self, url: Url, max: usize) -> Result<Option<Vec<u8>>, HubError> {
        let response = self.send(&WebRequest::new(Method::GET, url.clone())).await?;
        match response.status() {
            StatusCode::OK => read(response, max).await.map(Some),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status => {
                let (host, status) = (host(&url), status.as_u16());
                Err(HubError::Denied(format!("\"{host}\" answered with status {status}; check the address")))
            }
        }
    }
}

/// The body of `response`, of at most `max` bytes, within `limits::COMPONENT_TIMEOUT`.
///
/// # Errors
/// `HubError::TooLarge`, `HubError::Unreachable`.
pub(super) async fn read(response: Response, max: usize) -> Result<Vec<u8>, HubError> {
    let name = host(response.url());
    let large = || HubError::TooLarge(format!("\"{name}\" sends more than the {max} bytes that are allowed"));
    if response.content_length().is_some_and(|length| length > max as u64) {
        return Err(large());
    }
    let read = body(response, max, limits::HUB_READ_TIMEOUT);
    match tokio::time::timeout(limits::COMPONENT_TIMEOUT, read).await {
        Err(_) => Err(HubError::Unreachable(format!("\"{name}\" sends too slowly"))),
        Ok(Err(why)) => Err(HubError::Unreachable(format!("\"{name}\": {why}"))),
        Ok(Ok(None)) => Err(large()),
        Ok(Ok(Some(bytes))) => Ok(bytes),
    }
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn unanswered(url: &Url, error: &reqwest::Error) -> HubError {
    let what = if error.is_connect() { "cannot be reached" } else { "broke the connection off" };
    HubError::Unreachable(format!("\"{}\" {what}: {}", host(url), shown(&innermost(error))))
}

/// Whether names are resolved by a proxy, which decides what can be reached.
fn uses_proxy() -> bool {
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].iter().any(|name| std::env::var_os(name).is_some())
}

async fn addresses(url: &Url) -> Result<Vec<SocketAddr>, HubError> {
    let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let failed = |why: String| HubError::Unreachable(format!("\"{}\" cannot be resolved: {why}", host(url)));
    let lookup =
        tokio::time::timeout(limits::HUB_CONNECT_TIMEOUT, tokio::net::lookup_host((name.as_str(), port))).await;
    let found = lookup.map_err(|_| failed("no answer in time".to_owned()))?;
    Ok(found.map_err(|error| failed(shown(&error.to_string())))?.collect())
}

/// Whether an address is on the internet, and not in a network or for a purpose of its own (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => {
                let first = address.segments()[0];
                // 2000::/3 is what is assigned to the internet, without documentation and benchmarking.
                (first & 0xe000) == 0x2000
                    && first != 0x3fff
                    && address.segments()[..2] != [0x2001, 0x0db8]
                    && address.segments()[..3] != [0x2001, 0x0002, 0]
            }
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113);
    !(reserved || address.is_loopback() || address.is_private() || address.is_link_local() || address.is_broadcast())
}

/// The IPv4 address that an IPv6 address stands for: mapped, of NAT64, or of 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_on_the_internet_are_told_from_others() {
        for public in ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "172.32.0.1", "2002:808:808::1"] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for other in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "ff02::1",
        ] {
            assert!(!is_public(other.parse().expect("an address")), "{other}");
        }
    }

    #[tokio::test]
    async fn a_host_on_the_internet_does_not_lead_into_a_private_network() {
        let (web, named) = Web::of("https://8.8.8.8/plugin.wasm").await.expect("an address");
        for to in ["https://127.0.0.1/x", "https://[::1]/x", "https://169.254.169.254/latest", "https://localhost/x"] {
            let url = web.next(&named, to).expect("https");
            let error = web.client(&url).await.expect_err(to).to_string();
            assert!(error.contains("is not on the internet"), "{error}");
        }
        for to in ["http://8.8.4.4/x", "http://127.0.0.1/x", "file:///etc/passwd", "ftp://8.8.4.4/x"] {
            let error = web.next(&named, to).expect_err(to).to_string();
            assert!(error.contains("was not followed"), "{error}");
        }
        assert!(web.client(&named).await.is_ok());
        for bad in ["http://example.org/x.wasm", "https://user:word@example.org/x", "x.wasm", "ftp://127.0.0.1/x"] {
            assert!(matches!(Web::of(bad).await, Err(HubError::Name(_))), "{bad}");
        }
    }
}
