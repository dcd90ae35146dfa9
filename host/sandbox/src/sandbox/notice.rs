//! Status lines of the sandbox for a person.

use std::fmt;
use std::sync::Arc;

/// Receives status lines, such as "compiling plugin ...". The default discards them.
#[derive(Clone)]
pub struct Notice(Arc<dyn Fn(&str) + Send + Sync>);

impl Notice {
    /// Passes each line to `receive`, which must not block for long.
    #[must_use]
    pub fn new(receive: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    /// Passes on one line.
    pub fn send(&self, line: &str) {
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
