//! `firebox plugins check`: every problem of a plugin at once.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::{Error, ErrorKind};
use firebox_sandbox::{ComponentReport, DeniedBy, GrantRow, Plugin, PluginSpec, SandboxError};
use serde_json::{Value, json};

use super::inspect::names;
use super::target::{self, PluginSettings};
use crate::cli::Io;
use crate::cli::output::table::TextTable;
use crate::error::CliError;

/// Check that a plugin can be loaded, and report every problem; the exit code is for scripts.
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

/// One thing that was checked.
struct Row {
    what: &'static str,
    ok: bool,
    detail: String,
}

impl Row {
    fn of(what: &'static str, ok: bool, detail: impl Into<String>) -> Self {
        Self { what, ok, detail: detail.into() }
    }
}

/// Runs the command.
///
/// # Errors
/// `Error::Plugin` if a check fails. The table is printed before.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let spec = args.settings.spec(&args.plugin)?;
    let name = spec.name.clone();
    let mut rows = Vec::new();
    match ComponentReport::of(&name, &spec.source) {
        Ok(report) => of_report(&spec, &report, &mut rows),
        Err(error) => rows.push(Row::of("component", false, without_name(&error, &name))),
    }
    if rows.iter().all(|row| row.ok) {
        load(spec, &mut rows, io)?;
    }
    if args.json {
        writeln!(io.out, "{:#}", object(&name, &rows))?;
    } else {
        let mut table = TextTable::new(&["CHECK", "RESULT", "DETAIL"]);
        for row in &rows {
            table.row(vec![row.what.to_owned(), if row.ok { "ok" } else { "FAILED" }.to_owned(), row.detail.clone()]);
        }
        write!(io.out, "{}", crate::cli::output::sanitized(&table.to_string()))?;
    }
    io.out.flush()?;
    let failed = rows.iter().filter(|row| !row.ok).count();
    if failed == 0 {
        return Ok(());
    }
    let checks = if failed == 1 { "check" } else { "checks" };
    Err(Error::Plugin(format!("plugin \"{name}\" fails {failed} {checks}; see the table")).into())
}

/// The checks that need only the bytes.
fn of_report(spec: &PluginSpec, report: &ComponentReport, rows: &mut Vec<Row>) {
    rows.push(Row::of("component", true, format!("{} bytes, sha256 {}", report.bytes, report.digest)));
    let tight = report.counts.iter().max_by_key(|count| count.found.saturating_mul(100) / count.limit.max(1));
    if let Some(count) = tight {
        rows.push(Row::of("counts", true, format!("{} of {} {}", count.found, count.limit, count.what)));
    }
    let unknown: Vec<&str> = report.imports.iter().filter(|row| !row.1).map(|row| row.0.as_str()).collect();
    rows.push(match unknown.is_empty() {
        true => Row::of("imports", true, format!("{} interfaces, all provided", report.imports.len())),
        false => Row::of("imports", false, format!("this host does not provide {}; {REBUILD}", unknown.join(", "))),
    });
    let (found, declared) = (&report.stages, spec.stages.as_ref());
    let differs = declared.is_some_and(|declared| {
        declared.iter().any(|stage| !found.contains(stage)) || found.iter().any(|stage| !declared.contains(stage))
    });
    rows.push(match (found.is_empty(), differs) {
        (true, _) => {
            let exports = if report.exports.is_empty() { "nothing".to_owned() } else { report.exports.join(", ") };
            Row::of("stages", false, format!("it exports {exports}; export firebox:plugin/prompt, text or tool"))
        }
        (false, true) => {
            let declared = declared.map(|stages| names(stages)).unwrap_or_default();
            let detail = format!("it exports {}; plugin.toml lists {declared}; correct stages there", names(found));
            Row::of("stages", false, detail)
        }
        (false, false) => Row::of("stages", true, names(found)),
    });
}

/// The remedy for imports that the host does not have.
const REBUILD: &str = "build without the library that needs them: Rust for wasm32-unknown-unknown, Python and JavaScript \
                       with --stub-wasi";

/// The checks that need a running instance: grants, start, configuration, tools.
fn load(spec: PluginSpec, rows: &mut Vec<Row>, io: &mut Io) -> Result<(), CliError> {
    let name = spec.name.clone();
    let loaded = target::with_chain(spec, io, async |chain, _| Ok(chain.plugins().first().cloned()));
    match loaded {
        Ok(Some(plugin)) => {
            of_grants(&plugin, rows);
            of_plugin(&plugin, rows);
        }
        Ok(None) => {}
        Err(CliError::Host(error)) => {
            rows.push(Row::of(failed_check(&error), false, shortened(&error.to_string(), &name)))
        }
        Err(other) => return Err(other),
    }
    Ok(())
}

/// A row for each capability that the plugin asks for or imports.
fn of_grants(plugin: &Plugin, rows: &mut Vec<Row>) {
    let explained = plugin.explain_grants(None);
    if explained.is_empty() {
        rows.push(Row::of("grants", true, "it asks for nothing"));
    }
    for GrantRow { capability, denied_by, in_part, remedy } in explained {
        rows.push(match denied_by {
            None if in_part => Row::of("grants", true, format!("{capability}: granted in part; {remedy}")),
            None => Row::of("grants", true, format!("{capability}: granted")),
            // Its interface answers with a substitute or an error, and the plugin may well do without it.
            Some(DeniedBy::Manifest) => Row::of("grants", true, format!("{capability}: not asked for; {remedy}")),
            Some(_) => Row::of("grants", false, format!("{capability}: denied; {remedy}")),
        });
    }
}

fn of_plugin(plugin: &Plugin, rows: &mut Vec<Row>) {
    let about =
        plugin.info().map_or_else(|| "no description".to_owned(), |info| format!("{} {}", info.name, info.version));
    rows.push(Row::of("start", true, about));
    if !plugin.tools().is_empty() {
        let tools: Vec<&str> = plugin.tools().iter().map(|tool| tool.name.as_str()).collect();
        rows.push(Row::of("tools", true, tools.join(", ")));
    }
}

/// The check that an error of loading belongs to.
fn failed_check(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Denied if error.to_string().contains("was not loaded") => "accepted",
        ErrorKind::Denied => "grants",
        _ if error.to_string().contains("tool \"") => "tools",
        _ => "start",
    }
}

fn without_name(error: &SandboxError, name: &str) -> String {
    shortened(&error.to_string(), name)
}

/// `text` without the plugin's name at its start, which the table need not repeat.
fn shortened(text: &str, name: &str) -> String {
    let start = format!("plugin \"{name}\"");
    text.strip_prefix(&start).map_or_else(|| text.to_owned(), |rest| rest.trim_start_matches([':', ' ']).to_owned())
}

fn object(name: &str, rows: &[Row]) -> Value {
    let row = |row: &Row| json!({ "check": row.what, "ok": row.ok, "detail": row.detail });
    let ok = rows.iter().all(|row| row.ok);
    json!({ "plugin": name, "ok": ok, "checks": rows.iter().map(row).collect::<Vec<_>>() })
}
