//! The kinds of capabilities, and one capability with its parameter as it is written in manifests and grants.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use firebox_contract::limits;

use super::http_rule::{HttpRule, HttpTarget};
use super::secret::SecretGrant;
use crate::capabilities::model::FUNCTIONS;

/// A kind of access to the host that a plugin can have beyond computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Capability {
    /// Writes lines to the host's log.
    Log,
    /// Reads the machine's clocks, and sleeps.
    Clock,
    /// Gets unpredictable random numbers from the machine.
    Random,
    /// Reads the files below a folder.
    Files,
    /// Stores values under keys in a bucket of its own.
    KeyValue,
    /// Sends HTTP requests.
    Http,
    /// Uses a secret in HTTP requests, without knowing it.
    Secret,
    /// Adds numbers to the host's page of metrics.
    Metrics,
    /// Uses the model that serves the request.
    Model,
}

/// A kind of capability: its name, its parameter and its interfaces.
pub(super) struct CapabilityRow {
    pub(super) capability: Capability,
    /// The name in manifests and grants.
    pub(super) name: &'static str,
    /// An example of the parameter; `None` if it has none.
    pub(super) parameter: Option<&'static str>,
    /// How the names of the interfaces begin that need the capability.
    pub(super) interfaces: &'static [&'static str],
}

const fn row(
    capability: Capability,
    name: &'static str,
    parameter: Option<&'static str>,
    interfaces: &'static [&'static str],
) -> CapabilityRow {
    CapabilityRow { capability, name, parameter, interfaces }
}

/// Every kind of capability.
pub(super) const CAPABILITIES: &[CapabilityRow] = &[
    row(Capability::Log, "log", None, &[]),
    row(Capability::Clock, "clock", None, &["wasi:clocks/"]),
    row(Capability::Random, "random", None, &["wasi:random/"]),
    row(Capability::Files, "files", Some("docs"), &["wasi:filesystem/"]),
    row(Capability::KeyValue, "keyvalue", Some("notes"), &["wasi:keyvalue/", "firebox:plugin/kv@"]),
    row(Capability::Http, "http", Some("GET https://example.org/"), &["wasi:http/outgoing-handler@"]),
    row(Capability::Secret, "secret", Some("api-key"), &["firebox:plugin/secrets@"]),
    row(Capability::Metrics, "metrics", None, &["firebox:plugin/metrics@"]),
    row(Capability::Model, "model", Some("generate"), &["firebox:plugin/model@"]),
];

impl Capability {
    /// The names of all kinds.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CAPABILITIES.iter().map(|row| row.name)
    }

    /// The kind called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        CAPABILITIES.iter().find(|row| row.name == name).map(|row| row.capability)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    /// Whether it is written with a parameter, such as the name of a bucket.
    #[must_use]
    pub fn has_parameter(self) -> bool {
        self.row().is_some_and(|row| row.parameter.is_some())
    }

    fn row(self) -> Option<&'static CapabilityRow> {
        CAPABILITIES.iter().find(|row| row.capability == self)
    }
}

/// One capability with its parameter. Its text is `clock`, `keyvalue:notes`, `files:docs` or `files:docs=PATH`,
/// `http:GET https://example.org/v1/`, `secret:api-key` or `secret:api-key=env:KEY for https://example.org/`; `keyvalue:*` is every bucket, and so for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    capability: Capability,
    scope: GrantScope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum GrantScope {
    /// The capability has no parameter, or every parameter is included.
    All,
    Name(String),
    Folder {
        name: String,
        path: PathBuf,
    },
    Http(HttpRule),
    Secret(SecretGrant),
}

/// What a guest is about to use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use<'a> {
    /// A capability without a parameter.
    Of(Capability),
    /// A folder or bucket.
    Named(Capability, &'a str),
    /// An HTTP request.
    Http(&'a HttpTarget),
}

impl fmt::Display for Use<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(capability) => f.write_str(capability.as_str()),
            Self::Named(capability, name) => {
                let shown: String =
                    name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
                write!(f, "{}:{shown}", capability.as_str())
            }
            Self::Http(target) => write!(f, "http:{target}"),
        }
    }
}

impl Grant {
    /// Every use of `capability`.
    #[must_use]
    pub fn all(capability: Capability) -> Self {
        Self { capability, scope: GrantScope::All }
    }

    /// Its kind.
    #[must_use]
    pub fn capability(&self) -> Capability {
        self.capability
    }

