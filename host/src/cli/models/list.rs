//! `firebox models list`.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::Error;
use firebox_hub::{Cache, CachedModel, Contents};
use serde_json::json;

use crate::cli::options::hub::HubOptions;
use crate::cli::output::table::TextTable;
use crate::cli::{Io, output};
use crate::error::CliError;
use crate::host::download::size_text;
use crate::system::time;

/// List the models of the cache.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Print one JSON object for each model, one a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// `CliError` if the cache cannot be read.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let hub = HubOptions::default().hub()?;
    let models = hub.cache().models().map_err(Error::from)?;
    if args.json {
        for model in &models {
            writeln!(io.out, "{}", json(model))?;
        }
        return Ok(());
    }
    if models.is_empty() {
        return say_empty(hub.cache(), io);
    }
    let mut table = TextTable::new(&["MODEL", "SIZE", "LAST USED", "PATH"]);
    for model in &models {
        let line = |text: String| output::line(&text, usize::MAX);
        let name = model.name();
        let name = if model.contents == Contents::Other { format!("{name} (other files)") } else { name.to_string() };
        let used = time::rfc3339(model.used);
        // The minute is enough for people.
        let used = used.get(..16).unwrap_or(&used).replace('T', " ");
        table.row(vec![line(name), size_text(model.bytes), used, line(model.path.display().to_string())]);
    }
    Ok(write!(io.out, "{table}")?)
}

/// Says that the cache has no models.
pub(super) fn say_empty(cache: &Cache, io: &mut Io) -> Result<(), CliError> {
    let root = output::line(&cache.root().display().to_string(), usize::MAX);
    Ok(writeln!(
        io.err,
        "firebox: the model cache \"{root}\" is empty; firebox models pull org/name downloads a model"
    )?)
}

/// A model of the cache as JSON.
pub(super) fn json(model: &CachedModel) -> serde_json::Value {
    json!({
        "model": model.name().to_string(), "commit": model.commit, "refs": model.refs,
        "complete": model.contents != Contents::Other, "bytes": model.bytes, "files": model.files.len(),
        "last_used": time::rfc3339(model.used), "path": model.path.display().to_string(),
    })
}
