//! `firebox config`: checks, prints or creates a configuration file.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::cli::Io;
use crate::config::{self, Config};
use crate::error::CliError;

/// Check, print or create a configuration file.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: ConfigCommand,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Report all errors of the configuration, with file and line.
    Check(FileOptions),
    /// Print the configuration in effect (options, environment, file, defaults), without secrets.
    Print(FileOptions),
    /// Create a commented configuration file. All values are the defaults.
    Init {
        /// File to create; an existing file is never overwritten
        #[arg(default_value = config::FILE, value_name = "PATH")]
        path: PathBuf,
    },
}

/// Which configuration to read.
#[derive(ClapArgs, Debug, Clone)]
pub struct FileOptions {
    /// Configuration file [default: firebox.toml in the current folder, if it exists]
    #[arg(long, env = config::FILE_ENV, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Override one value, such as server.listen=127.0.0.1:9000 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    pub set: Vec<(String, String)>,
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.trim().is_empty());
    let (key, value) =
        pair.ok_or_else(|| format!("\"{text}\" is not KEY=VALUE; write for example server.log_json=true"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl FileOptions {
    /// Reads the configuration.
    ///
    /// # Errors
    /// All errors of the configuration.
    pub fn load(&self) -> Result<Config, CliError> {
        Ok(Config::load(self.config.as_deref(), &self.set)?)
    }

    /// Reads the configuration without the lock file beside it.
    ///
    /// # Errors
    /// All errors of the configuration.
    pub(super) fn load_unlocked(&self) -> Result<Config, CliError> {
        Ok(Config::load_unlocked(self.config.as_deref(), &self.set)?)
    }
}

/// Runs the command.
///
/// # Errors
/// A `CliError` of usage with all errors of the configuration; `CliError::File` for a file that cannot be written.
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
    let file = config
        .file
        .as_ref()
        .map_or_else(|| "no configuration file, defaults".to_owned(), |file| file.display().to_string());
    let parts = [
        counted(config.models.len(), "model"),
        counted(config.plugins.len(), "plugin"),
        counted(config.mcp.servers.len(), "MCP server"),
        counted(config.tenants.len(), "tenant"),
        counted(config.warnings.len(), "warning"),
    ];
    Ok(writeln!(io.out, "{file}: OK ({})", parts.join(", "))?)
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
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
                "\"{shown}\" already exists and was not changed; give another path, or move the file away"
            )));
        }
        Err(error) => return Err(cannot(error)),
    };
    file.write_all(config::EXAMPLE.as_bytes()).and_then(|()| file.sync_all()).map_err(cannot)?;
    writeln!(
        io.err,
        "firebox: created \"{shown}\"; next: firebox config check, firebox tenants add NAME, firebox serve"
    )?;
    Ok(())
}
