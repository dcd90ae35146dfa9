//! From what the user typed after `--plugin` to what the sandbox loads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use firebox_contract::{Stage, limits};
use firebox_sandbox::{Capability, ComponentSource, Grants, PluginLimits, PluginSpec};
use serde::Deserialize;

use crate::cli::options::PluginOptions;
use crate::config::PluginConfig;
use crate::error::CliError;

/// A plugin that comes inside the binary.
struct Builtin {
    name: &'static str,
    component: &'static [u8],
    manifest: &'static str,
    /// Whether the built-in model gets it without being asked.
    with_ember: bool,
}

macro_rules! builtin {
    ($name:literal, $with_ember:literal) => {
        Builtin {
            name: $name,
            component: include_bytes!(concat!("../../plugins/prebuilt/", $name, ".wasm")),
            manifest: include_str!(concat!("../../plugins/", $name, "/plugin.toml")),
            with_ember: $with_ember,
        }
    };
}

/// Every plugin that comes inside the binary.
const BUILTINS: &[Builtin] =
    &[builtin!("calculator", true), builtin!("text-tools", true), builtin!("units", true), builtin!("redact", false)];

/// The names of the plugins that come inside the binary.
pub fn builtins() -> impl Iterator<Item = &'static str> + Clone {
    BUILTINS.iter().map(|builtin| builtin.name)
}

/// Whether a plugin of this name comes inside the binary.
#[must_use]
pub fn is_builtin(name: &str) -> bool {
    builtins().any(|builtin| builtin == name)
}

/// The plugins that the built-in model gets without being asked.
pub fn with_ember() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().filter(|builtin| builtin.with_ember).map(|builtin| builtin.name)
}

/// The name a plugin has that is asked for by `source`: a name or a path.
///
/// # Errors
/// As [`resolve`].
pub fn name_of(source: &str) -> Result<String, CliError> {
    Ok(find(source)?.name)
}

/// A plugin of a configuration as the sandbox loads it: under its own name, within its own limits and grants.
///
/// # Errors
/// As [`resolve`].
pub fn configured(plugin: &PluginConfig) -> Result<PluginSpec, CliError> {
    let spec = find(&plugin.source)?;
    let set = &plugin.limits;
    let limits = PluginLimits {
        fuel: set.fuel.unwrap_or(spec.limits.fuel),
        memory_bytes: set.memory_bytes.unwrap_or(spec.limits.memory_bytes),
        timeout: set.timeout.unwrap_or(spec.limits.timeout),
    };
    let (name, config_json) = (plugin.name.clone(), plugin.config_json.clone());
    let grants = grants(plugin.grants.iter().map(String::as_str))?;
    Ok(PluginSpec { name, config_json, limits, grants, on_fault: plugin.on_fault, ..spec })
}

/// The capabilities with these `names`, and what every plugin has.
///
/// # Errors
/// `CliError::Usage`-kind for a name that is none.
fn grants<'a>(names: impl Iterator<Item = &'a str>) -> Result<Grants, CliError> {
    let known = |name: &'a str| {
        let all: Vec<&str> = Capability::names().collect();
        let message = format!("there is no capability \"{name}\" to grant; there are {}", all.join(", "));
        Capability::from_name(name).ok_or_else(|| CliError::usage(message))
    };
    names.chain(["log"]).map(known).collect()
}

/// `plugin.toml`, beside a component.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    id: String,
    #[serde(rename = "version")]
    _version: String,
    #[serde(rename = "description", default)]
    _description: String,
    stages: Option<Vec<String>>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    limits: ManifestLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestLimits {
    fuel: Option<u64>,
    memory_mib: Option<usize>,
    timeout_ms: Option<u64>,
}

/// The plugins of one command line, in chain order: the built-in model's tools first, then those asked for.
///
/// # Errors
/// `CliError::Usage`-kind for a name that is neither built in nor a file, a configuration for a plugin that is
/// not there, or one that is not JSON; `CliError::File` for a file that cannot be read.
pub fn resolve(options: &PluginOptions, with_ember: bool) -> Result<Vec<PluginSpec>, CliError> {
    let mut specs = Vec::new();
    for builtin in BUILTINS.iter().filter(|builtin| with_ember && builtin.with_ember && !options.no_tools) {
        if !options.plugins.iter().any(|name| name == builtin.name) {
            specs.push(builtin_spec(builtin)?);
        }
    }
    for asked in &options.plugins {
        specs.push(find(asked)?);
    }
    let mut configs = configs(&options.configs)?;
    for spec in &mut specs {
        spec.config_json = configs.remove(&spec.name);
        spec.limits = narrowed(spec.limits, options);
        spec.grants = grants(options.grants.iter().map(String::as_str))?;
    }
    if let Some(name) = configs.keys().next() {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let message = format!("--plugin-config names \"{name}\", but the plugins here are: {}", names.join(", "));
        return Err(CliError::usage(message));
    }
    Ok(specs)
}

