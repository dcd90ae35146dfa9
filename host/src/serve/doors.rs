//! Which names the server answers to, and which web pages may ask it.
//!
//! A page on the internet can make a browser send requests to this machine, under a foreign name that resolves to it
//! (DNS rebinding). Where the server listens on this machine only, and where `server.hosts` says so, it answers to its
//! own names alone; a page is answered only where `server.origins` names it.

use std::net::IpAddr;

use axum::http::HeaderValue;
use firebox_contract::Error;

use super::cors::Cors;
use crate::config::ServerConfig;

/// The names and pages that are let in.
#[derive(Debug, Clone)]
pub struct Doors {
    /// `None` answers to every name.
    hosts: Option<Vec<String>>,
    cors: Cors,
}

impl Doors {
    /// What the configuration lets in.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        let local = config.listen.ip().is_loopback();
        let hosts = (local || !config.hosts.is_empty()).then(|| own_names(config));
        Self { hosts, cors: Cors::new(config) }
    }

    /// # Errors
    /// `Error::Denied` for a name or a page that is not let in.
    pub fn check(&self, host: Option<&HeaderValue>, origin: Option<&HeaderValue>) -> Result<(), Error> {
        let text =
            |value: Option<&HeaderValue>| value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if let (Some(hosts), Some(host)) = (&self.hosts, text(host))
            && !hosts.contains(&without_port(&host).to_ascii_lowercase())
            && !hosts.contains(&host.to_ascii_lowercase())
        {
            let message = format!("this server does not answer to the name \"{host}\"; add it to server.hosts");
            return Err(Error::Denied(message));
        }
        if origin.is_some_and(|origin| !self.cors.allows(origin)) {
            let origin = text(origin).unwrap_or_default();
            let message = format!("pages of \"{origin}\" may not ask this server; add it to server.origins");
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

    fn doors(listen: &str, hosts: &[&str]) -> Doors {
        let listen = listen.parse().expect("an address");
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let origins = vec!["https://ui.example".parse().expect("an origin")];
        Doors::new(&ServerConfig { listen, hosts, origins, ..ServerConfig::default() })
    }

    fn passes(doors: &Doors, host: &str, origin: Option<&str>) -> bool {
        let value = |text: &str| HeaderValue::from_str(text).expect("a value");
        doors.check(Some(&value(host)), origin.map(value).as_ref()).is_ok()
    }

    #[test]
    fn a_foreign_name_or_page_is_refused_on_this_machine() {
        let local = doors("127.0.0.1:8080", &[]);
        for good in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"] {
            assert!(passes(&local, good, None), "{good}");
        }
        for bad in ["evil.example", "evil.example:8080", "localhost.evil.example", ""] {
            assert!(!passes(&local, bad, None), "{bad}");
        }
        assert!(passes(&local, "localhost", Some("https://ui.example")));
        assert!(!passes(&local, "localhost", Some("https://evil.example")));
        assert!(!passes(&local, "localhost", Some("null")));
    }

    #[test]
    fn a_public_server_answers_to_every_name_until_names_are_given() {
        assert!(passes(&doors("0.0.0.0:80", &[]), "api.example", None));
        let named = doors("0.0.0.0:80", &["api.example"]);
        assert!(passes(&named, "api.example:443", None) && !passes(&named, "other.example", None));
    }
}
