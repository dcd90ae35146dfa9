//! The sandbox of this process, and the memory that all plugins share in it.

use std::sync::Arc;

use firebox_contract::{Error, limits};
use firebox_sandbox::{
    DeniedBy, HttpService, KeyValueService, MetricsService, Notice, Plugin, PluginChain, PluginSpec, Sandbox,
    SandboxOptions, Services,
};

use super::compiler;
use super::keyvalue::SqliteBuckets;
use crate::config::{Config, KeyValueConfig};
use crate::system::directories::{cache_dir, data_dir};
use crate::system::memory_limit::memory_limit;

/// The file of the buckets of plugins on the command line, in the user's data folder.
const BUCKETS_FILE: &str = "plugins.db";

/// Loads `specs` into a sandbox of their own and makes a chain of them. `notice` receives a line about each slow step,
/// `notes` the warnings.
///
/// # Errors
/// Errors of a plugin or the sandbox.
pub async fn load_chain(specs: Vec<PluginSpec>, notice: Notice, notes: &mut Vec<String>) -> Result<PluginChain, Error> {
    if specs.is_empty() {
        return Ok(PluginChain::new(Vec::new())?);
    }
    let default = KeyValueConfig::default();
    let path = data_dir().map_or(default.path, |folder| folder.join(BUCKETS_FILE));
    let services = services(&KeyValueConfig { path, ..default }, MetricsService::default());
    load_chain_with(specs, services, notice, notes).await
}

/// As [`load_chain`], with these services.
///
/// # Errors
/// As [`load_chain`].
pub(crate) async fn load_chain_with(
    specs: Vec<PluginSpec>,
    services: Services,
    notice: Notice,
    notes: &mut Vec<String>,
) -> Result<PluginChain, Error> {
    // One user: the memory of two plugins at their maximum is enough for several.
    let sandbox = sandbox(2 * limits::PLUGIN_MEMORY_BYTES_MAX, services, notice, notes)?;
    let mut plugins = Vec::new();
    for spec in specs {
        let plugin = sandbox.load(spec).await?;
        notes.extend(plugin.warnings().iter().cloned());
        notes.extend(denied_note(&plugin));
        plugins.push(plugin);
    }
    Ok(PluginChain::new(plugins)?)
}

/// A line about what `plugin` asks for and its operator does not grant; `None` if it has all. A plugin runs without it: the
/// calls are answered with an error of their interface.
pub(crate) fn denied_note(plugin: &Plugin) -> Option<String> {
    let rows = plugin.explain_grants(None);
    let asked = rows.iter().filter(|row| row.denied_by == Some(DeniedBy::Operator));
    let denied: Vec<String> = asked.map(|row| format!("\"{}\"", row.capability)).collect();
    (!denied.is_empty()).then(|| {
        let (name, what) = (plugin.name(), denied.join(", "));
        format!("plugin \"{name}\" asks for {what}, which it was not granted; its calls are denied")
    })
}

/// The sandbox of a server, whose plugins have their metrics in `metrics`.
///
/// # Errors
/// As [`sandbox`].
pub fn of_server(
    config: &Config,
    metrics: MetricsService,
    notice: Notice,
    notes: &mut Vec<String>,
) -> Result<Sandbox, Error> {
    sandbox(config.server.plugin_memory_total, services(&config.keyvalue, metrics), notice, notes)
}

/// The services of plugins, with buckets where `config` says.
#[must_use]
pub fn services(config: &KeyValueConfig, metrics: MetricsService) -> Services {
    let buckets = SqliteBuckets::new(config.path.clone(), config.file_bytes_max);
    let http = HttpService::system();
    Services { keyvalue: KeyValueService::new(Arc::new(buckets)), http, metrics, time: None }
}

/// A sandbox whose plugins share `bytes` of memory, at most half of what this process may use. `notice` receives a line
/// about each slow step. `notes` receives a line if the plugins get less memory, or no instance pool.
///
/// # Errors
/// `Error::Unavailable` if the process may not use enough address space.
pub fn sandbox(bytes: usize, services: Services, notice: Notice, notes: &mut Vec<String>) -> Result<Sandbox, Error> {
    let allowed = allowed(bytes, memory_limit());
    if allowed < bytes {
        notes.push(format!("plugins share {} MiB of memory, half of what this process may use", allowed >> 20));
    }
    let sandbox = Sandbox::new(SandboxOptions { pool_bytes: allowed, services, ..options(notice) })?;
    notes.extend(sandbox.unpooled_because().map(str::to_owned));
    Ok(sandbox)
}

/// Compiled components are cached in the user's cache directory. If this program can act as the compiler, components are
/// compiled in a child process. Tool schemas are checked by the engine's own validator.
fn options(notice: Notice) -> SandboxOptions {
    SandboxOptions {
        cache_dir: cache_dir("components"),
        compiler: compiler::command(),
        check_tool: firebox_engine::check_schema,
        notice,
        ..SandboxOptions::default()
    }
}

/// The part of `bytes` that plugins may use in a process that may use `limit` bytes.
fn allowed(bytes: usize, limit: Option<u64>) -> usize {
    let part =
        limit.map_or(usize::MAX, |limit| usize::try_from(limit / limits::PLUGIN_POOL_DIVISOR).unwrap_or(usize::MAX));
    bytes.min(part).max(limits::PLUGIN_POOL_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_share_half_of_the_process_memory_and_at_least_the_minimum() {
        const MIB: usize = 1 << 20;
        assert_eq!(allowed(256 * MIB, None), 256 * MIB);
        assert_eq!(allowed(256 * MIB, Some(64 << 30)), 256 * MIB);
        assert_eq!(allowed(256 * MIB, Some(300 << 20)), 150 * MIB);
        assert_eq!(allowed(256 * MIB, Some(1 << 20)), limits::PLUGIN_POOL_BYTES_MIN);
    }
}
