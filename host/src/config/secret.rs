//! Text that is used and never shown.

use std::fmt;
use std::path::Path;

use firebox_contract::limits;

/// A secret with the reference it was read through. It is never printed: only its reference is.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    reference: String,
}

impl Secret {
    /// `value` as it stands in the configuration; shown as `(hidden)`.
    pub(super) fn literal(value: String) -> Self {
        Self { value, reference: "(hidden)".to_owned() }
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Where it came from: `env:NAME`, `file:PATH` or `(hidden)`.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The same with `prefix` before it.
    pub(super) fn prefixed(&self, prefix: &str) -> Self {
        Self { value: format!("{prefix}{}", self.value), reference: self.reference.clone() }
    }

    /// Reads `env:NAME` or `file:PATH` (relative to `folder`); a file's last line break does not count. `None` where
    /// `text` is no reference.
    ///
    /// # Errors
    /// A sentence with the remedy, where the reference leads to nothing.
    pub(super) fn resolve(
        text: &str,
        folder: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Option<Result<Self, String>> {
        let read = if let Some(name) = text.strip_prefix("env:") {
            env(name).filter(|value| !value.is_empty()).ok_or_else(|| {
                format!("the environment has no \"{name}\" that the secret \"{text}\" needs; set it before the start")
            })
        } else {
            read_file(text.strip_prefix("file:")?, folder)
        };
        Some(read.map(|value| Self { value, reference: text.to_owned() }))
    }
}

fn read_file(path: &str, folder: &Path) -> Result<String, String> {
    let full = folder.join(path);
    let about = std::fs::metadata(&full)
        .map_err(|error| format!("the file of the secret \"file:{path}\" cannot be read: {error}"))?;
    if !about.is_file() || about.len() > limits::SECRET_BYTES_MAX {
        let max = limits::SECRET_BYTES_MAX;
        return Err(format!("\"file:{path}\" is not a file of at most {max} bytes; a secret is one short text"));
    }
    let mut text = std::fs::read_to_string(&full)
        .map_err(|error| format!("the file of the secret \"file:{path}\" cannot be read: {error}"))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() { Err(format!("the file of the secret \"file:{path}\" is empty")) } else { Ok(text) }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.reference)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.value).into_bytes();
        bytes.fill(0);
        // Keeps the compiler from dropping the overwriting of memory that nobody reads again.
        std::hint::black_box(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "s3cret".to_owned())
    }

    #[test]
    fn references_are_resolved_and_never_printed() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("token"), "from-file\n").expect("written");
        let secret = Secret::resolve("env:TOKEN", dir.path(), &env).expect("a reference").expect("is set");
        assert_eq!((secret.expose(), secret.reference()), ("s3cret", "env:TOKEN"));
        assert!(!format!("{secret:?} {:?}", secret.prefixed("Bearer ")).contains("s3cret"));
        let secret = Secret::resolve("file:token", dir.path(), &env).expect("a reference").expect("is there");
        assert_eq!(secret.expose(), "from-file");
    }

    #[test]
    fn what_leads_to_nothing_says_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = |text| Secret::resolve(text, dir.path(), &env).expect("a reference").expect_err("nothing there");
        assert!(error("env:NOPE").contains("NOPE"));
        assert!(error("file:nope").contains("nope"));
        assert!(error("file:.").contains("not a file"));
        assert!(Secret::resolve("plain", dir.path(), &env).is_none());
    }
}
