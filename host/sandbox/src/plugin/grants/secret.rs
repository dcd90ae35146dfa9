//! Grants of secrets: where a value is read from, and the requests that it may go into.

use super::capability::{plain, shown};
use super::http_rule::HttpRule;
use crate::capabilities::secrets::SecretValue;

/// A secret in a list of grants. A manifest has only its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretGrant {
    pub(crate) name: String,
    /// Where the value is, such as `env:KEY`.
    pub(crate) reference: Option<String>,
    /// The requests that it may go into, of any method.
    pub(crate) destination: Option<HttpRule>,
    /// The value, once it was read.
    pub(crate) value: Option<SecretValue>,
}

impl SecretGrant {
    /// Reads `NAME`, `NAME=REFERENCE`, `NAME for URL` or `NAME=REFERENCE for URL`.
    ///
    /// # Errors
    /// What to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (head, destination) = match text.split_once(" for ") {
            Some((head, url)) => (head, Some(format!("* {url}").parse()?)),
            None => (text, None),
        };
        let (name, reference) = match head.split_once('=') {
            Some((name, reference)) => (name, Some(reference)),
            None => (head, None),
        };
        let is_reference = |text: &str| {
            text.split_once(':').is_some_and(|(kind, what)| matches!(kind, "env" | "file") && !what.trim().is_empty())
        };
        if let Some(reference) = reference.filter(|text| !is_reference(text)) {
            // What was written may be the secret itself, so only its beginning is shown.
            let start: String = shown(reference).chars().take(2).collect();
            return Err(format!(
                "\"secret:{}={start}…\" must not have the secret itself; write env:VARIABLE or file:PATH",
                shown(name)
            ));
        }
        Ok(Self { name: plain(name)?, reference: reference.map(str::to_owned), destination, value: None })
    }

    /// Whether it says more than a name.
    pub(super) fn has_source(&self) -> bool {
        self.reference.is_some() || self.destination.is_some()
    }

    /// Reads the value.
    ///
    /// # Errors
    /// What is wrong with the reference or the value.
    pub(super) fn resolve(&mut self, read: &dyn Fn(&str) -> Result<String, String>) -> Result<(), String> {
        let Some(reference) = &self.reference else { return Ok(()) };
        let wrong = |reason: String| format!("the secret \"{}\" of \"{}\": {reason}", self.name, shown(reference));
        let value = read(reference).and_then(|value| SecretValue::new(&value)).map_err(wrong)?;
        self.value = Some(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_a_name_a_reference_and_a_destination() {
        for (text, name, reference, destination) in [
            ("api-key", "api-key", None, None),
            ("api-key=env:KEY", "api-key", Some("env:KEY"), None),
            (
                "api-key=file:/run/key for https://a.org/v1/",
                "api-key",
                Some("file:/run/key"),
                Some("* https://a.org/v1/"),
            ),
            ("api-key for http://a.org", "api-key", None, Some("* http://a.org/")),
        ] {
            let secret = SecretGrant::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let found =
                (secret.name.as_str(), secret.reference.as_deref(), secret.destination.map(|rule| rule.to_string()));
            assert_eq!(found, (name, reference, destination.map(str::to_owned)), "{text}");
        }
        for bad in
            ["", "a b", "x=", "x=sk-very-secret", "x=env:", "x for nowhere", "x=env:K for GET https://a.org", "../x"]
        {
            let error = SecretGrant::parse(bad).expect_err(bad);
            assert!(!error.contains("very-secret"), "{error}");
        }
    }

    #[test]
    fn a_value_is_read_once_and_never_shown() {
        let mut secret = SecretGrant::parse("key=env:KEY for https://a.org").expect("valid");
        let read =
            |reference: &str| if reference == "env:KEY" { Ok("s3cret-value".to_owned()) } else { Err("no".to_owned()) };
        secret.resolve(&read).expect("read");
        assert!(secret.value.is_some() && !format!("{secret:?}").contains("s3cret"));
        for (value, expected) in [("short", "5 bytes"), ("with\nline break", "no header"), ("", "0 bytes")] {
            let error = secret.resolve(&|_| Ok(value.to_owned())).expect_err(value);
            assert!(error.contains(expected) && error.contains("env:KEY"), "{error}");
        }
        assert!(secret.resolve(&|_| Err("KEY is not set".to_owned())).expect_err("unset").contains("KEY is not set"));
    }
}