fn find(asked: &str) -> Result<PluginSpec, CliError> {
    if let Some(builtin) = BUILTINS.iter().find(|builtin| builtin.name == asked) {
        return builtin_spec(builtin);
    }
    let path = Path::new(asked);
    if path.is_dir() {
        let manifest_path = path.join("plugin.toml");
        let manifest = read_manifest(&manifest_path)?;
        let component = path.join(format!("{}.wasm", manifest.id));
        return spec(&manifest, ComponentSource::Path(component));
    }
    if !path.is_file() {
        let names: Vec<&str> = BUILTINS.iter().map(|builtin| builtin.name).collect();
        let message = format!(
            "there is no plugin \"{asked}\": it is neither a file nor one of the built-in {}",
            names.join(", ")
        );
        return Err(CliError::usage(message));
    }
    match sibling_manifest(path)? {
        Some(manifest) => spec(&manifest, ComponentSource::Path(path.to_owned())),
        None => Ok(bare(path)),
    }
}

/// `plugin.toml` beside a component, if its id is the component's name. One that cannot be read is an error: it may be
/// this component's, and hold limits that must not be lost.
fn sibling_manifest(path: &Path) -> Result<Option<Manifest>, CliError> {
    let manifest = path.with_file_name("plugin.toml");
    if !manifest.is_file() {
        return Ok(None);
    }
    let found = read_manifest(&manifest)?;
    Ok(Some(found).filter(|found| path.file_stem().is_some_and(|stem| *stem == *found.id)))
}

/// A component alone asks for nothing and gets the default limits; its file name is its name.
fn bare(path: &Path) -> PluginSpec {
    let name = path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned());
    PluginSpec::new(name, ComponentSource::Path(path.to_owned()))
}

fn read_manifest(path: &Path) -> Result<Manifest, CliError> {
    let text = std::fs::read_to_string(path).map_err(|source| CliError::File {
        action: "read",
        path: path.display().to_string(),
        source,
    })?;
    parse_manifest(&text, &path.display().to_string())
}

fn parse_manifest(text: &str, whose: &str) -> Result<Manifest, CliError> {
    toml::from_str(text).map_err(|error| CliError::usage(format!("\"{whose}\" is not a plugin manifest: {error}")))
}

fn builtin_spec(builtin: &Builtin) -> Result<PluginSpec, CliError> {
    let manifest = parse_manifest(builtin.manifest, builtin.name)?;
    spec(&manifest, ComponentSource::Bytes(Cow::Borrowed(builtin.component)))
}

fn spec(manifest: &Manifest, source: ComponentSource) -> Result<PluginSpec, CliError> {
    let ask = &manifest.limits;
    let default = PluginLimits::default();
    let limits = PluginLimits {
        fuel: ask.fuel.unwrap_or(default.fuel).min(limits::PLUGIN_FUEL_MAX),
        memory_bytes: ask.memory_mib.map_or(default.memory_bytes, |mib| mib.saturating_mul(1 << 20)),
        timeout: ask.timeout_ms.map_or(default.timeout, Duration::from_millis).min(limits::PLUGIN_TIMEOUT_MAX),
    };
    let memory_bytes = limits.memory_bytes.min(limits::PLUGIN_MEMORY_BYTES_MAX);
    let limits = PluginLimits { memory_bytes, ..limits };
    let (asks, stages) = (manifest.capabilities.clone(), stages(manifest)?);
    Ok(PluginSpec { limits, asks, stages, ..PluginSpec::new(&manifest.id, source) })
}

fn stages(manifest: &Manifest) -> Result<Option<Vec<Stage>>, CliError> {
    let Some(names) = &manifest.stages else { return Ok(None) };
    // Every plugin may start, so that says nothing.
    let stage = |name: &String| Stage::named(name).filter(|stage| *stage != Stage::Init);
    let unknown = |name: &String| {
        let id = &manifest.id;
        CliError::usage(format!(
            "plugin \"{id}\" names a stage \"{name}\"; there are \"prompt\", \"text\" and \"tool\""
        ))
    };
    names.iter().map(|name| stage(name).ok_or_else(|| unknown(name))).collect::<Result<_, _>>().map(Some)
}

fn narrowed(limits: PluginLimits, options: &PluginOptions) -> PluginLimits {
    PluginLimits {
        fuel: options.fuel.unwrap_or(limits.fuel),
        memory_bytes: options.plugin_memory.unwrap_or(limits.memory_bytes),
        timeout: options.plugin_timeout.unwrap_or(limits.timeout),
    }
}

fn configs(asked: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut configs = BTreeMap::new();
    for pair in asked {
        let Some((name, json)) = pair.split_once('=') else {
            return Err(CliError::usage(format!(
                "--plugin-config \"{pair}\" is not NAME=JSON; write redact={{\"restore\": true}}"
            )));
        };
        if json.len() > limits::PLUGIN_CONFIG_BYTES_MAX {
            let max = limits::PLUGIN_CONFIG_BYTES_MAX;
            return Err(CliError::usage(format!("the configuration of \"{name}\" is longer than {max} bytes")));
        }
        if let Err(error) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json) {
            return Err(CliError::usage(format!("the configuration of \"{name}\" is not a JSON object: {error}")));
        }
        if configs.insert(name.to_owned(), json.to_owned()).is_some() {
            return Err(CliError::usage(format!(
                "--plugin-config names \"{name}\" twice; give each plugin one object"
            )));
        }
    }
    Ok(configs)
}
