//! `firebox models verify`.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::Error;
use firebox_hub::{BlobState, CachedModel, Checked, ModelName};
use serde_json::json;

use super::list;
use crate::cli::options::hub::HubOptions;
use crate::cli::{Io, output};
use crate::error::CliError;
use crate::host::download::{files_text, size_text};

/// Compare the files of models with the digests that the hub named.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Models as `firebox models list` shows them [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<ModelName>,
    /// Print one JSON object for each file, one a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// `Error::Model` if a file is damaged.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let hub = HubOptions::default().hub()?;
    let cache = hub.cache();
    let models: Vec<CachedModel> = if args.names.is_empty() {
        cache.models().map_err(Error::from)?
    } else {
        let found = args.names.iter().map(|name| cache.matching(name)).collect::<Result<Vec<_>, _>>();
        found.map_err(Error::from)?.concat()
    };
    if models.is_empty() && !args.json {
        list::say_empty(cache, io)?;
    }
    let mut damaged = Vec::new();
    for model in &models {
        let checked = cache.verify(model, |_| {}).map_err(Error::from)?;
        for file in &checked {
            if args.json {
                writeln!(io.out, "{}", file_json(model, file))?;
            } else if let Some(line) = file_line(file) {
                writeln!(io.err, "firebox: {line}")?;
            }
        }
        let bad = checked.iter().filter(|file| matches!(file.state, BlobState::Damaged(_))).count();
        if bad > 0 {
            damaged.push(model.name().to_string());
        }
        if !args.json {
            let verdict = if bad > 0 { "DAMAGED" } else { "OK" };
            let (name, files, bytes) = (model.name(), files_text(checked.len()), size_text(model.bytes));
            writeln!(io.out, "{name}: {verdict} ({files}, {bytes})")?;
        }
    }
    let Some(first) = damaged.first() else { return Ok(()) };
    let all = damaged.join(", ");
    let remedy = format!("run \"firebox models remove {first}\" and pull it again; check the disk");
    Err(Error::Model(format!("files of {all} are not what the hub named; {remedy}")).into())
}

/// A line for a file that is not known to be good.
fn file_line(file: &Checked) -> Option<String> {
    let path = output::line(&file.path.display().to_string(), usize::MAX);
    match &file.state {
        BlobState::Good => None,
        BlobState::Unknown => Some(format!("\"{path}\": the hub named no digest, so only its size was checked")),
        BlobState::Damaged(found) => Some(format!("\"{path}\" is damaged: its digest is {found}")),
    }
}

fn file_json(model: &CachedModel, file: &Checked) -> serde_json::Value {
    let state = match &file.state {
        BlobState::Good => "good",
        BlobState::Damaged(_) => "damaged",
        BlobState::Unknown => "unknown",
    };
    json!({
        "model": model.name().to_string(), "path": file.path.display().to_string(), "bytes": file.bytes, "state": state,
    })
}
