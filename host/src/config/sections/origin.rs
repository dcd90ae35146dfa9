//! Origins of web pages.

use std::fmt;
use std::str::FromStr;

/// The origin of a web page: scheme, host and port, as a browser sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin {
    /// `scheme://host`, with the port unless it is the default of the scheme.
    text: String,
    /// Whether every port of the host matches. Then `text` has no port.
    any_port: bool,
}

impl WebOrigin {
    /// Whether the value of a request's `Origin` header is this origin.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        let origin = match self.any_port {
            true => split_port(origin).0,
            false => origin,
        };
        origin.eq_ignore_ascii_case(&self.text)
    }

    /// The origin with its port, also if it is the default: for readers that take no port as every port.
    #[must_use]
    pub fn with_port(&self) -> String {
        let (_, port) = split_port(&self.text);
        match own_port(&self.text) {
            _ if self.any_port => format!("{}:*", self.text),
            Some(own) if port.is_none() => format!("{}:{own}", self.text),
            _ => self.text.clone(),
        }
    }
}

impl FromStr for WebOrigin {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        if written == "*" {
            return Err("\"*\" would allow every web page to use this server; list the origins".to_owned());
        }
        // Browsers send this for pages without an address.
        if written == "null" {
            return Ok(Self { text: written.to_owned(), any_port: false });
        }
        let wrong =
            || format!("\"{written}\" is not the origin of a web page; write https://app.example.org, without a path");
        let text = written.strip_suffix('/').unwrap_or(written).to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
        let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let in_authority = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]*".contains(&byte);
        let (host, port) = split_port(authority);
        let good = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(in_scheme)
            && authority.bytes().all(in_authority)
            && !host.is_empty()
            && !host.contains('*');
        let own = own_port(&text).map(|own| own.to_string());
        let bare = format!("{scheme}://{host}");
        match port {
            _ if !good => Err(wrong()),
            Some("*") => Ok(Self { text: bare, any_port: true }),
            Some(port) if port.parse::<u16>().is_err() => Err(wrong()),
            Some(port) if own.as_deref() == Some(port) => Ok(Self { text: bare, any_port: false }),
            _ => Ok(Self { text, any_port: false }),
        }
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.any_port { ":*" } else { "" })
    }
}

/// The part before the port, and the port if there is one.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((before, port)) if !port.contains(['/', ']']) => (before, Some(port)),
        _ => (text, None),
    }
}

/// The default port of the scheme.
fn own_port(text: &str) -> Option<u16> {
    match text.split_once("://")?.0 {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_parsed_in_its_usual_forms() {
        let rows = [
            ("https://app.example.org", "https://app.example.org", "https://app.example.org:443"),
            ("https://App.Example.org/", "https://app.example.org", "https://app.example.org:443"),
            ("https://app.example.org:443", "https://app.example.org", "https://app.example.org:443"),
            ("http://app.example.org:443", "http://app.example.org:443", "http://app.example.org:443"),
            ("http://localhost:*", "http://localhost:*", "http://localhost:*"),
            ("http://[::1]:3000", "http://[::1]:3000", "http://[::1]:3000"),
            ("http://[::1]", "http://[::1]", "http://[::1]:80"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("null", "null", "null"),
        ];
        for (written, shown, with_port) in rows {
            let origin: WebOrigin = written.parse().expect(written);
            assert_eq!((origin.to_string().as_str(), origin.with_port().as_str()), (shown, with_port), "{written}");
        }
    }

    #[test]
    fn invalid_origins_are_refused() {
        let wrong = [
            "*",
            "",
            "app.example.org",
            "https://",
            "https://a b",
            "https://app.example.org/path",
            "https://*.example.org",
            "https://app.example.org?x",
            "https://me@app.example.org",
            "https://app.example.org:99999",
            "https://é.example",
            "://app",
            "https://:443",
        ];
        for written in wrong {
            assert!(written.parse::<WebOrigin>().is_err(), "{written}");
        }
    }

    #[test]
    fn an_origin_matches_itself_and_every_port_only_with_a_star() {
        let matches = |written: &str, origin: &str| written.parse::<WebOrigin>().expect(written).matches(origin);
        assert!(matches("https://app.example.org:443/", "https://app.example.org"));
        assert!(!matches("https://app.example.org", "http://app.example.org"));
        assert!(!matches("https://app.example.org", "https://app.example.org:8443"));
        assert!(!matches("https://app.example.org", "https://app.example.org.evil.example"));
        assert!(!matches("https://app.example.org", "null"));
        assert!(
            matches("http://localhost:*", "http://localhost:3000") && matches("http://localhost:*", "http://localhost")
        );
        assert!(!matches("http://localhost:*", "http://localhost.evil.example:3000"));
    }
}
