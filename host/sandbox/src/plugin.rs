//! Plugins: the specification of a plugin to load, its limits, and the loaded plugin.

pub(crate) mod grants;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use firebox_contract::limits;
use firebox_contract::{FaultCause, Stage, ToolDefinition};
use wasmtime::component::InstancePre;

use self::grants::capability::Capability;
use self::grants::explain::{GrantRow, explain_grants};
use self::grants::{Grants, PluginGrants, TenantGrants};
use crate::capabilities::Services;
use crate::compile::ComponentSource;
use crate::error::SandboxError;
use crate::instance::guest::GuestData;
use crate::instance::pool::Amount;
use crate::runtime::Runtime;
use crate::stages::Exports;

/// The effect of a plugin's fault on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFault {
    /// The request ends, with the fault as its error.
    #[default]
    Fail,
    /// The request continues without the plugin. Text that the plugin has buffered is lost. Its tools answer with an error.
    Skip,
}

/// Which faults of a plugin end the request, at every stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FaultPolicy {
    pub(crate) on_fault: OnFault,
    /// The effect of a call that takes too long.
    pub(crate) on_timeout: OnFault,
}

impl FaultPolicy {
    /// Whether the request continues after a fault with this cause.
    pub(crate) fn skips(self, cause: &FaultCause) -> bool {
        let effect = if matches!(cause, FaultCause::TimedOut { .. }) { self.on_timeout } else { self.on_fault };
        effect == OnFault::Skip
    }
}

/// The limits of one guest call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Fuel of one call, up to `limits::PLUGIN_FUEL_MAX`.
    pub fuel: u64,
    /// Linear memory of one instance in bytes, the sum of all its memories, up to `limits::PLUGIN_MEMORY_BYTES_MAX`.
    pub memory_bytes: usize,
    /// Wall-clock time of one call including host calls, up to `limits::PLUGIN_TIMEOUT_MAX`.
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
    /// The highest limits that can be set.
    pub const MAX: Self = Self {
        fuel: limits::PLUGIN_FUEL_MAX,
        memory_bytes: limits::PLUGIN_MEMORY_BYTES_MAX,
        timeout: limits::PLUGIN_TIMEOUT_MAX,
    };

    /// The lower limit of both, field by field.
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

/// The component that grants are for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GrantedTo {
    /// Whichever component the source has.
    #[default]
    Any,
    /// The component with this SHA-256, in hex. Another one is not loaded.
    Digest(String),
}

/// A component that was accepted. Another one is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// Where this is written, and what to do if the component has changed, as the end of a sentence about the plugin.
    pub by: String,
}

/// A plugin to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSpec {
    /// Its name in messages, logs and metrics: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Its component.
    pub source: ComponentSource,
    /// Its configuration for `lifecycle.init`: the text of one JSON object.
    pub config_json: Option<String>,
    /// The limits of each of its calls.
    pub limits: PluginLimits,
    /// The effect of its fault on a request.
    pub on_fault: OnFault,
    /// The effect of a call that takes too long; `None` if it is that of any other fault.
    pub on_timeout: Option<OnFault>,
    /// The capabilities that its manifest asks for, each as the text of a [`grants::capability::Grant`].
    pub asks: Vec<String>,
    /// Whether it has a manifest. One without asks for what the grants of its operator name, and gets nothing of others such as
    /// `keyvalue:*`.
    pub has_manifest: bool,
    /// The capabilities that its operator grants to it, in addition to those that the sandbox grants to every plugin. The
    /// plugin has only those that it also asks for and that the tenant of the request grants to it.
    pub grants: Grants,
    /// The component that the grants are for.
    pub granted_to: GrantedTo,
    /// What its component must be. Without any, every component may be loaded.
    pub pins: Vec<Pinned>,
    /// The stages that its manifest lists. If there is a list, the component must export exactly these stages.
    pub stages: Option<Vec<Stage>>,
}

impl PluginSpec {
    /// The component at `source` with the name `name` and default limits, without configuration, capabilities or stages.
    #[must_use]
    pub fn new(name: impl Into<String>, source: ComponentSource) -> Self {
        Self {
            name: name.into(),
            source,
            config_json: None,
            limits: PluginLimits::default(),
            on_fault: OnFault::default(),
            on_timeout: None,
            asks: Vec::new(),
            has_manifest: true,
            grants: Grants::default(),
            granted_to: GrantedTo::default(),
            pins: Vec::new(),
            stages: None,
        }
    }

