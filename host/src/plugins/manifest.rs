//! `plugin.toml`, the manifest of a plugin. The author of the plugin writes it, so it is untrusted: every value has a limit.

mod capabilities;

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use firebox_contract::{Error, Stage, limits};
use firebox_sandbox::{ComponentSource, OnFault, PluginLimits, PluginSpec, ReadError};
use serde::Deserialize;

use crate::error::CliError;

/// The file name of the manifest, next to the component.
pub(super) const FILE: &str = "plugin.toml";

/// The content of the manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) id: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) stages: Option<Vec<String>>,
    capabilities: Option<toml::Value>,
    #[serde(default)]
    limits: RequestedLimits,
    #[serde(default)]
    on_fault: Effect,
    on_timeout: Option<Effect>,
    /// Its text.
    #[serde(skip)]
    pub(super) text: String,
    /// SHA-256 of its text, in hex.
    #[serde(skip)]
    pub(super) digest: String,
}

/// What a fault does to the request.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Effect {
    #[default]
    Fail,
    Skip,
}

impl From<Effect> for OnFault {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Fail => Self::Fail,
            Effect::Skip => Self::Skip,
        }
    }
}

/// The limits that the plugin asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestedLimits {
    fuel: Option<u64>,
    memory_mib: Option<usize>,
    timeout_ms: Option<u64>,
}

impl Manifest {
    /// The manifest at `path`.
    ///
    /// # Errors
    /// `CliError::File` if it cannot be read, `Error::Plugin` if it is not valid.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let whose = path.display().to_string();
        let bytes =
            firebox_sandbox::read_file(path, limits::PLUGIN_MANIFEST_BYTES_MAX).map_err(|error| match error {
                ReadError::System(source) => CliError::File { action: "read", path: whose.clone(), source },
                other => broken(&whose, &other.to_string()),
            })?;
        let text = std::str::from_utf8(&bytes).map_err(|error| broken(&whose, &error.to_string()))?;
        Self::parse(text, &whose)
    }

    /// The manifest next to a component, if its id is the component's name. A manifest that cannot be read is an error, because
    /// it may belong to this component and set its limits.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub(super) fn beside(component: &Path) -> Result<Option<Self>, CliError> {
        let path = component.with_file_name(FILE);
        if std::fs::symlink_metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(None);
        }
        let found = Self::read(&path)?;
        Ok(Some(found).filter(|found| component.file_stem().is_some_and(|stem| *stem == *found.id)))
    }

    /// Parses the manifest of the plugin or file `whose`.
    ///
    /// # Errors
    /// `Error::Plugin`.
    pub(super) fn parse(text: &str, whose: &str) -> Result<Self, CliError> {
        let mut manifest: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            broken(whose, &format!("line {}: {}", before.matches('\n').count() + 1, error.message()))
        })?;
        let id = &manifest.id;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > limits::PLUGIN_NAME_BYTES_MAX || !id.chars().all(plain) {
            let max = limits::PLUGIN_NAME_BYTES_MAX;
            let reason = format!("the id \"{}\" must have 1 to {max} letters, digits, '-', '_' or '.'", shown(id));
            return Err(broken(whose, &reason));
        }
        manifest.digest = super::sha256(text.as_bytes());
        text.clone_into(&mut manifest.text);
        Ok(manifest)
    }

    /// The id of the plugin, which is also the name of its component.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The plugin with its component at `source`, and the limits it asks for, up to the maximum for a manifest.
    ///
    /// # Errors
    /// `Error::Plugin` for an unknown stage, a limit of 0, or capabilities that are not written as such.
    pub(super) fn spec(&self, source: ComponentSource) -> Result<PluginSpec, CliError> {
        let asks = capabilities::asks(self.capabilities.as_ref()).map_err(|reason| broken(&self.id, &reason))?;
        let (limits, stages) = (self.limits(&asks)?, self.stages()?);
        let (on_fault, on_timeout) = match &stages {
            Some(stages) if stages.iter().all(|stage| *stage == Stage::Tool) => {
                (self.on_fault.into(), self.on_timeout.map(OnFault::from))
            }
            // A plugin of another stage may guard what passes through it. Only its operator lets requests go on without it.
            _ => (OnFault::Fail, None),
        };
        Ok(PluginSpec { limits, asks, stages, on_fault, on_timeout, ..PluginSpec::new(&self.id, source) })
    }

    fn limits(&self, asks: &[String]) -> Result<PluginLimits, CliError> {
        let RequestedLimits { fuel, memory_mib, timeout_ms } = self.limits;
        if fuel == Some(0) || memory_mib == Some(0) || timeout_ms == Some(0) {
            return Err(broken(&self.id, "a limit is 0; leave it out for the default"));
        }
        let default = PluginLimits::default();
        let memory_bytes = memory_mib.map_or(default.memory_bytes, |mib| mib.saturating_mul(1 << 20));
        let timeout = timeout_ms.map_or(default.timeout, Duration::from_millis);
        Ok(PluginLimits { fuel: fuel.unwrap_or(default.fuel), memory_bytes, timeout }.least(ceiling(asks)))
    }

    fn stages(&self) -> Result<Option<Vec<Stage>>, CliError> {
        let Some(names) = &self.stages else { return Ok(None) };
        // Every plugin has the stage `init`, so a manifest does not list it.
        let stage = |name: &String| Stage::named(name).filter(|stage| *stage != Stage::Init);
        let unknown = |name: &String| {
            let reason =
                format!("there is no stage \"{}\"; the stages are \"prompt\", \"text\" and \"tool\"", shown(name));
            broken(&self.id, &reason)
        };
        names.iter().map(|name| stage(name).ok_or_else(|| unknown(name))).collect::<Result<_, _>>().map(Some)
    }
}

