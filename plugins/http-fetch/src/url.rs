//! Addresses of pages.

/// An address with `http` or `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) is_https: bool,
    /// Host and port.
    pub(crate) authority: String,
    /// From its `/` on, with the query.
    pub(crate) path: String,
}

impl Url {
    /// # Errors
    /// What is wrong with the text, for the model.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "the address must begin with https:// or http:// and name a host".to_owned();
        if text.chars().any(|c| c.is_control() || c == ' ' || c == '\\') {
            return Err("the address must not have spaces, backslashes or control characters".to_owned());
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("the address must not have a user's name or password".to_owned());
        }
        if authority.is_empty() {
            return Err(wrong());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_https, authority: authority.to_owned(), path: encoded(&path) })
    }

    /// The address that `location` means on this page.
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub(crate) fn join(&self, location: &str) -> Result<Self, String> {
        let scheme = if self.is_https { "https" } else { "http" };
        let origin = format!("{scheme}://{}", self.authority);
        let page = self.path.split('?').next().unwrap_or("/");
        let folder = page.rfind('/').map_or("/", |end| &page[..=end]);
        // A scheme ends with the first of these.
        let end = location.find([':', '/', '?', '#']);
        let is_absolute = end.is_some_and(|end| location[end..].starts_with(':'));
        let absolute = match location {
            _ if is_absolute => location.to_owned(),
            _ if location.starts_with("//") => format!("{scheme}:{location}"),
            _ if location.starts_with('/') => format!("{origin}{location}"),
            _ if location.starts_with('?') => format!("{origin}{page}{location}"),
            _ => format!("{origin}{folder}{location}"),
        };
        Self::parse(&absolute)
    }
}

/// Characters beyond ASCII in percent notation.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii() { text.push(char::from(byte)) } else { text.push_str(&format!("%{byte:02X}")) }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> String {
        let Url { is_https, authority, path } = Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        format!("{is_https} {authority} {path}")
    }

    #[test]
    fn an_address_has_a_scheme_a_host_and_a_path() {
        assert_eq!(url("https://example.org"), "true example.org /");
        assert_eq!(url("HTTP://example.org:8080/a/b?c#d"), "false example.org:8080 /a/b?c");
        assert_eq!(url("https://example.org?q=é"), "true example.org /?q=%C3%A9");
        for bad in [
            "example.org",
            "ftp://example.org",
            "https://",
            "https:///x",
            "https://user:pw@example.org/",
            "https://example.org/\r\nHost: x",
            "https://example.org/a b",
            "https://example.org\\@evil.test/",
            "file:///etc/passwd",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_location_is_read_on_its_page() {
        let page = Url::parse("https://example.org/a/b?c").expect("an address");
        for (location, expected) in [
            ("http://other.org/x", "http://other.org/x"),
            ("//other.org/x", "https://other.org/x"),
            ("/x", "https://example.org/x"),
            ("x?y=http://z", "https://example.org/a/x?y=http://z"),
            ("?d", "https://example.org/a/b?d"),
        ] {
            assert_eq!(page.join(location), Url::parse(expected), "{location}");
        }
        assert!(page.join("https://user@other.org/").is_err() && page.join("javascript:alert(1)").is_err());
    }
}
