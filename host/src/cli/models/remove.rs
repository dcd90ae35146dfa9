//! `firebox models remove`.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::Error;
use firebox_hub::ModelName;

use crate::cli::Io;
use crate::cli::options::hub::HubOptions;
use crate::error::CliError;
use crate::host::download::size_text;

/// Remove models from the cache.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Models as `firebox models list` shows them; org/name alone is everything of that repository
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ModelName>,
}

/// Runs the command.
///
/// # Errors
/// A name that is not in the cache, or a model that a process uses; models before it are removed.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let hub = HubOptions::default().hub()?;
    for name in &args.names {
        for model in hub.cache().matching(name).map_err(Error::from)? {
            let freed = hub.cache().remove(&model).map_err(Error::from)?;
            writeln!(io.err, "firebox: removed {} ({} freed)", model.name(), size_text(freed))?;
        }
    }
    Ok(())
}
