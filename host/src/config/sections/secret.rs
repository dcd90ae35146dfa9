//! Secrets: text that is used and never printed.

use std::fmt;
use std::path::Path;

use firebox_contract::limits;

/// A secret and the reference it was read from. Only the reference is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    reference: String,
}

impl Secret {
    /// A value that was written in the configuration; printed as `(hidden)`.
    pub(in crate::config) fn literal(value: String) -> Self {
        Self { value, reference: "(hidden)".to_owned() }
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The reference: `env:NAME`, `file:PATH` or `(hidden)`.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The secret with `prefix` before it.
    pub(in crate::config) fn prefixed(&self, prefix: &str) -> Self {
        Self { value: format!("{prefix}{}", self.value), reference: self.reference.clone() }
    }

    /// Resolves `env:NAME` or `file:PATH`, relative to `folder`, without the last line break of a file. `None` if `text` is not a
    /// reference.
    ///
    /// # Errors
    /// A message with a remedy, if the variable or the file cannot be read.
    pub(in crate::config) fn resolve(
        text: &str,
        folder: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Option<Result<Self, String>> {
        let read = if let Some(name) = text.strip_prefix("env:") {
            env(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("the environment variable \"{name}\" of the secret \"{text}\" is not set"))
        } else {
            read_file(text.strip_prefix("file:")?, folder)
        };
        Some(read.map(|value| Self { value, reference: text.to_owned() }))
    }
}

/// The value of `env:NAME` or `file:PATH`, in the environment and the current folder of this process.
///
/// # Errors
/// A message with a remedy, if the text is no reference, or the variable or the file cannot be read.
pub(crate) fn secret_value(reference: &str) -> Result<String, String> {
    let env = |name: &str| std::env::var(name).ok();
    match Secret::resolve(reference, Path::new(""), &env) {
        Some(secret) => secret.map(|secret| secret.expose().to_owned()),
        None => Err("write env:VARIABLE or file:PATH".to_owned()),
    }
}

fn read_file(path: &str, folder: &Path) -> Result<String, String> {
    let full = folder.join(path);
    let about = std::fs::metadata(&full)
        .map_err(|error| format!("the file of the secret \"file:{path}\" cannot be read: {error}"))?;
    if !about.is_file() || about.len() > limits::SECRET_BYTES_MAX {
        let max = limits::SECRET_BYTES_MAX;
        return Err(format!("\"file:{path}\" must be a file of at most {max} bytes"));
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
        // Keeps the compiler from removing the write to memory that is not read again.
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
    fn references_are_resolved_and_secrets_never_printed() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("token"), "from-file\n").expect("written");
        let secret = Secret::resolve("env:TOKEN", dir.path(), &env).expect("a reference").expect("is set");
        assert_eq!((secret.expose(), secret.reference()), ("s3cret", "env:TOKEN"));
        assert!(!format!("{secret:?} {:?}", secret.prefixed("Bearer ")).contains("s3cret"));
        let secret = Secret::resolve("file:token", dir.path(), &env).expect("a reference").expect("is there");
        assert_eq!(secret.expose(), "from-file");
    }

    #[test]
    fn references_without_a_value_are_errors() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = |text| Secret::resolve(text, dir.path(), &env).expect("a reference").expect_err("nothing there");
        assert!(error("env:NOPE").contains("NOPE"));
        assert!(error("file:nope").contains("nope"));
        assert!(error("file:.").contains("must be a file"));
        assert!(Secret::resolve("plain", dir.path(), &env).is_none());
    }
}
