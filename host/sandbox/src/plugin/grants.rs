//! Capabilities that a plugin asks for and its operator grants.

use std::collections::BTreeSet;

use crate::error::SandboxError;

/// Access to the host that a plugin can have beyond computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Capability {
    /// Writes lines to the host's log.
    Log,
    /// Reads the machine's clocks, and sleeps.
    Clock,
    /// Gets unpredictable random numbers from the machine.
    Random,
}

/// Every capability with its name in manifests.
const CAPABILITIES: &[(Capability, &str)] =
    &[(Capability::Log, "log"), (Capability::Clock, "clock"), (Capability::Random, "random")];

/// The capability that is granted to every plugin that asks for it.
const FREE: Capability = Capability::Log;

impl Capability {
    /// The names of all capabilities.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CAPABILITIES.iter().map(|row| row.1)
    }

    /// The capability called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        CAPABILITIES.iter().find(|row| row.1 == name).map(|row| row.0)
    }
}

/// A set of capabilities. The default is the log, which every plugin may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants(BTreeSet<Capability>);

impl Default for Grants {
    fn default() -> Self {
        Self(BTreeSet::from([FREE]))
    }
}

impl FromIterator<Capability> for Grants {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}

impl Grants {
    /// Whether `capability` is granted.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// The union of both sets.
    #[must_use]
    pub(crate) fn with(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// The capabilities of `plugin`: all that it `asked` for, if this set grants each of them.
    ///
    /// # Errors
    /// `SandboxError::NotGranted` lists every name that is unknown or was not granted.
    pub(crate) fn settle(&self, plugin: &str, asked: &[String]) -> Result<Self, SandboxError> {
        let granted = |name: &String| Capability::from_name(name).filter(|capability| self.has(*capability));
        let missing: Vec<String> = asked.iter().filter(|name| granted(name).is_none()).cloned().collect();
        if missing.is_empty() {
            return Ok(asked.iter().filter_map(granted).collect());
        }
        let known = CAPABILITIES.iter().map(|row| row.1.to_owned()).collect();
        Err(SandboxError::NotGranted { plugin: plugin.to_owned(), missing, known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_capabilities_are_listed() {
        let asked = ["log", "http", "kv"].map(str::to_owned);
        let error = Grants::default().settle("p", &asked).expect_err("two are unknown");
        let SandboxError::NotGranted { missing, .. } = error else { panic!("{error}") };
        assert_eq!(missing, ["http", "kv"]);
    }

    #[test]
    fn a_known_capability_still_needs_a_grant() {
        let none: Grants = [].into_iter().collect();
        assert!(none.settle("p", &["log".to_owned()]).is_err());
        assert!(Grants::default().settle("p", &["log".to_owned()]).is_ok());
    }

    #[test]
    fn a_plugin_that_asks_for_nothing_gets_nothing() {
        let given = Grants::default().settle("p", &[]).expect("nothing is missing");
        assert!(!given.has(Capability::Log));
    }
}
