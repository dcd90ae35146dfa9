//! `firebox plugins inspect`: what a plugin is.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::{Stage, ToolDefinition, limits};
use firebox_sandbox::{ComponentReport, ComponentSource, Plugin, PluginSpec};
use serde_json::{Value, json};

use super::target::{self, PluginSettings};
use crate::cli::Io;
use crate::cli::output::line;
use crate::error::CliError;
use crate::plugins::distribution::policy;
use crate::plugins::distribution::signature::{self, PublicKey};

/// Show what a plugin is: stages, imports, tools, size, digest, and what it asks for.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The plugin: a NAME of `firebox plugins list`, the PATH of a component, or a folder with plugin.toml
    #[arg(value_name = "NAME|PATH", default_value = ".")]
    plugin: String,
    #[command(flatten)]
    settings: PluginSettings,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A component that cannot be read, or cannot be loaded. What could be read is printed before.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let spec = args.settings.spec(&args.plugin)?;
    let report = ComponentReport::of(&spec.name, &spec.source).map_err(firebox_contract::Error::from)?;
    if args.json {
        let object = target::with_chain(spec.clone(), io, async |chain, _| {
            Ok(chain.plugins().first().map(|plugin| object(&spec, &report, plugin)))
        })?;
        return Ok(writeln!(io.out, "{:#}", object.unwrap_or_default())?);
    }
    write_report(&spec, &report, io)?;
    target::with_chain(spec, io, async |chain, io| {
        chain.plugins().iter().try_for_each(|plugin| write_loaded(plugin, io))
    })
}

fn write_report(spec: &PluginSpec, report: &ComponentReport, io: &mut Io) -> Result<(), CliError> {
    let out = &mut io.out;
    writeln!(out, "name          {}", spec.name)?;
    writeln!(out, "sha256        {}", report.digest)?;
    writeln!(out, "size          {} bytes", report.bytes)?;
    writeln!(out, "stages        {}", names(&report.stages))?;
    for (name, known) in &report.imports {
        let name = line(name, limits::CHAT_SHOWN_CHARACTERS_MAX);
        writeln!(out, "import        {name}{}", if *known { "" } else { "   (not provided by this host)" })?;
    }
    for name in &report.exports {
        writeln!(out, "export        {}", line(name, limits::CHAT_SHOWN_CHARACTERS_MAX))?;
    }
    for count in &report.counts {
        writeln!(out, "count         {} {} of {} allowed", count.found, count.what, count.limit)?;
    }
    if let Some(key) = signer(spec, report) {
        writeln!(out, "signed by     {key}")?;
    }
    if !spec.asks.is_empty() {
        writeln!(out, "asks for      {}", line(&spec.asks.join(", "), limits::CHAT_SHOWN_CHARACTERS_MAX))?;
    }
    Ok(())
}

/// The key that has signed the component, whether or not somebody trusts it.
fn signer(spec: &PluginSpec, report: &ComponentReport) -> Option<PublicKey> {
    let ComponentSource::Path(component) = &spec.source else { return None };
    let signature = policy::read(&signature::path_of(component)).ok()??;
    let is_this = signature.statement.component == report.digest && signature.statement.name == spec.name;
    (is_this && signature.verify()).then_some(signature.key)
}

fn write_loaded(plugin: &Plugin, io: &mut Io) -> Result<(), CliError> {
    let limits = plugin.limits();
    let (fuel, mib, time) = (limits.fuel, limits.memory_bytes >> 20, limits.timeout);
    writeln!(io.out, "limits        {fuel} fuel, {mib} MiB, {time:?} for each call")?;
    if let Some(info) = plugin.info() {
        let about = format!("{} {}: {}", info.name, info.version, info.description);
        writeln!(io.out, "description   {}", line(&about, limits::CHAT_SHOWN_CHARACTERS_MAX))?;
    }
    for tool in plugin.tools() {
        let about = line(&tool.description, limits::CHAT_SHOWN_CHARACTERS_MAX);
        writeln!(io.out, "tool          {}: {about}", tool.name)?;
        writeln!(io.out, "  arguments   {}", tool.input_schema_json)?;
    }
    Ok(())
}

/// The names of `stages`.
pub(super) fn names(stages: &[Stage]) -> String {
    if stages.is_empty() {
        return "none".to_owned();
    }
    stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>().join(", ")
}

fn object(spec: &PluginSpec, report: &ComponentReport, plugin: &Plugin) -> Value {
    let import = |(name, known): &(String, bool)| json!({ "name": name, "provided": known });
    let counts = report.counts.iter().map(|row| json!({ "what": row.what, "found": row.found, "limit": row.limit }));
    let info = plugin
        .info()
        .map(|info| json!({ "name": info.name, "version": info.version, "description": info.description }));
    let limits = plugin.limits();
    json!({
        "name": spec.name,
        "sha256": report.digest,
        "bytes": report.bytes,
        "stages": report.stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>(),
        "imports": report.imports.iter().map(import).collect::<Vec<_>>(),
        "exports": report.exports,
        "counts": counts.collect::<Vec<_>>(),
        "asks": spec.asks,
        "signed_by": signer(spec, report).map(|key| key.to_string()),
        "limits": {
            "fuel": limits.fuel, "memory_bytes": limits.memory_bytes,
            "timeout_ms": u64::try_from(limits.timeout.as_millis()).unwrap_or(u64::MAX),
        },
        "info": info,
        "tools": plugin.tools().iter().map(tool_object).collect::<Vec<_>>(),
    })
}

fn tool_object(tool: &ToolDefinition) -> Value {
    // The sandbox has checked that a schema is JSON.
    let schema = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    json!({
        "name": tool.name,
        "description": tool.description,
        "input_schema": schema(&tool.input_schema_json),
        "output_schema": tool.output_schema_json.as_deref().map(schema),
    })
}
