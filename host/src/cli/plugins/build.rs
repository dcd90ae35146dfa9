//! `firebox plugins build`: the component of a project.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args as ClapArgs;
use firebox_contract::Error;
use firebox_sandbox::{ComponentReport, ComponentSource};

use super::inspect::names;
use crate::cli::Io;
use crate::error::CliError;
use crate::plugins::project::Project;

/// Build the component of a project; sets up what its language needs, or says what to install.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The folder of the project
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A `CliError` of usage for a missing tool, `Error::Plugin` if the build fails.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let begun = Instant::now();
    let project = Project::open(&args.path)?;
    let path = project.build(&mut io.err)?;
    let source = ComponentSource::Path(path.clone());
    let report = ComponentReport::of(&project.name, &source).map_err(Error::from)?;
    let (stages, seconds) = (names(&report.stages), begun.elapsed().as_secs_f64());
    let kib = report.bytes.div_ceil(1 << 10);
    writeln!(io.out, "{} ({kib} KiB; stages: {stages}) in {seconds:.1} s", path.display())?;
    Ok(())
}
