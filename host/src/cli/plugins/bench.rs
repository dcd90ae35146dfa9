//! `firebox plugins bench`: what an instance and each call of a plugin cost.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use firebox_contract::{Error, Message, PluginUse, Role, Stage};
use firebox_sandbox::PluginChain;
use serde_json::{Value, json};

use super::call::{bind, text, tool};
use super::target::{self, CalledModel, PluginSettings};
use crate::cli::Io;
use crate::cli::output::table::TextTable;
use crate::error::CliError;

/// Measure what a plugin costs: the start of an instance, and each call.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The plugin: a NAME of `firebox plugins list`, the PATH of a component, or a folder with plugin.toml
    #[arg(value_name = "NAME|PATH", default_value = ".")]
    plugin: String,
    #[command(flatten)]
    settings: PluginSettings,
    #[command(flatten)]
    model: CalledModel,
    /// Call this tool, with these arguments, as in shout={"text": "hi"}
    #[arg(long, value_name = "NAME=JSON")]
    tool: Option<String>,
    /// The text that the prompt stage and the text stage get
    #[arg(long, value_name = "TEXT", default_value = "The quick brown fox jumps over the lazy dog.")]
    text: String,
    /// Measure for this many seconds
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The measured calls of one stage.
struct StageCost {
    stage: Stage,
    times: Vec<Duration>,
    fuel: u64,
    memory_peak_bytes: u64,
}

/// The most measurements that are kept of a stage, so that a long measurement has bounded memory.
const KEPT_MAX: usize = 1_000_000;

/// Runs the command.
///
/// # Errors
/// Errors of loading the plugin, or its fault.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let spec = args.settings.spec(&args.plugin)?;
    let called = args.tool.as_deref().map(tool_call).transpose()?;
    let before = Instant::now();
    target::with_model(spec, &args.model, io, async |chain, io| {
        let loaded = before.elapsed();
        let mut rows: Vec<StageCost> = Vec::new();
        let until = Instant::now() + Duration::from_secs(args.seconds);
        while rows.is_empty() || Instant::now() < until {
            let uses = round(chain, &args.text, called).await?;
            if uses.is_empty() {
                let message = "no instance starts without a call; name a tool: --tool 'NAME={\"argument\": 1}'";
                return Err(CliError::usage(message));
            }
            uses.iter().for_each(|row| add(&mut rows, row));
        }
        let from_cache = chain.plugins().iter().all(|plugin| plugin.from_cache());
        show(loaded, from_cache, &mut rows, args.json, io)
    })
}

/// The tool and the arguments of `NAME=JSON`.
fn tool_call(text: &str) -> Result<(&str, &str), CliError> {
    let wrong =
        || CliError::usage(format!("--tool \"{text}\" is not NAME=JSON; write for example shout={{\"text\": \"hi\"}}"));
    text.split_once('=').ok_or_else(wrong)
}

/// One request: new instances, and one call of each stage.
async fn round(chain: &PluginChain, text: &str, called: Option<(&str, &str)>) -> Result<Vec<PluginUse>, CliError> {
    let has = |stage| chain.plugins().iter().any(|plugin| plugin.stages().contains(&stage));
    let mut hooks = bind(chain).await?;
    if has(Stage::Prompt) {
        hooks.process(vec![Message::text(Role::User, text)]).await?;
    }
    if has(Stage::Text) {
        text::pass(hooks.as_mut(), vec![text.to_owned()]).await?;
    }
    let mut uses = hooks.usage();
    if let Some((tool, arguments)) = called {
        let run = tool::call(chain, tool, arguments).await?;
        let outcome = run.outcome?;
        if outcome.is_error {
            return Err(Error::Usage(format!("tool \"{tool}\" returned an error: {}", outcome.content)).into());
        }
        uses.extend(run.uses);
    }
    Ok(uses)
}

fn add(rows: &mut Vec<StageCost>, used: &PluginUse) {
    let calls = u32::try_from(used.calls).unwrap_or(u32::MAX).max(1);
    let fuel = used.fuel / u64::from(calls);
    let at = rows.iter().position(|row| row.stage == used.stage).unwrap_or_else(|| {
        rows.push(StageCost { stage: used.stage, times: Vec::new(), fuel, memory_peak_bytes: 0 });
        rows.len() - 1
    });
    let Some(row) = rows.get_mut(at) else { return };
    if row.times.len() < KEPT_MAX {
        row.times.push(used.elapsed / calls);
    }
    row.fuel = row.fuel.max(fuel);
    row.memory_peak_bytes = row.memory_peak_bytes.max(used.memory_peak_bytes);
}

fn show(
    loaded: Duration,
    from_cache: bool,
    rows: &mut [StageCost],
    as_json: bool,
    io: &mut Io,
) -> Result<(), CliError> {
    rows.iter_mut().for_each(|row| row.times.sort_unstable());
    if as_json {
        let rows: Vec<Value> = rows.iter().map(object).collect();
        let loaded_ms = loaded.as_secs_f64() * 1e3;
        return Ok(writeln!(
            io.out,
            "{:#}",
            json!({ "load_ms": loaded_ms, "from_cache": from_cache, "stages": rows })
        )?);
    }
    let how = if from_cache { "from the cache" } else { "compiled" };
    writeln!(io.out, "load  {:.1} ms, {how}\n", loaded.as_secs_f64() * 1e3)?;
    let mut table = TextTable::new(&["STAGE", "CALLS", "P50 µs", "P99 µs", "FUEL", "PEAK MiB"]);
    for row in rows {
        table.row(vec![
            if row.stage == Stage::Init { "start".to_owned() } else { row.stage.as_str().to_owned() },
            row.times.len().to_string(),
            format!("{:.1}", micros(row, 50)),
            format!("{:.1}", micros(row, 99)),
            row.fuel.to_string(),
            format!("{:.2}", row.memory_peak_bytes as f64 / f64::from(1 << 20)),
        ]);
    }
    Ok(write!(io.out, "{table}")?)
}

/// The time below which `percent` of the calls are, in microseconds. The times are sorted.
fn micros(row: &StageCost, percent: usize) -> f64 {
    let at = (row.times.len() * percent / 100).min(row.times.len().saturating_sub(1));
    row.times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

fn object(row: &StageCost) -> Value {
    json!({
        "stage": row.stage.as_str(), "calls": row.times.len(), "p50_us": micros(row, 50), "p99_us": micros(row, 99),
        "fuel": row.fuel, "memory_peak_bytes": row.memory_peak_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_measured_times() {
        let times = (1..=100).map(Duration::from_micros).collect();
        let row = StageCost { stage: Stage::Text, times, fuel: 0, memory_peak_bytes: 0 };
        assert!((micros(&row, 50) - 51.0).abs() < 1e-9 && (micros(&row, 99) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_tool_call_needs_a_name_and_arguments() {
        assert_eq!(tool_call("shout={\"text\": \"a=b\"}").expect("a call"), ("shout", "{\"text\": \"a=b\"}"));
        assert!(tool_call("shout").is_err());
    }
}
