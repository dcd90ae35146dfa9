//! What a plugin is asked to be, and a loaded one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use firebox_contract::limits;
use firebox_contract::{Stage, ToolDefinition};
use wasmtime::component::InstancePre;

use crate::component::ComponentSource;
use crate::error::SandboxError;
use crate::grants::{Capability, Grants};
use crate::guest::GuestData;
use crate::pool::Amount;
use crate::runtime::Runtime;
use crate::stages::Exports;

/// What a plugin's fault does to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFault {
    /// Ends it, with the fault as its error.
    #[default]
    Fail,
    /// Goes on as if the plugin were not there. What it held back of the text is lost; its tools answer with an error.
    Skip,
}

/// What one guest call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Fuel of one call, up to `limits::PLUGIN_FUEL_MAX`.
    pub fuel: u64,
    /// Linear memory of one instance in bytes, all its memories together, up to `limits::PLUGIN_MEMORY_BYTES_MAX`.
    pub memory_bytes: usize,
    /// Wall-clock time of one call, host calls included, up to `limits::PLUGIN_TIMEOUT_MAX`.
    pub timeout: Duration,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            fuel: limits::PLUGIN_FUEL_DEFAULT,
            memory_bytes: limits::PLUGIN_MEMORY_BYTES_DEFAULT,
            timeout: limits::PLUGIN_TIMEOUT_DEFAULT,
        }
    }
}

impl PluginLimits {
    /// The most that can be allowed at all.
    pub const MAX: Self = Self {
        fuel: limits::PLUGIN_FUEL_MAX,
        memory_bytes: limits::PLUGIN_MEMORY_BYTES_MAX,
        timeout: limits::PLUGIN_TIMEOUT_MAX,
    };

    /// The lesser of both, field by field.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            fuel: self.fuel.min(other.fuel),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            timeout: self.timeout.min(other.timeout),
        }
    }

    /// # Errors
    /// `SandboxError::Limit` names the first limit of `owner` that is out of range.
    pub(crate) fn check(&self, owner: &str) -> Result<(), SandboxError> {
        let out = |what, value, low: &str, high| {
            Err(SandboxError::Limit { owner: owner.to_owned(), what, value, low: low.to_owned(), high })
        };
        if !(1..=Self::MAX.fuel).contains(&self.fuel) {
            return out("fuel", self.fuel.to_string(), "1", Self::MAX.fuel.to_string());
        }
        if !(1..=Self::MAX.memory_bytes).contains(&self.memory_bytes) {
            return out("memory in bytes", self.memory_bytes.to_string(), "1", Self::MAX.memory_bytes.to_string());
        }
        if !(Duration::from_millis(1)..=Self::MAX.timeout).contains(&self.timeout) {
            return out("timeout", format!("{:?}", self.timeout), "1ms", format!("{:?}", Self::MAX.timeout));
        }
        Ok(())
    }
}

/// A plugin to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSpec {
    /// Its name in messages, logs and metrics: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Its component.
    pub source: ComponentSource,
    /// Its configuration: the text of one JSON object, for `lifecycle.init`.
    pub config_json: Option<String>,
    /// What each of its calls may use.
    pub limits: PluginLimits,
    /// What its fault does to a request.
    pub on_fault: OnFault,
    /// The capabilities its manifest asks for, by name.
    pub asks: Vec<String>,
    /// The capabilities that its operator grants to it, beside those that the sandbox grants to every plugin. It has those
    /// of them that it asks for.
    pub grants: Grants,
    /// The stages its manifest says it takes part in, if it says: then it takes part in these and no others.
    pub stages: Option<Vec<Stage>>,
}

impl PluginSpec {
    /// The component at `source` under the name `name`, with default limits and nothing else.
    #[must_use]
    pub fn new(name: impl Into<String>, source: ComponentSource) -> Self {
        Self {
            name: name.into(),
            source,
            config_json: None,
            limits: PluginLimits::default(),
            on_fault: OnFault::default(),
            asks: Vec::new(),
            grants: Grants::default(),
            stages: None,
        }
    }

    /// # Errors
    /// `SandboxError` for a name, limit or configuration that cannot be.
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.len() > limits::PLUGIN_NAME_BYTES_MAX || !self.name.chars().all(allowed) {
            let name = crate::log::cut(&self.name, limits::PLUGIN_NAME_BYTES_MAX).to_owned();
            return Err(SandboxError::Name { name });
        }
        self.limits.check(&format!("plugin \"{}\"", self.name))?;
        let Some(config) = &self.config_json else { return Ok(()) };
        let wrong = |reason: String| Err(SandboxError::Config { plugin: self.name.clone(), reason });
        if config.len() > limits::PLUGIN_CONFIG_BYTES_MAX {
            let limit = limits::PLUGIN_CONFIG_BYTES_MAX;
            return wrong(format!("has {} bytes where {limit} are allowed", config.len()));
        }
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(config) {
            Ok(_) => Ok(()),
            Err(error) => wrong(format!("is not one JSON object: {error}")),
        }
    }
}

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// Its own name, which need not be the one it is loaded under.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub description: String,
}

