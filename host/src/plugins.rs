//! Plugins: from names and paths to components with limits and grants.

pub mod compiler;
pub mod distribution;
pub(crate) mod installed;
pub mod keyvalue;
pub(crate) mod limit_remedy;
pub mod log;
mod manifest;
pub mod project;
pub mod sandbox;
pub mod tools;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firebox_contract::limits;
use firebox_sandbox::{
    ComponentSource, GrantRow, GrantedTo, Grants, Plugin, PluginLimits, PluginSpec, ReadError, TenantGrants,
};
use sha2::{Digest, Sha256};

use self::distribution::policy::{Acceptance, FoundPlugin, PublishedText};
use self::distribution::signature::PublicKey;
use self::manifest::Manifest;
use crate::cli::options::PluginOptions;
use crate::config::{self, PluginConfig, lock};
use crate::error::CliError;

/// A built-in plugin.
struct BuiltinPlugin {
    name: &'static str,
    component: &'static [u8],
    manifest: &'static str,
    /// Whether the built-in model uses it by default.
    with_ember: bool,
}

macro_rules! builtin {
    ($name:literal, $with_ember:literal) => {
        BuiltinPlugin {
            name: $name,
            component: include_bytes!(concat!("../../plugins/prebuilt/", $name, ".wasm")),
            manifest: include_str!(concat!("../../plugins/", $name, "/plugin.toml")),
            with_ember: $with_ember,
        }
    };
}

/// All built-in plugins.
const BUILTINS: &[BuiltinPlugin] = &[
    builtin!("calculator", true),
    builtin!("text-tools", true),
    builtin!("units", true),
    builtin!("redact", false),
    builtin!("notes", false),
    builtin!("datetime", false),
    builtin!("http-fetch", false),
    builtin!("watermark", false),
    builtin!("tool-guard", false),
    builtin!("normalize-text", false),
    builtin!("regex", false),
    builtin!("json-schema", false),
    builtin!("cache", false),
    builtin!("files", false),
    builtin!("summarize", false),
];

/// The names of the built-in plugins.
pub fn builtins() -> impl Iterator<Item = &'static str> + Clone {
    BUILTINS.iter().map(|builtin| builtin.name)
}

/// A plugin that can be used by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPlugin {
    /// Its name.
    pub name: String,
    /// Its version, as its manifest says.
    pub version: String,
    /// One line about what it does, as its manifest says.
    pub description: String,
    /// The names of the stages that its manifest lists.
    pub stages: Vec<String>,
    /// `built-in` or `installed`.
    pub from: &'static str,
    /// The folder of an installed plugin.
    pub path: Option<PathBuf>,
}

impl KnownPlugin {
    fn of(manifest: Manifest, from: &'static str, path: Option<PathBuf>) -> Self {
        let Manifest { id, version, description, stages, .. } = manifest;
        Self { name: id, version, description, stages: stages.unwrap_or_default(), from, path }
    }
}

/// The plugins that can be used by name: the built-in ones, then the installed ones.
///
/// # Errors
/// `CliError::File`, if the folder of installed plugins cannot be read; `Error::Plugin` for a manifest that is not valid.
pub fn known() -> Result<Vec<KnownPlugin>, CliError> {
    let builtin = |builtin: &BuiltinPlugin| {
        Ok(KnownPlugin::of(Manifest::parse(builtin.manifest, builtin.name)?, "built-in", None))
    };
    let mut known = BUILTINS.iter().map(builtin).collect::<Result<Vec<_>, CliError>>()?;
    for (path, manifest) in installed::all()? {
        known.push(KnownPlugin::of(manifest, "installed", Some(path)));
    }
    Ok(known)
}

/// Whether `name` is a built-in plugin.
#[must_use]
pub fn is_builtin(name: &str) -> bool {
    builtins().any(|builtin| builtin == name)
}

/// The plugins that the built-in model uses by default.
pub fn with_ember() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().filter(|builtin| builtin.with_ember).map(|builtin| builtin.name)
}

/// The name of the plugin `source`, which is a built-in name or a path.
///
/// # Errors
/// As [`resolve`].
pub fn name_of(source: &str) -> Result<String, CliError> {
    Ok(find(source)?.spec.name)
}