    /// Its parameter as text; `None` if it has none.
    #[must_use]
    pub fn parameter(&self) -> Option<String> {
        match &self.scope {
            GrantScope::All => self.capability.has_parameter().then(|| "*".to_owned()),
            GrantScope::Name(name) | GrantScope::Folder { name, .. } => Some(name.clone()),
            GrantScope::Http(rule) => Some(rule.to_string()),
            GrantScope::Secret(secret) => Some(secret.name.clone()),
        }
    }

    /// Whether it includes every parameter. A manifest may not ask for that.
    pub(super) fn is_wide(&self) -> bool {
        self.scope == GrantScope::All && self.capability.has_parameter()
    }

    /// The host's folder, of a grant such as `files:docs=PATH`.
    pub(crate) fn folder(&self) -> Option<(&str, &std::path::Path)> {
        match &self.scope {
            GrantScope::Folder { name, path } => Some((name, path)),
            _ => None,
        }
    }

    /// Whether it says where the host has what it is about, which only an operator does.
    pub(super) fn has_source(&self) -> bool {
        self.folder().is_some() || self.secret().is_some_and(SecretGrant::has_source)
    }

    /// The secret, of a grant such as `secret:api-key=env:KEY for https://example.org/`.
    pub(crate) fn secret(&self) -> Option<&SecretGrant> {
        match &self.scope {
            GrantScope::Secret(secret) => Some(secret),
            _ => None,
        }
    }

    /// Reads the value of its secret with `read`, which gets the reference, such as `env:KEY`. Other grants stay as they are.
    ///
    /// # Errors
    /// What is wrong with the reference or the value.
    pub fn resolved(mut self, read: &dyn Fn(&str) -> Result<String, String>) -> Result<Self, String> {
        if let GrantScope::Secret(secret) = &mut self.scope {
            secret.resolve(read)?;
        }
        Ok(self)
    }

    /// The same grant with its folder relative to `base`.
    #[must_use]
    pub fn relative_to(mut self, base: &std::path::Path) -> Self {
        if let GrantScope::Folder { path, .. } = &mut self.scope {
            *path = base.join(&*path);
        }
        self
    }

    /// Whether `wanted` is a part of this capability.
    pub(crate) fn permits(&self, wanted: &Use<'_>) -> bool {
        match (wanted, &self.scope) {
            (Use::Of(capability), GrantScope::All) => *capability == self.capability,
            (Use::Named(capability, _), GrantScope::All) => *capability == self.capability,
            (Use::Named(capability, name), GrantScope::Name(own) | GrantScope::Folder { name: own, .. }) => {
                *capability == self.capability && name == own
            }
            (Use::Named(capability, name), GrantScope::Secret(secret)) => {
                *capability == self.capability && *name == secret.name
            }
            (Use::Http(_), GrantScope::All) => self.capability == Capability::Http,
            (Use::Http(target), GrantScope::Http(rule)) => rule.matches(target),
            _ => false,
        }
    }

    /// Whether it also permits connections to `address`, a private one of the target's host.
    pub(crate) fn permits_private(&self, target: &HttpTarget, address: IpAddr) -> bool {
        matches!(&self.scope, GrantScope::Http(rule) if rule.names_private(address) && rule.matches(target))
    }

    /// How much of `asked` it includes.
    pub(super) fn coverage(&self, asked: &Self) -> Coverage {
        if self.capability != asked.capability {
            return Coverage::Nothing;
        }
        match (&self.scope, &asked.scope) {
            (GrantScope::All, _) => Coverage::All,
            (GrantScope::Http(own), GrantScope::Http(asked)) => own.coverage(asked),
            (GrantScope::Secret(own), GrantScope::Secret(asked)) if own.name == asked.name => Coverage::All,
            (GrantScope::Name(own) | GrantScope::Folder { name: own, .. }, GrantScope::Name(asked)) if own == asked => {
                Coverage::All
            }
            _ => Coverage::Nothing,
        }
    }
}

