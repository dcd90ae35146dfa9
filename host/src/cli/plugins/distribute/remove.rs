//! `firebox plugins remove`: removes installed plugins.

use std::io::Write as _;

use clap::Args as ClapArgs;

use crate::cli::Io;
use crate::error::CliError;
use crate::plugins::installed;

/// Remove installed plugins.
#[derive(ClapArgs, Debug)]
pub(in crate::cli::plugins) struct Args {
    /// The names
    #[arg(required = true)]
    names: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// A `CliError` of usage for a name that is not installed, `CliError::File`.
pub(in crate::cli::plugins) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    for name in &args.names {
        installed::remove(name)?;
        writeln!(io.out, "removed {name}")?;
    }
    Ok(())
}