    /// The configuration as texts: a value that is not a text is its JSON.
    pub(crate) fn settings(&self) -> BTreeMap<String, String> {
        let parsed =
            self.config_json.as_deref().map(serde_json::from_str::<serde_json::Map<String, serde_json::Value>>);
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        // `check` refuses a configuration that is not an object.
        parsed.and_then(Result::ok).into_iter().flatten().map(|(key, value)| (key, text(value))).collect()
    }

    /// # Errors
    /// `SandboxError` for an invalid name, limit or configuration.
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.len() > limits::PLUGIN_NAME_BYTES_MAX || !self.name.chars().all(allowed) {
            let name = crate::instance::log::cut(&self.name, limits::PLUGIN_NAME_BYTES_MAX).to_owned();
            return Err(SandboxError::Name { name });
        }
        self.limits.check(&format!("plugin \"{}\"", self.name))?;
        let Some(config) = &self.config_json else { return Ok(()) };
        let wrong = |reason: String| Err(SandboxError::Config { plugin: self.name.clone(), reason });
        if config.len() > limits::PLUGIN_CONFIG_BYTES_MAX {
            let limit = limits::PLUGIN_CONFIG_BYTES_MAX;
            return wrong(format!("has {} bytes; at most {limit} are allowed", config.len()));
        }
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(config) {
            Ok(_) => Ok(()),
            Err(error) => wrong(format!("is not one JSON object: {error}")),
        }
    }
}

/// The plugin's description of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// The plugin's own name. It may differ from the name that the plugin was loaded with.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line about what the plugin does.
    pub description: String,
}

/// What all instances of a plugin share with their host functions.
#[derive(Debug)]
pub(crate) struct PluginShared {
    pub(crate) grants: Arc<PluginGrants>,
    pub(crate) services: Services,
    /// The configuration as texts, for the interfaces of `wasi:config`.
    pub(crate) settings: BTreeMap<String, String>,
}

/// Everything that is needed to create an instance.
pub(crate) struct Blueprint {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) name: String,
    pub(crate) pre: InstancePre<GuestData>,
    pub(crate) exports: Exports,
    pub(crate) limits: PluginLimits,
    pub(crate) policy: FaultPolicy,
    pub(crate) config_json: Option<String>,
    pub(crate) shared: Arc<PluginShared>,
    /// The linear memories that an instance takes of the instance pool, at least 1.
    pub(crate) memories: usize,
    /// Peak bytes of memory of the plugin's first instance.
    pub(crate) initial_bytes: OnceLock<usize>,
}

impl Blueprint {
    /// The amount that an instance takes of the instance pool when it starts.
    pub(crate) fn need(&self) -> Amount {
        Amount { memories: self.memories, bytes: self.initial_bytes.get().copied().unwrap_or_default() }
    }
}

/// A loaded plugin: a component that was compiled, checked and started once. It holds no running instance.
pub struct Plugin {
    pub(crate) blueprint: Arc<Blueprint>,
    pub(crate) tools: Vec<ToolDefinition>,
    pub(crate) info: Option<PluginInfo>,
    pub(crate) imports: Vec<String>,
    /// What its manifest asks for; `None` without a manifest.
    pub(crate) asks: Option<Vec<String>>,
    pub(crate) digest: String,
    pub(crate) component_bytes: usize,
    pub(crate) from_cache: bool,
    pub(crate) warnings: Vec<String>,
}

