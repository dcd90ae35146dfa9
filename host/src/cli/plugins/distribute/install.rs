//! `firebox plugins install`: makes a plugin usable by its name.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use firebox_contract::Error;
use firebox_sandbox::ComponentReport;

use super::super::target::{self, PluginSettings};
use crate::cli::Io;
use crate::error::CliError;
use crate::plugins::installed;

/// Install a plugin from a file or a folder, so that it can be used by its name.
#[derive(ClapArgs, Debug)]
pub(in crate::cli::plugins) struct Args {
    /// The component, or the folder with plugin.toml and the component
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Refuse the component unless its SHA-256 is this one
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    #[command(flatten)]
    settings: PluginSettings,
}

/// Runs the command.
///
/// # Errors
/// A plugin that cannot be loaded, another digest than the wanted one, `CliError::File`.
pub(in crate::cli::plugins) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let asked = args.path.to_str().ok_or_else(|| CliError::usage("the path is not UTF-8"))?;
    if !args.path.exists() {
        return Err(CliError::usage(format!("there is no file or folder \"{asked}\"; give the path of a component")));
    }
    let spec = args.settings.spec(asked)?;
    let report = ComponentReport::of(&spec.name, &spec.source).map_err(Error::from)?;
    if let Some(wanted) = args.sha256.filter(|wanted| !wanted.eq_ignore_ascii_case(&report.digest)) {
        let found = &report.digest;
        return Err(Error::Denied(format!(
            "the component has the SHA-256 {found} and not \"{wanted}\"; it was not installed"
        ))
        .into());
    }
    // Only a plugin that starts is installed.
    let stages = target::with_chain(spec.clone(), io, async |chain, _| {
        Ok(chain.plugins().first().map(|plugin| plugin.stages()).unwrap_or_default())
    })?;
    let folder = installed::add(&args.path, &spec, &stages, &report.digest)?;
    writeln!(io.out, "installed {} in {}", spec.name, folder.display())?;
    writeln!(io.out, "sha256    {}", report.digest)?;
    Ok(())
}