/// A configured plugin, with its name, limits and grants, and the trusted key that has signed it.
///
/// # Errors
/// As [`resolve`]; `Error::Denied` for one that is not accepted.
pub fn configured(
    plugin: &PluginConfig,
    acceptance: Acceptance<'_>,
) -> Result<(PluginSpec, Option<PublicKey>), CliError> {
    let mut found = find(&plugin.source)?;
    let signer = acceptance.apply(&plugin.name, &mut found)?;
    let spec = found.spec;
    let set = &plugin.limits;
    let limits = PluginLimits {
        fuel: set.fuel.unwrap_or(spec.limits.fuel),
        memory_bytes: set.memory_bytes.unwrap_or(spec.limits.memory_bytes),
        timeout: set.timeout.unwrap_or(spec.limits.timeout),
    };
    let (name, config_json) = (plugin.name.clone(), plugin.config_json.clone());
    let of_plugin = |reason| CliError::usage(format!("the grants of plugin \"{name}\": {reason}"));
    let grants = with_secrets(&plugin.grants).map_err(of_plugin)?;
    let granted_to = plugin.digest.clone().map_or(GrantedTo::Any, GrantedTo::Digest);
    let on_fault = plugin.on_fault.unwrap_or(spec.on_fault);
    // The operator's word on faults also covers timeouts, whatever the manifest says about those.
    let on_timeout = plugin.on_timeout.or(plugin.on_fault).or(spec.on_timeout);
    Ok((PluginSpec { name, config_json, limits, grants, granted_to, on_fault, on_timeout, ..spec }, signer))
}

/// The grants with these texts, with the values of their secrets.
///
/// # Errors
/// What is wrong with the first text that is no capability, or whose secret cannot be read.
pub fn with_secrets(texts: &[String]) -> Result<Grants, String> {
    Grants::parse(texts)?.resolved(&crate::config::secret_value)
}

/// SHA-256 of the component of `source`, in hex. `None` if it cannot be read.
#[must_use]
pub fn digest_of(source: &str) -> Option<String> {
    let spec = find(source).ok()?.spec;
    matches!(spec.source, ComponentSource::Path(_)).then(|| component_digest(&spec).ok()).flatten()
}

/// SHA-256 of the component of `source` and of its manifest, in hex.
///
/// # Errors
/// As [`resolve`].
pub fn digests_of(source: &str) -> Result<(String, Option<String>), CliError> {
    let FoundPlugin { spec, manifest, .. } = find(source)?;
    Ok((component_digest(&spec)?, manifest))
}

/// SHA-256 of the component of `spec`, in hex.
///
/// # Errors
/// `CliError::File`; a `CliError` of usage for a file that is too large or no file.
pub(crate) fn component_digest(spec: &PluginSpec) -> Result<String, CliError> {
    let path = match &spec.source {
        ComponentSource::BuiltIn(bytes) => return Ok(sha256(bytes)),
        ComponentSource::Bytes(bytes) => return Ok(sha256(bytes)),
        ComponentSource::Path(path) => path,
    };
    let read = firebox_sandbox::read_file(path, limits::PLUGIN_COMPONENT_BYTES_MAX);
    read.map(|bytes| sha256(&bytes)).map_err(|error| match error {
        ReadError::System(source) => CliError::File { action: "read", path: path.display().to_string(), source },
        other => CliError::usage(format!("the component \"{}\" {other}", path.display())),
    })
}

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One line for each capability that `plugins` ask for or import, with what to write if they do not have it.
#[must_use]
pub fn grant_lines(plugins: &[Arc<Plugin>], tenant: &TenantGrants) -> Vec<String> {
    let line = |plugin: &Plugin, row: GrantRow| {
        let state = match (row.denied_by, row.in_part) {
            (None, false) => "granted".to_owned(),
            (None, true) => format!("granted in part; {}", row.remedy),
            (Some(_), _) => format!("denied; {}", row.remedy),
        };
        format!("grants   {} {}: {state}", plugin.name(), row.capability)
    };
    let rows = |plugin: &Arc<Plugin>| {
        let rows = plugin.explain_grants(Some(tenant)).into_iter().map(|row| line(plugin, row)).collect::<Vec<_>>();
        if rows.is_empty() { vec![format!("grants   {}: it asks for nothing", plugin.name())] } else { rows }
    };
    plugins.iter().flat_map(rows).collect()
}

/// The plugins of a command line, in chain order: first those that the built-in model uses by default, then those of
/// `--plugin`.
///
/// # Errors
/// A `CliError` of usage for a name that is neither built-in nor a file, and for a configuration of another plugin or that is
/// not JSON; `CliError::File` for a file that cannot be read.
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
    let mut specs = accepted(specs)?;
    check_grants(&specs, options)?;
    let mut configs = configs(&options.configs)?;
    for spec in &mut specs {
        spec.config_json = configs.remove(&spec.name);
        spec.limits = narrowed(spec.limits, options);
        spec.grants = with_secrets(&options.grants).map_err(|error| CliError::usage(format!("--grant: {error}")))?;
    }
    if let Some(name) = configs.keys().next() {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let message = format!("--plugin-config: there is no plugin \"{name}\"; the plugins are {}", names.join(", "));
        return Err(CliError::usage(message));
    }
    Ok(specs)
}