/// Everything an instance is made from.
pub(crate) struct Blueprint {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) name: String,
    pub(crate) pre: InstancePre<GuestData>,
    pub(crate) exports: Exports,
    pub(crate) limits: PluginLimits,
    pub(crate) on_fault: OnFault,
    pub(crate) config_json: Option<String>,
    pub(crate) grants: Grants,
    /// What an instance takes of the pool: its memories, and at least one.
    pub(crate) memories: usize,
    /// Bytes of memory that its first instance had.
    pub(crate) usual_bytes: OnceLock<usize>,
}

impl Blueprint {
    /// What an instance takes of the pool when it starts.
    pub(crate) fn need(&self) -> Amount {
        Amount { memories: self.memories, bytes: self.usual_bytes.get().copied().unwrap_or_default() }
    }
}

/// A component that was compiled, checked and asked who it is. Cheap to share; holds no running instance.
pub struct Plugin {
    pub(crate) blueprint: Arc<Blueprint>,
    pub(crate) tools: Vec<ToolDefinition>,
    pub(crate) info: Option<PluginInfo>,
    pub(crate) imports: Vec<String>,
    pub(crate) digest: String,
    pub(crate) component_bytes: usize,
    pub(crate) from_cache: bool,
    pub(crate) warnings: Vec<String>,
}

impl Plugin {
    /// The name it was loaded under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.blueprint.name
    }

    /// The stages it takes part in, in the order a request meets them.
    #[must_use]
    pub fn stages(&self) -> Vec<Stage> {
        self.blueprint.exports.stages()
    }

    /// Whether its instance lives as long as a request: it sees the prompt or the text. Others have one for each call.
    pub(crate) fn is_bound(&self) -> bool {
        self.blueprint.exports.prompt.is_some() || self.blueprint.exports.text.is_some()
    }

    /// The tools it offers.
    #[must_use]
    pub fn tools(&self) -> &[ToolDefinition] {
        &self.tools
    }

    /// What it says about itself, where it exports `lifecycle`.
    #[must_use]
    pub fn info(&self) -> Option<&PluginInfo> {
        self.info.as_ref()
    }

    /// The interfaces it imports.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// What it asked for and was granted.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.blueprint.grants
    }

    /// The names of capabilities whose interfaces it imports and that it was not granted: what it finds there says nothing
    /// of this machine.
    #[must_use]
    pub fn stand_ins(&self) -> Vec<&'static str> {
        let rows = [("clock", Capability::Clock, "wasi:clocks/"), ("random", Capability::Random, "wasi:random/")];
        let is_imported = |interface: &str| self.imports.iter().any(|import| import.starts_with(interface));
        let stands_in = rows.iter().filter(|row| !self.grants().has(row.1) && is_imported(row.2));
        stands_in.map(|row| row.0).collect()
    }

    /// What each of its calls may use, before a caller's own limits.
    #[must_use]
    pub fn limits(&self) -> PluginLimits {
        self.blueprint.limits
    }

    /// What its fault does to a request.
    #[must_use]
    pub fn on_fault(&self) -> OnFault {
        self.blueprint.on_fault
    }

    /// SHA-256 of its component, in hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Bytes of its component.
    #[must_use]
    pub fn component_bytes(&self) -> usize {
        self.component_bytes
    }

    /// Whether loading it needed no compiler.
    #[must_use]
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// What was not as it should be but did no harm, such as a cache that cannot be written.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name()).field("digest", &self.digest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn spec(name: &str) -> PluginSpec {
        PluginSpec::new(name, ComponentSource::Bytes(Cow::Borrowed(b"")))
    }

    #[test]
    fn limits_are_the_least_of_all() {
        let small = PluginLimits { fuel: 1, ..PluginLimits::default() };
        let short = PluginLimits { timeout: Duration::from_millis(2), ..PluginLimits::default() };
        let least = small.least(short);
        assert_eq!((least.fuel, least.timeout), (1, Duration::from_millis(2)));
    }

    #[test]
    fn limits_out_of_range_are_named() {
        let bad = [
            (PluginLimits { fuel: 0, ..PluginLimits::default() }, "fuel \"0\""),
            (PluginLimits { fuel: u64::MAX, ..PluginLimits::default() }, "fuel"),
            (PluginLimits { memory_bytes: 0, ..PluginLimits::default() }, "memory in bytes \"0\""),
            (PluginLimits { memory_bytes: usize::MAX, ..PluginLimits::default() }, "memory in bytes"),
            (PluginLimits { timeout: Duration::ZERO, ..PluginLimits::default() }, "timeout \"0ns\""),
            (PluginLimits { timeout: Duration::MAX, ..PluginLimits::default() }, "timeout"),
        ];
        for (limits, expected) in bad {
            let error = PluginSpec { limits, ..spec("p") }.check().expect_err(expected).to_string();
            assert!(error.contains(expected) && error.contains("plugin \"p\""), "{error}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        for good in ["redact", "a.b-c_9"] {
            assert!(spec(good).check().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "é", "\n", &"x".repeat(65)] {
            assert!(matches!(spec(bad).check(), Err(SandboxError::Name { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_configuration_is_one_json_object() {
        let with = |config: &str| PluginSpec { config_json: Some(config.to_owned()), ..spec("p") };
        assert!(with("{\"a\": [1]}").check().is_ok());
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(limits::PLUGIN_CONFIG_BYTES_MAX));
        for bad in ["", "[]", "1", "{", "{} {}", &long] {
            assert!(matches!(with(bad).check(), Err(SandboxError::Config { .. })), "{bad:.40}");
        }
    }
}
