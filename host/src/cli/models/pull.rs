//! `firebox models pull`.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::Error;
use firebox_hub::{ModelName, PullEvent, Pulled};
use serde_json::json;

use super::cache::parse_disk_size;
use crate::cli::options::hub::{HubOptions, terminal_or_lines};
use crate::cli::{Io, output};
use crate::error::CliError;
use crate::host::download::{DownloadDisplay, files_text, size_text};
use crate::system::threads;

/// Download a model from the hub, or update it.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Models: org/name, org/name:Q4_K_M, org/name:file.gguf, org/name:safetensors; a revision comes after the name, as in
    /// org/name@v1.0
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ModelName>,
    /// Remove the models that were not used for longest, before and after the download, until the cache has at most this
    /// size, such as 50GB; models in use stay
    #[arg(long, value_name = "SIZE", value_parser = parse_disk_size)]
    cache_max: Option<u64>,
    /// Print one JSON object for each model, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hub: HubOptions,
}

/// Runs the command.
///
/// # Errors
/// The first model that cannot be downloaded. What arrived of it stays, and the next run continues.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let hub = args.hub.hub()?;
    let runtime = threads::runtime(Some(1))?;
    for name in &args.names {
        if let Some(max) = args.cache_max {
            let shrunk = hub.cache().shrink(max).map_err(Error::from)?;
            super::cache::report(&shrunk, io)?;
        }
        let display = DownloadDisplay::new(name, terminal_or_lines());
        let show = |event: PullEvent<'_>| display.show(&event);
        let pulled = runtime.block_on(async {
            tokio::select! {
                pulled = hub.pull(name, &show) => pulled.map_err(|error| CliError::from(Error::from(error))),
                _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
            }
        });
        display.finish();
        let pulled = pulled?;
        // The new model is in use, so it stays.
        if let Some(max) = args.cache_max {
            let shrunk = hub.cache().shrink(max).map_err(Error::from)?;
            super::cache::report(&shrunk, io)?;
        }
        if args.json {
            writeln!(io.out, "{}", json(&pulled))?;
        } else {
            writeln!(io.err, "firebox: {}", output::line(&describe(&pulled), usize::MAX))?;
            writeln!(io.out, "{}", pulled.model.path.display())?;
        }
    }
    Ok(())
}

fn describe(pulled: &Pulled) -> String {
    let Pulled { model, files, bytes, received, seconds, .. } = pulled;
    let (name, files, bytes) = (&model.name, files_text(*files), size_text(*bytes));
    if *received == 0 {
        return format!("{name} is up to date ({files}, {bytes})");
    }
    let rate = size_text((*received as f64 / seconds.max(1e-3)) as u64);
    format!("{name} downloaded ({files}, {bytes}; {} in {seconds:.1} s, {rate}/s)", size_text(*received))
}

fn json(pulled: &Pulled) -> serde_json::Value {
    let Pulled { model, commit, files, bytes, received, seconds } = pulled;
    json!({
        "model": model.name.to_string(), "commit": commit, "path": model.path.display().to_string(), "files": files,
        "bytes": bytes, "received_bytes": received, "seconds": seconds,
    })
}