/// A grant of the command line is for every plugin that asks for it. A component without a manifest asks for nothing in
/// particular, and would get what another plugin needs.
///
/// # Errors
/// A `CliError` of usage for such a component with others.
fn check_grants(specs: &[PluginSpec], options: &PluginOptions) -> Result<(), CliError> {
    let without = specs.iter().find(|spec| !spec.has_manifest);
    match without {
        Some(spec) if !options.grants.is_empty() && options.plugins.len() > 1 => Err(CliError::usage(format!(
            "--grant: the plugin \"{}\" has no plugin.toml that says what it asks for, so it would get the grants of the \
             others; use it alone, or write a plugin.toml beside it",
            manifest::shown(&spec.name)
        ))),
        _ => Ok(()),
    }
}

/// The plugins of a command line, as far as they are accepted. Those that the lock file names must be what it says; others
/// are of the command line only.
fn accepted(found: Vec<FoundPlugin>) -> Result<Vec<PluginSpec>, CliError> {
    let (lock, policy) = (lock::of_command_line()?, config::signature_policy()?);
    let accept = |mut found: FoundPlugin| {
        let name = found.spec.name.clone();
        let lock = lock.as_ref().filter(|lock| lock.plugins.contains_key(&name));
        Acceptance { lock, policy: &policy, tenant_keys: &[] }.apply(&name, &mut found)?;
        Ok(found.spec)
    };
    found.into_iter().map(accept).collect()
}

/// The plugin `asked`, which is a built-in name, a path or the name of an installed plugin.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn find(asked: &str) -> Result<FoundPlugin, CliError> {
    if let Some(builtin) = BUILTINS.iter().find(|builtin| builtin.name == asked) {
        return builtin_spec(builtin);
    }
    let path = Path::new(asked);
    if path.is_dir() {
        let manifest = Manifest::read(&path.join(manifest::FILE))?;
        let component = path.join(format!("{}.wasm", manifest.id()));
        return with_digest(&manifest, ComponentSource::Path(component));
    }
    if !path.is_file() {
        if let Some((folder, manifest)) = installed::find(asked)? {
            let component = folder.join(format!("{asked}.wasm"));
            return match manifest {
                Some(manifest) => with_digest(&manifest, ComponentSource::Path(component)),
                None => Ok(FoundPlugin { spec: without_manifest(&component), manifest: None, text: None }),
            };
        }
        let names: Vec<&str> = BUILTINS.iter().map(|builtin| builtin.name).collect();
        let message =
            format!("there is no plugin \"{asked}\"; give a path, or a built-in plugin: {}", names.join(", "));
        return Err(CliError::usage(message));
    }
    match Manifest::beside(path)? {
        Some(manifest) => with_digest(&manifest, ComponentSource::Path(path.to_owned())),
        None => Ok(FoundPlugin { spec: without_manifest(path), manifest: None, text: None }),
    }
}

/// A component without a manifest has the default limits, and asks for what is granted to it. Its name is its file name.
fn without_manifest(path: &Path) -> PluginSpec {
    let name = path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned());
    PluginSpec { has_manifest: false, ..PluginSpec::new(name, ComponentSource::Path(path.to_owned())) }
}

fn builtin_spec(builtin: &BuiltinPlugin) -> Result<FoundPlugin, CliError> {
    with_digest(&Manifest::parse(builtin.manifest, builtin.name)?, ComponentSource::BuiltIn(builtin.component))
}

fn with_digest(manifest: &Manifest, source: ComponentSource) -> Result<FoundPlugin, CliError> {
    let text = PublishedText {
        version: manifest.version.clone(),
        description: manifest.description.clone(),
        manifest: Some(manifest.text.clone()),
    };
    Ok(FoundPlugin { spec: manifest.spec(source)?, manifest: Some(manifest.digest.clone()), text: Some(text) })
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
                "--plugin-config \"{}\" is not NAME=JSON; write for example redact={{\"restore\": true}}",
                manifest::shown(pair)
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
                "--plugin-config is given twice for \"{name}\"; give one object for each plugin"
            )));
        }
    }
    Ok(configs)
}
