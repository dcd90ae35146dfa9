//! `firebox config`: check it, show it, begin one.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Io;
use crate::config::{self, Config};
use crate::error::CliError;

/// Check, show or begin a configuration.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: ConfigCommand,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Say everything that is wrong with the configuration, with file and line.
    Check(FileOptions),
    /// Show the configuration in effect (options, environment, files, defaults), without its secrets.
    Print(FileOptions),
    /// Write a commented configuration to begin with.
    Init {
        /// The file to write; one that is there already stays
        #[arg(default_value = config::FILE, value_name = "PATH")]
        path: PathBuf,
    },
}

/// Which configuration.
#[derive(ClapArgs, Debug, Clone)]
pub struct FileOptions {
    /// The configuration; without it firebox.toml in this folder, if there is one
    #[arg(long, env = config::FILE_ENV, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Set one value, such as server.listen=127.0.0.1:9000 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    pub set: Vec<(String, String)>,
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.trim().is_empty());
    let (key, value) = pair.ok_or_else(|| format!("\"{text}\" is not KEY=VALUE; write server.log_json=true"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl FileOptions {
    /// Reads it.
    ///
    /// # Errors
    /// Every problem there is.
    pub fn load(&self) -> Result<Config, CliError> {
        Ok(Config::load(self.config.as_deref(), &self.set)?)
    }
}

/// Runs the verb.
///
/// # Errors
/// `CliError::Usage`-kind with every problem of the configuration; `CliError::File` for a file that cannot be written.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    match args.verb {
        ConfigCommand::Check(options) => check(&options, io),
        ConfigCommand::Print(options) => Ok(io.out.write_all(options.load()?.print().as_bytes())?),
        ConfigCommand::Init { path } => init(path, io),
    }
}

fn check(options: &FileOptions, io: &mut Io) -> Result<(), CliError> {
    let config = options.load()?;
    for warning in &config.warnings {
        writeln!(io.err, "firebox: warning: {warning}")?;
    }
    let file =
        config.file.as_ref().map_or_else(|| "no file: the defaults".to_owned(), |file| file.display().to_string());
    let (models, plugins, servers) = (config.models.len(), config.plugins.len(), config.mcp.servers.len());
    let (tenants, warnings) = (config.tenants.len(), config.warnings.len());
    writeln!(
        io.out,
        "{file}: good; models {models}, plugins {plugins}, MCP servers {servers}, tenants {tenants}, warnings {warnings}"
    )?;
    Ok(())
}

fn init(path: PathBuf, io: &mut Io) -> Result<(), CliError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let shown = path.display().to_string();
    let cannot = |source| CliError::File { action: "write", path: shown.clone(), source };
    let mut file = match options.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CliError::usage(format!(
                "\"{shown}\" is there already and stays; give another path, or move it away"
            )));
        }
        Err(error) => return Err(cannot(error)),
    };
    file.write_all(config::EXAMPLE.as_bytes()).and_then(|()| file.sync_all()).map_err(cannot)?;
    writeln!(
        io.err,
        "firebox: wrote \"{shown}\"; next: firebox config check, firebox tenants add NAME, firebox serve"
    )?;
    Ok(())
}
