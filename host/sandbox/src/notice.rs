//! How a person hears what the sandbox is busy with.

use std::fmt;
use std::sync::Arc;

/// Hears one line at a time. Nobody does, by default.
#[derive(Clone)]
pub struct Notice(Arc<dyn Fn(&str) + Send + Sync>);

impl Notice {
    /// Passes lines to `say`, which must not block for long.
    #[must_use]
    pub fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(say))
    }

    pub(crate) fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl Default for Notice {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notice")
    }
}
