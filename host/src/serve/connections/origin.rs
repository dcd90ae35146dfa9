//! The check of the headers `host` and `origin`.
//!
//! A web page can make a browser send requests to this machine under a name that resolves to it (DNS rebinding). A server
//! that listens on this machine only, or that has `server.hosts`, therefore accepts only its own names. A web page is
//! accepted only if `server.origins` has its origin.

use std::net::IpAddr;

use axum::http::HeaderValue;
use firebox_contract::Error;

use super::cors::Cors;
use crate::config::ServerConfig;

/// The accepted host names and origins.
#[derive(Debug, Clone)]
pub struct OriginPolicy {
    /// `None` accepts every name.
    hosts: Option<Vec<String>>,
    cors: Cors,
}

impl OriginPolicy {
    /// The policy of the configuration.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        let local = config.listen.ip().is_loopback();
        let hosts = (local || !config.hosts.is_empty()).then(|| own_names(config));
        Self { hosts, cors: Cors::new(config) }
    }

    /// Checks the headers of a request.
    ///
    /// # Errors
    /// `Error::Denied` for a host name or an origin that is not accepted.
    pub fn check(&self, host: Option<&HeaderValue>, origin: Option<&HeaderValue>) -> Result<(), Error> {
        let text =
            |value: Option<&HeaderValue>| value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if let (Some(hosts), Some(host)) = (&self.hosts, text(host))
            && !hosts.contains(&without_port(&host).to_ascii_lowercase())
            && !hosts.contains(&host.to_ascii_lowercase())
        {
            let message = format!("the host name \"{host}\" is not accepted; add it to server.hosts");
            return Err(Error::Denied(message));
        }
        if origin.is_some_and(|origin| !self.cors.allows(origin)) {
            let origin = text(origin).unwrap_or_default();
            let message = format!("the origin \"{origin}\" is not accepted; add it to server.origins");
            return Err(Error::Denied(message));
        }
        Ok(())
    }
}

fn own_names(config: &ServerConfig) -> Vec<String> {
    let own = ["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
    let addresses =
        [Some(config.listen), config.admin_listen].into_iter().flatten().map(|address| match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        });
    let named = config.hosts.iter().map(|name| name.to_ascii_lowercase());
    own.into_iter().chain(addresses).chain(named).collect()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(listen: &str, hosts: &[&str]) -> OriginPolicy {
        let listen = listen.parse().expect("an address");
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let origins = vec!["https://ui.example".parse().expect("an origin")];
        OriginPolicy::new(&ServerConfig { listen, hosts, origins, ..ServerConfig::default() })
    }

    fn accepts(policy: &OriginPolicy, host: &str, origin: Option<&str>) -> bool {
        let value = |text: &str| HeaderValue::from_str(text).expect("a value");
        policy.check(Some(&value(host)), origin.map(value).as_ref()).is_ok()
    }

    #[test]
    fn a_local_server_refuses_foreign_host_names_and_origins() {
        let local = policy("127.0.0.1:8080", &[]);
        for good in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"] {
            assert!(accepts(&local, good, None), "{good}");
        }
        for bad in ["evil.example", "evil.example:8080", "localhost.evil.example", ""] {
            assert!(!accepts(&local, bad, None), "{bad}");
        }
        assert!(accepts(&local, "localhost", Some("https://ui.example")));
        assert!(!accepts(&local, "localhost", Some("https://evil.example")));
        assert!(!accepts(&local, "localhost", Some("null")));
    }

    #[test]
    fn a_public_server_accepts_every_host_name_unless_hosts_are_configured() {
        assert!(accepts(&policy("0.0.0.0:80", &[]), "api.example", None));
        let named = policy("0.0.0.0:80", &["api.example"]);
        assert!(accepts(&named, "api.example:443", None) && !accepts(&named, "other.example", None));
    }
}