/// The maximum that a manifest with these asks can ask for. A plugin that asks for the model waits for it.
fn ceiling(asks: &[String]) -> PluginLimits {
    match asks.iter().any(|ask| ask.starts_with("model:")) {
        true => PluginLimits { timeout: limits::PLUGIN_MANIFEST_MODEL_TIMEOUT_MAX, ..CEILING },
        false => CEILING,
    }
}

/// The maximum that a manifest can ask for. An operator can set more.
const CEILING: PluginLimits = PluginLimits {
    fuel: limits::PLUGIN_MANIFEST_FUEL_MAX,
    memory_bytes: limits::PLUGIN_MANIFEST_MEMORY_BYTES_MAX,
    timeout: limits::PLUGIN_MANIFEST_TIMEOUT_MAX,
};

fn broken(whose: &str, reason: &str) -> CliError {
    CliError::Host(Error::Plugin(format!("invalid plugin manifest \"{whose}\": {}", shown(reason))))
}

/// Untrusted text for a message: cut to 200 characters and without control characters.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARACTERS: usize = 200;
    let mut shown: String =
        text.chars().take(SHOWN_CHARACTERS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PluginSpec, CliError> {
        Manifest::parse(text, "p")?.spec(ComponentSource::BuiltIn(b""))
    }

    #[test]
    fn a_manifest_gets_at_most_the_maximum_limits() {
        let head = "id = \"p\"\nversion = \"1\"\n[limits]\n";
        let greedy = format!("{head}fuel = 9000000000000000000\nmemory_mib = 4000000\ntimeout_ms = 900000000\n");
        assert_eq!(parse(&greedy).expect("a manifest").limits, CEILING);
        let asking = format!("{greedy}[capabilities]\nmodel = [\"generate\"]\n");
        let patient = PluginLimits { timeout: limits::PLUGIN_MANIFEST_MODEL_TIMEOUT_MAX, ..CEILING };
        assert_eq!(parse(&asking).expect("a manifest").limits, patient, "it waits for the model");
        let modest = parse(&format!("{head}fuel = 7\nmemory_mib = 1\ntimeout_ms = 5\n")).expect("a manifest").limits;
        assert_eq!((modest.fuel, modest.memory_bytes, modest.timeout), (7, 1 << 20, Duration::from_millis(5)));
    }

    #[test]
    fn a_manifest_says_what_its_faults_do() {
        let effects = |text: &str| {
            let spec = parse(&format!("id = \"p\"\nversion = \"1\"\n{text}")).expect("a manifest");
            (spec.on_fault, spec.on_timeout)
        };
        let tool = "stages = [\"tool\"]\n";
        assert_eq!(effects(tool), (OnFault::Fail, None));
        assert_eq!(effects(&format!("{tool}on_fault = \"skip\"")), (OnFault::Skip, None));
        assert_eq!(effects(&format!("{tool}on_timeout = \"skip\"")), (OnFault::Fail, Some(OnFault::Skip)));
        for stages in ["", "stages = [\"tool-call\"]\n", "stages = [\"tool\", \"text\"]\n", "stages = [\"prompt\"]\n"] {
            let both = format!("{stages}on_fault = \"skip\"\non_timeout = \"skip\"");
            assert_eq!(effects(&both), (OnFault::Fail, None), "a guard does not let itself be skipped: {stages}");
        }
    }

    #[test]
    fn an_invalid_manifest_is_a_short_plugin_error_without_control_characters() {
        let head = "version = \"1\"\n";
        let long = "x".repeat(60_000);
        for bad in [
            String::new(),
            "id = ".to_owned(),
            format!("id = \"../../p\"\n{head}"),
            format!("id = \"/etc/p\"\n{head}"),
            format!("id = \"\"\n{head}"),
            format!("id = \"{long}\"\n{head}"),
            format!("id = \"p\\u001b[2J\"\n{head}"),
            format!("id = \"p\"\n{head}\"{long}\" = 1\n"),
            format!("id = \"p\"\n{head}\"\\u001b[2J\" = 1\n"),
            format!("id = \"p\"\n{head}stages = [\"\\u001b]52;c;{long}\"]\n"),
            format!("id = \"p\"\n{head}[limits]\nfuel = 0\n"),
            format!("id = \"p\"\n{head}[limits]\nfuel = -1\n"),
            format!("id = \"p\"\n{head}on_fault = \"retry\"\n"),
            format!("id = {}", "[".repeat(60_000)),
        ] {
            let error = parse(&bad).expect_err("refused");
            let text = error.to_string();
            assert_eq!(error.kind().exit_code(), 5, "{text:.300}");
            assert!(text.len() < 1_000 && !text.chars().any(char::is_control), "{text:.300}");
        }
    }
}