/// How much of a capability a grant includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coverage {
    Nothing,
    Part,
    All,
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > limits::CAPABILITY_BYTES_MAX {
            return Err(format!("a capability has at most {} bytes", limits::CAPABILITY_BYTES_MAX));
        }
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let Some(row) = CAPABILITIES.iter().find(|row| row.name == name) else {
            let all: Vec<&str> = Capability::names().collect();
            return Err(format!("there is no capability \"{}\"; the capabilities are {}", shown(text), all.join(", ")));
        };
        let scope = match (row.parameter, parameter) {
            (None, None) | (Some(_), Some("*")) => GrantScope::All,
            (None, Some(_)) => return Err(format!("\"{name}\" has no parameter; write \"{name}\"")),
            (Some(example), None) => {
                return Err(format!("\"{name}\" needs a parameter; write for example \"{name}:{example}\""));
            }
            (Some(_), Some(parameter)) => scope(row.capability, parameter)?,
        };
        Ok(Self { capability: row.capability, scope })
    }
}

fn scope(capability: Capability, parameter: &str) -> Result<GrantScope, String> {
    match capability {
        Capability::Http => parameter.parse().map(GrantScope::Http),
        Capability::Secret => SecretGrant::parse(parameter).map(GrantScope::Secret),
        Capability::Files => match parameter.split_once('=') {
            Some((name, "")) => Err(format!("\"files:{}=\" has no path; write files:NAME=PATH", shown(name))),
            Some((name, path)) => Ok(GrantScope::Folder { name: plain(name)?, path: PathBuf::from(path) }),
            None => plain(parameter).map(GrantScope::Name),
        },
        Capability::Model => match FUNCTIONS.contains(&parameter) {
            true => Ok(GrantScope::Name(parameter.to_owned())),
            false => Err(format!("\"model\" has {}, not \"{}\"", FUNCTIONS.join(", "), shown(parameter))),
        },
        _ => plain(parameter).map(GrantScope::Name),
    }
}

/// A name of letters, digits, `-`, `_` and `.`, which is no folder of its own.
pub(super) fn plain(name: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let max = limits::PLUGIN_NAME_BYTES_MAX;
    if name.is_empty() || name.len() > max || !name.chars().all(allowed) || name.starts_with('.') {
        return Err(format!("the name \"{}\" must have 1 to {max} letters, digits, '-', '_' or '.'", shown(name)));
    }
    Ok(name.to_owned())
}

/// Untrusted text for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.capability.as_str())?;
        match self.parameter() {
            Some(parameter) => write!(f, ":{parameter}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> Grant {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_capability_is_read_back_as_it_is_written() {
        for text in ["clock", "keyvalue:notes", "keyvalue:*", "files:docs", "http:*", "model:embed", "model:*"] {
            assert_eq!(grant(text).to_string(), text);
        }
        assert_eq!(grant("files:docs=/srv/docs").to_string(), "files:docs", "a path of the server is not shown");
        assert_eq!(grant("http:get https://Example.org").to_string(), "http:GET https://example.org/");
    }

    #[test]
    fn an_invalid_capability_is_quoted_with_a_remedy() {
        let long = format!("keyvalue:{}", "x".repeat(600));
        for (text, expected) in [
            ("", "there is no capability \"\""),
            ("net", "there is no capability \"net\"; the capabilities are log, clock"),
            ("\u{1b}[2J", "\u{fffd}[2J"),
            ("clock:x", "\"clock\" has no parameter"),
            ("keyvalue", "write for example \"keyvalue:notes\""),
            ("keyvalue:", "the name \"\" must have"),
            ("keyvalue:a/b", "the name \"a/b\" must have"),
            ("keyvalue:..", "the name \"..\" must have"),
            ("files:docs=", "write files:NAME=PATH"),
            ("files:../etc=/etc", "the name \"../etc\" must have"),
            ("http:nonsense", "is not"),
            ("model", "write for example \"model:generate\""),
            ("model:train", "\"model\" has generate, embed, tokenize, not \"train\""),
            (&long, "at most 512 bytes"),
        ] {
            let error = text.parse::<Grant>().expect_err(text);
            assert!(error.contains(expected) && !error.chars().any(char::is_control), "{text:.40}: {error}");
        }
    }

    #[test]
    fn a_grant_permits_its_own_parameter_only() {
        let notes = Use::Named(Capability::KeyValue, "notes");
        assert!(grant("keyvalue:notes").permits(&notes) && grant("keyvalue:*").permits(&notes));
        for other in ["keyvalue:note", "keyvalue:Notes", "files:notes", "clock", "http:*"] {
            assert!(!grant(other).permits(&notes), "{other}");
        }
        assert!(grant("clock").permits(&Use::Of(Capability::Clock)));
        assert!(!grant("clock").permits(&Use::Of(Capability::Random)));
    }
}
