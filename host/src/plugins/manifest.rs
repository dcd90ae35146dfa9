//! `plugin.toml`: what a plugin says about itself before it runs. It is written by whoever wrote the plugin, so nothing in it is
//! taken without a limit.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use firebox_contract::{Error, Stage, limits};
use firebox_sandbox::{ComponentSource, PluginLimits, PluginSpec, ReadError};
use serde::Deserialize;

use crate::error::CliError;

/// The manifest's name, beside a component.
pub(super) const FILE: &str = "plugin.toml";

/// The file's content.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    id: String,
    #[serde(rename = "version")]
    _version: String,
    #[serde(rename = "description", default)]
    _description: String,
    stages: Option<Vec<String>>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    limits: RequestedLimits,
}

/// What the plugin would like to use.
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
    /// `CliError::File` if there is none, a fault of the plugin if it is not a manifest.
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

    /// The manifest beside a component, if its id is the component's name. One that cannot be read is an error: it may be this
    /// component's, and hold limits that must not be lost.
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

    /// The manifest with this text, of the plugin or file `whose`.
    ///
    /// # Errors
    /// A fault of the plugin.
    pub(super) fn parse(text: &str, whose: &str) -> Result<Self, CliError> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            broken(whose, &format!("line {}: {}", before.matches('\n').count() + 1, error.message()))
        })?;
        let id = &manifest.id;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > limits::PLUGIN_NAME_BYTES_MAX || !id.chars().all(plain) {
            let max = limits::PLUGIN_NAME_BYTES_MAX;
            let reason = format!("its id \"{}\" is not 1 to {max} letters, digits, '-', '_' or '.'", shown(id));
            return Err(broken(whose, &reason));
        }
        Ok(manifest)
    }

    /// The plugin's own name, which is also its component's.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The plugin with its component at `source`, with what it asks for as far as a manifest gets it.
    ///
    /// # Errors
    /// A fault of the plugin, for a stage that does not exist or a limit of nothing.
    pub(super) fn spec(&self, source: ComponentSource) -> Result<PluginSpec, CliError> {
        let (limits, stages) = (self.limits()?, self.stages()?);
        Ok(PluginSpec { limits, asks: self.capabilities.clone(), stages, ..PluginSpec::new(&self.id, source) })
    }

    fn limits(&self) -> Result<PluginLimits, CliError> {
        let RequestedLimits { fuel, memory_mib, timeout_ms } = self.limits;
        if fuel == Some(0) || memory_mib == Some(0) || timeout_ms == Some(0) {
            return Err(broken(&self.id, "a limit of 0 lets it do nothing; leave the limit out"));
        }
        let default = PluginLimits::default();
        let memory_bytes = memory_mib.map_or(default.memory_bytes, |mib| mib.saturating_mul(1 << 20));
        let timeout = timeout_ms.map_or(default.timeout, Duration::from_millis);
        Ok(PluginLimits { fuel: fuel.unwrap_or(default.fuel), memory_bytes, timeout }.least(CEILING))
    }

    fn stages(&self) -> Result<Option<Vec<Stage>>, CliError> {
        let Some(names) = &self.stages else { return Ok(None) };
        // Every plugin may start, so that says nothing.
        let stage = |name: &String| Stage::named(name).filter(|stage| *stage != Stage::Init);
        let unknown = |name: &String| {
            let reason = format!("it names a stage \"{}\"; there are \"prompt\", \"text\" and \"tool\"", shown(name));
            broken(&self.id, &reason)
        };
        names.iter().map(|name| stage(name).ok_or_else(|| unknown(name))).collect::<Result<_, _>>().map(Some)
    }
}

/// What a manifest gets at most; more takes the word of whoever runs it.
const CEILING: PluginLimits = PluginLimits {
    fuel: limits::PLUGIN_MANIFEST_FUEL_MAX,
    memory_bytes: limits::PLUGIN_MANIFEST_MEMORY_BYTES_MAX,
    timeout: limits::PLUGIN_MANIFEST_TIMEOUT_MAX,
};

fn broken(whose: &str, reason: &str) -> CliError {
    CliError::Host(Error::Plugin(format!("\"{whose}\" is not a plugin manifest: {}", shown(reason))))
}

/// Text of somebody else as a message shows it: short, and without what a terminal would obey.
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
    fn a_manifest_gets_no_more_than_a_manifest_may() {
        let head = "id = \"p\"\nversion = \"1\"\n[limits]\n";
        let greedy = format!("{head}fuel = 9000000000000000000\nmemory_mib = 4000000\ntimeout_ms = 900000000\n");
        assert_eq!(parse(&greedy).expect("a manifest").limits, CEILING);
        let modest = parse(&format!("{head}fuel = 7\nmemory_mib = 1\ntimeout_ms = 5\n")).expect("a manifest").limits;
        assert_eq!((modest.fuel, modest.memory_bytes, modest.timeout), (7, 1 << 20, Duration::from_millis(5)));
    }

    #[test]
    fn what_is_no_manifest_is_the_plugins_fault_in_few_and_plain_words() {
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
            format!("id = {}", "[".repeat(60_000)),
        ] {
            let error = parse(&bad).expect_err("refused");
            let text = error.to_string();
            assert_eq!(error.kind().exit_code(), 5, "{text:.300}");
            assert!(text.len() < 1_000 && !text.chars().any(char::is_control), "{text:.300}");
        }
    }
}
