//! `firebox plugins new`: a project with a plugin that works.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap::builder::PossibleValuesParser;

use crate::cli::Io;
use crate::error::CliError;
use crate::plugins::project::{LANGUAGES, NewProject, STAGES};

/// Make a project with a plugin that works.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The plugin's name, which is also the name of its folder
    name: String,
    /// The language
    #[arg(long, value_parser = PossibleValuesParser::new(LANGUAGES.iter().map(|language| language.name)))]
    lang: String,
    /// The stage
    #[arg(long, value_parser = PossibleValuesParser::new(STAGES.iter().map(|row| row.name)), default_value = "tool")]
    stage: String,
    /// The folder of the project [default: NAME]
    #[arg(long, value_name = "PATH")]
    path: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A `CliError` of usage for a name that is not valid or a folder that is not empty; `CliError::File`.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let project = NewProject::new(&args.name, &args.stage)?;
    let language = LANGUAGES.iter().find(|language| language.name == args.lang);
    let language = language.ok_or_else(|| CliError::usage(format!("there is no language \"{}\"", args.lang)))?;
    let folder = args.path.unwrap_or_else(|| PathBuf::from(&args.name));
    project.write(language, &folder)?;
    let shown = folder.display();
    writeln!(io.out, "made {shown}: edit {shown}/{}, then", language.source)?;
    writeln!(io.out, "  cd {shown}\n  firebox plugins build\n  firebox plugins test")?;
    Ok(())
}
