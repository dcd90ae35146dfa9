//! Warnings about a checkpoint that is used all the same.

use std::sync::{Arc, Mutex, PoisonError};

use firebox_contract::limits;

/// Warnings about one checkpoint, without duplicates. Clones share them, so that they can be read after the checkpoint
/// has moved to the thread that loads it.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds a warning, unless it is known. Beyond `CHECKPOINT_WARNINGS_MAX` warnings are dropped.
    pub(crate) fn add(&self, warning: String) {
        let mut warnings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < limits::CHECKPOINT_WARNINGS_MAX && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Adds one warning about several names: `text` and as many names as a warning may have. Without names it adds
    /// nothing.
    pub(crate) fn add_names(&self, text: &str, names: &[String]) {
        if !names.is_empty() {
            self.add(format!("{text}: {}", listed(names)));
        }
    }

    /// All warnings so far.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Names from a file as a list for people: the first few, quoted, escaped and cut.
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
