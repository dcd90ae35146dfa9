//! `firebox lock`: accepts the components and the tool lists that the configuration names.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::Args as ClapArgs;
use firebox_contract::{Caller, Error};
use firebox_mcp::client::{ClientPool, ToolPins};

use super::config::FileOptions;
use crate::cli::Io;
use crate::cli::output::sanitized;
use crate::cli::termination::Termination;
use crate::config::lock::diff::LockDiff;
use crate::config::lock::{self, LockFile, LockedPlugin};
use crate::config::{Config, PluginConfig};
use crate::error::CliError;
use crate::plugins;
use crate::serve;
use crate::system::threads;

/// Write firebox.lock: the plugins and the tools of MCP servers that the configuration names, as they are now.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    file: FileOptions,
    /// Write nothing; print what differs, and fail if something does
    #[arg(long)]
    check: bool,
    /// Start and reach no MCP server; keep what the file says about them
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
///
/// # Errors
/// The errors of the configuration; a plugin or an MCP server that cannot be read. With `--check`, `Error::Denied` if
/// something differs.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let mut config = args.file.load_unlocked()?;
    serve::server::add_local_tenant(&mut config)?;
    let path = lock::beside(config.file.as_deref());
    let shown = path.display();
    let before = LockFile::read(&path).map_err(|why| CliError::usage(format!("\"{shown}\" {why}")))?;
    let is_new = before.is_none();
    let before = before.unwrap_or_default();
    let now = now(&config, &before, &path, args.offline)?;
    let diff = LockDiff::of(&before, &now);
    io.out.write_all(sanitized(&diff.text).as_bytes())?;
    let parts = format!("{}, {}", counted(now.plugins.len(), "plugin"), counted(now.servers.len(), "MCP server"));
    if diff.changes == 0 && !is_new {
        return Ok(writeln!(io.out, "{shown} is up to date ({parts})")?);
    }
    if args.check {
        io.out.flush()?;
        let differs = match is_new {
            true => format!("there is no \"{shown}\"; write it with firebox lock"),
            false => format!("\"{shown}\" has {}; accept with firebox lock", counted(diff.changes, "difference")),
        };
        return Err(Error::Denied(differs).into());
    }
    write(&path, &now.text())?;
    Ok(writeln!(io.out, "wrote {shown} ({parts})")?)
}

/// What the configuration names, as it is now.
fn now(config: &Config, before: &LockFile, path: &Path, offline: bool) -> Result<LockFile, CliError> {
    let plugin = |plugin: &PluginConfig| {
        let (component, manifest) = plugins::digests_of(&plugin.source)?;
        Ok((plugin.name.clone(), LockedPlugin { component, manifest }))
    };
    let plugins = config.plugins.iter().map(plugin).collect::<Result<BTreeMap<_, _>, CliError>>()?;
    let servers = if offline { kept(config, before)? } else { servers(config)? };
    Ok(LockFile::new(path, plugins, servers))
}

/// What the file says about the servers of the configuration.
fn kept(config: &Config, before: &LockFile) -> Result<BTreeMap<String, Arc<ToolPins>>, CliError> {
    let row = |name: &String| {
        let unknown =
            || CliError::usage(format!("MCP server \"{name}\" is not in the file yet; run without --offline"));
        Ok((name.clone(), before.servers.get(name).cloned().ok_or_else(unknown)?))
    };
    config.mcp.servers.iter().map(|server| row(&server.name)).collect()
}

/// The tools of each server of the configuration, which is started or reached.
fn servers(config: &Config) -> Result<BTreeMap<String, Arc<ToolPins>>, CliError> {
    if config.mcp.servers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let pool = ClientPool::new(serve::mcp::specs(config)?, Arc::new(|_: &Caller, _: &str| true));
    let runtime = threads::runtime(Some(2))?;
    Termination::default().listen(&runtime)?;
    let caller = Caller::local();
    let reports = runtime.block_on(async {
        let reports = tokio::select! {
            reports = pool.connect(&caller) => Ok(reports),
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        };
        pool.close().await;
        reports
    })?;
    let row = |report: firebox_mcp::client::ServerReport| {
        let (_, tools) = report.result.map_err(|error| {
            Error::Unavailable(format!(
                "{error}; nothing was locked; run firebox lock --offline to leave MCP servers out"
            ))
        })?;
        Ok((report.name, Arc::new(ToolPins::of(&tools))))
    };
    reports.into_iter().map(row).collect()
}

/// Writes the file at once, so that a server that reloads never sees a part of it.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let fresh = path.with_extension("lock.new");
    let cannot = |source| CliError::File { action: "write", path: path.display().to_string(), source };
    std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, path)).map_err(cannot)
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