impl Plugin {
    /// The name that it was loaded with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.blueprint.name
    }

    /// The stages that it exports, in the order in which a request meets them.
    #[must_use]
    pub fn stages(&self) -> Vec<Stage> {
        self.blueprint.exports.stages()
    }

    /// Whether its instance lives as long as a request. If not, each call has a new instance.
    pub(crate) fn lives_per_request(&self) -> bool {
        self.blueprint.exports.live_per_request()
    }

    /// The tools that it offers.
    #[must_use]
    pub fn tools(&self) -> &[ToolDefinition] {
        &self.tools
    }

    /// Its description of itself, if it exports `lifecycle`.
    #[must_use]
    pub fn info(&self) -> Option<&PluginInfo> {
        self.info.as_ref()
    }

    /// The names of the interfaces that it imports.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The capabilities that its manifest asks for.
    #[must_use]
    pub fn asks(&self) -> &[String] {
        self.asks.as_deref().unwrap_or_default()
    }

    /// What it asks for and imports against what its operator and `tenant` grant.
    #[must_use]
    pub fn explain_grants(&self, tenant: Option<&TenantGrants>) -> Vec<GrantRow> {
        let operator = &self.blueprint.shared.grants.operator;
        // The asks were parsed when the plugin was loaded.
        explain_grants(self.name(), self.asks.as_deref(), &self.imports, operator, tenant).unwrap_or_default()
    }

    /// The names of the capabilities whose interfaces it imports without an ask and an operator's grant. These interfaces answer
    /// with substitutes that reveal nothing about the machine.
    #[must_use]
    pub fn stand_ins(&self) -> Vec<&'static str> {
        let rows = [("clock", Capability::Clock, "wasi:clocks/"), ("random", Capability::Random, "wasi:random/")];
        let is_imported = |interface: &str| self.imports.iter().any(|import| import.starts_with(interface));
        let PluginGrants { asked, operator, .. } = &*self.blueprint.shared.grants;
        let has = |capability| asked.has(capability) && operator.has(capability);
        rows.iter().filter(|row| !has(row.1) && is_imported(row.2)).map(|row| row.0).collect()
    }

    /// The limits of each of its calls, before the limits of a caller.
    #[must_use]
    pub fn limits(&self) -> PluginLimits {
        self.blueprint.limits
    }

    /// The effect of its fault on a request.
    #[must_use]
    pub fn on_fault(&self) -> OnFault {
        self.blueprint.policy.on_fault
    }

    /// The effect of a call that takes too long.
    #[must_use]
    pub fn on_timeout(&self) -> OnFault {
        self.blueprint.policy.on_timeout
    }

    /// SHA-256 of its component, in hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The size of its component, in bytes.
    #[must_use]
    pub fn component_bytes(&self) -> usize {
        self.component_bytes
    }

    /// Whether its compiled code came from the cache.
    #[must_use]
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// Problems that did not prevent loading, such as a cache that cannot be written.
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
    fn the_lower_limit_applies() {
        let small = PluginLimits { fuel: 1, ..PluginLimits::default() };
        let short = PluginLimits { timeout: Duration::from_millis(2), ..PluginLimits::default() };
        let least = small.least(short);
        assert_eq!((least.fuel, least.timeout), (1, Duration::from_millis(2)));
    }

    #[test]
    fn a_timeout_has_an_effect_of_its_own() {
        let late = FaultCause::TimedOut { limit: Duration::ZERO, took: Duration::ZERO };
        let trap = FaultCause::Trapped { message: String::new() };
        for (on_fault, on_timeout) in [(OnFault::Skip, OnFault::Fail), (OnFault::Fail, OnFault::Skip)] {
            let policy = FaultPolicy { on_fault, on_timeout };
            assert_eq!(policy.skips(&late), on_timeout == OnFault::Skip);
            assert_eq!(policy.skips(&trap), on_fault == OnFault::Skip);
        }
    }

    #[test]
    fn a_limit_out_of_range_is_named() {
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
    fn a_name_is_1_to_64_letters_digits_dots_dashes_or_underscores() {
        for good in ["redact", "a.b-c_9"] {
            assert!(spec(good).check().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "é", "\n", &"x".repeat(65)] {
            assert!(matches!(spec(bad).check(), Err(SandboxError::Name { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_configuration_must_be_one_json_object_within_the_size_limit() {
        let with = |config: &str| PluginSpec { config_json: Some(config.to_owned()), ..spec("p") };
        assert!(with("{\"a\": [1]}").check().is_ok());
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(limits::PLUGIN_CONFIG_BYTES_MAX));
        for bad in ["", "[]", "1", "{", "{} {}", &long] {
            assert!(matches!(with(bad).check(), Err(SandboxError::Config { .. })), "{bad:.40}");
        }
    }
}
