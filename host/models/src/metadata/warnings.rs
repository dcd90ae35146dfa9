//! What a load has to say about a checkpoint that runs all the same.

use std::sync::{Arc, Mutex, PoisonError};

use firebox_contract::limits;

/// Warnings about one checkpoint, each said once. Clones share them, so that they can be read after the checkpoint moved
/// to the thread that loads it.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds one, unless it is there; after the last that is allowed, further ones are dropped.
    pub(crate) fn add(&self, warning: String) {
        let mut warnings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < limits::CHECKPOINT_WARNINGS_MAX && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// One warning about several names: `text` and the names, as many as a warning may have. Nothing where there are none.
    pub(crate) fn add_names(&self, text: &str, names: &[String]) {
        if !names.is_empty() {
            self.add(format!("{text}: {}", listed(names)));
        }
    }

    /// All there are so far.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Names out of a file as a list for people: quoted and escaped, each cut, the first few of them.
fn listed(names: &[String]) -> String {
    let quoted = |name: &String| {
        let cut: String = name.chars().take(limits::CHECKPOINT_WARNING_NAME_CHARACTERS_MAX).collect();
        format!("{cut:?}")
    };
    let shown: Vec<String> = names.iter().take(limits::CHECKPOINT_WARNING_NAMES_MAX).map(quoted).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
