//! References to artifacts in a registry: `oci://registry/name:tag` and `oci://registry/name@sha256:…`.

use std::fmt;
use std::str::FromStr;

use firebox_contract::limits;
use reqwest::Url;

use crate::client::is_local;
use crate::error::{HubError, shown};

/// What a reference begins with.
pub(super) const SCHEME: &str = "oci://";

/// A reference to an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciReference {
    /// The registry: a host, with a port if it has one.
    pub registry: String,
    /// The name of the repository, such as `org/plugin`.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest of the manifest, as `sha256:…`.
    pub digest: Option<String>,
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for OciReference {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = |why: &str| {
            HubError::Name(format!(
                "\"{}\" {why}; write {SCHEME}REGISTRY/NAME:TAG or {SCHEME}REGISTRY/NAME@sha256:DIGEST",
                shown(text)
            ))
        };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("is not a reference to a registry"))?;
        if rest.len() > limits::OCI_REFERENCE_BYTES_MAX {
            return Err(wrong("is too long"));
        }
        let (registry, rest) = rest.split_once('/').ok_or_else(|| wrong("has no name after the registry"))?;
        let (rest, digest) =
            rest.split_once('@').map_or((rest, None), |(rest, digest)| (rest, Some(digest.to_owned())));
        let (repository, tag) = rest.split_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag.to_owned())));
        let reference = Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest };
        if reference.base().is_none() {
            return Err(wrong("has a registry that is not a host"));
        }
        if !repository.split('/').all(is_component) {
            return Err(wrong("has a name that is not lower-case letters and digits, with -, _ and . between them"));
        }
        if reference.tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("has a tag that is not one"));
        }
        if reference.digest.as_deref().is_some_and(|digest| !is_digest(digest)) {
            return Err(wrong("has a digest that is not sha256: and 64 hexadecimal digits"));
        }
        Ok(reference)
    }
}

impl OciReference {
    /// The address of the registry. This machine is asked without TLS, as other clients do.
    pub(super) fn base(&self) -> Option<Url> {
        // The registry of Docker Hub has another name than its references.
        let host = if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if host.is_empty() || !host.chars().all(plain) {
            return None;
        }
        let open = Url::parse(&format!("http://{host}/")).ok()?;
        if is_local(&open) { Some(open) } else { Url::parse(&format!("https://{host}/")).ok() }
    }

    /// What the manifest is asked by: the digest, else the tag, else `latest`.
    pub(super) fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// The last part of the name.
    #[must_use]
    pub fn last(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// The reference with the digest of its manifest.
    pub(super) fn at(&self, digest: &str) -> String {
        Self { digest: Some(digest.to_owned()), ..self.clone() }.to_string()
    }

    /// The reference with `tag`, unless it has a tag or a digest.
    #[must_use]
    pub fn or_tag(mut self, tag: &str) -> Self {
        if self.tag.is_none() && self.digest.is_none() && is_tag(tag) {
            self.tag = Some(tag.to_owned());
        }
        self
    }
}

fn is_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |c: char| matches!(c, '.' | '_' | '-');
    part.starts_with(alphanumeric)
        && part.ends_with(alphanumeric)
        && part.chars().all(|c| alphanumeric(c) || separator(c))
}

fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(first) && tag.chars().all(|c| first(c) || matches!(c, '.' | '-'))
}

/// Whether `text` is `sha256:` and 64 hexadecimal digits in lower case.
pub(super) fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for text in [
            "oci://ghcr.io/microsoft/time-server-js:latest",
            "oci://localhost:5000/a",
            &format!("oci://registry.example.org/a/b-c_d.e@{digest}"),
            &format!("oci://127.0.0.1:5000/a:1.0.0@{digest}"),
        ] {
            let reference: OciReference = text.parse().expect(text);
            assert_eq!(reference.to_string(), text);
        }
        let parse = |text: &str| text.parse::<OciReference>().expect(text);
        assert_eq!(parse("oci://localhost:5000/a").base().map(String::from).as_deref(), Some("http://localhost:5000/"));
        assert_eq!(parse("oci://ghcr.io/a/b").base().map(String::from).as_deref(), Some("https://ghcr.io/"));
        assert_eq!(parse("oci://ghcr.io/a/b").version(), "latest");
        assert_eq!(parse("oci://ghcr.io/a/b").or_tag("1.2").to_string(), "oci://ghcr.io/a/b:1.2");
        assert_eq!(parse("oci://ghcr.io/a/b:x").or_tag("1.2").last(), "b");
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "ghcr.io/a",
            "oci://ghcr.io",
            "oci:///a",
            "oci://ghcr.io/",
            "oci://ghcr.io/A",
            "oci://ghcr.io/../a",
            "oci://ghcr.io/a//b",
            "oci://ghcr.io/a:",
            "oci://ghcr.io/a:-x",
            "oci://ghcr.io/a@sha256:00",
            "oci://u:p@h/a",
            "oci://ghcr.io/a@md5:0",
            "oci://gh cr.io/a",
            "oci://ghcr.io/a?b",
            "oci://ghcr.io/a:b/c",
            "oci://h\u{1b}/a",
        ] {
            let error = bad.parse::<OciReference>().expect_err(bad).to_string();
            assert!(error.contains("write oci://") && !error.contains('\u{1b}'), "{error}");
        }
    }
}
