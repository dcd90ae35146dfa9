//! Errors of the hub and its cache.

use std::io;
use std::path::Path;
use std::time::Duration;

use firebox_contract::{Error, limits};

/// Why a model could not be found, downloaded or removed. Every text names the cause and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A name, an endpoint or a token is not valid.
    #[error("{0}")]
    Name(String),
    /// The hub or the cache has no such model, revision or file.
    #[error("{0}")]
    NotFound(String),
    /// The hub wants a token, or refuses the one it got.
    #[error("{0}")]
    Unauthorized(String),
    /// The hub refuses this user, or an allow-list refuses the model.
    #[error("{0}")]
    Denied(String),
    /// The hub limits the rate of requests.
    #[error("{message}")]
    Limited {
        /// What the hub said.
        message: String,
        /// The time after which a retry may succeed.
        retry_after: Duration,
    },
    /// The hub cannot be reached, or fails each time.
    #[error("{0}")]
    Unreachable(String),
    /// The model is not in the cache, and downloads are switched off.
    #[error("{0}")]
    Offline(String),
    /// The hub sent other bytes than it announced, or a file in the cache has other bytes.
    #[error("{0}")]
    Content(String),
    /// Something is larger than its limit.
    #[error("{0}")]
    TooLarge(String),
    /// The disk has too little space.
    #[error("{0}")]
    DiskFull(String),
    /// Another process uses or downloads the model.
    #[error("{0}")]
    Busy(String),
    /// A file of the cache cannot be read or written.
    #[error("cannot {action} \"{path}\": {source}; check its permissions, or name another cache in HF_HUB_CACHE")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// The path.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

impl HubError {
    /// An error of the system about a file. A full disk is [`HubError::DiskFull`].
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.display().to_string();
        if source.kind() == io::ErrorKind::StorageFull {
            let remedy = "free some space (firebox models cache --max SIZE), or name another cache in HF_HUB_CACHE";
            return Self::DiskFull(format!("the disk of \"{path}\" is full; {remedy}"));
        }
        Self::File { action, path, source }
    }
}

impl From<HubError> for Error {
    fn from(error: HubError) -> Self {
        let text = error.to_string();
        match error {
            HubError::Name(_) => Self::Usage(text),
            HubError::NotFound(_) => Self::NotFound(text),
            HubError::Unauthorized(_) => Self::Unauthorized(text),
            HubError::Denied(_) => Self::Denied(text),
            HubError::Limited { message, retry_after } => Self::Limited { message, retry_after },
            HubError::Unreachable(_) | HubError::Offline(_) | HubError::Busy(_) => Self::Unavailable(text),
            HubError::Content(_) => Self::Model(text),
            HubError::TooLarge(_) => Self::TooLarge(text),
            HubError::DiskFull(_) | HubError::File { .. } => Self::Internal(text),
        }
    }
}

/// `text` from outside for a message: on one line, without control characters, at most [`limits::HUB_SHOWN_CHARACTERS_MAX`]
/// characters.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.trim().chars().enumerate() {
        if count == limits::HUB_SHOWN_CHARACTERS_MAX {
            out.push('…');
            break;
        }
        match c {
            '"' => out.push('\''),
            c if c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric() => out.push(c),
            c if c.is_whitespace() => out.push(' '),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

/// A number of bytes for people: `98.7 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let unit = UNITS.iter().find(|unit| count >= unit.0);
    unit.map_or_else(|| format!("{count} bytes"), |(size, name)| format!("{:.1} {name}", count as f64 / *size as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_outside_are_short_and_on_one_line() {
        assert_eq!(shown(" a\n\u{1b}[2J\"b\" \u{202e} é "), "a \\u{1b}[2J'b' \\u{202e} é");
        assert_eq!(shown(&"x".repeat(999)).chars().count(), limits::HUB_SHOWN_CHARACTERS_MAX + 1);
    }

    #[test]
    fn bytes_are_shown_with_one_decimal() {
        let rows = [(0, "0 bytes"), (999, "999 bytes"), (98_700_000, "98.7 MB"), (u64::MAX, "18446744.1 TB")];
        rows.iter().for_each(|(count, text)| assert_eq!(bytes(*count), *text));
    }
}
