//! `firebox plugins keygen`: makes the key of an author.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use clap::Args as ClapArgs;
use firebox_contract::Error;

use crate::cli::Io;
use crate::error::CliError;
use crate::plugins::distribution::signature::SigningKey;

/// Make an Ed25519 key for signing plugins, and print its public key, which operators trust.
#[derive(ClapArgs, Debug)]
pub(in crate::cli::plugins) struct Args {
    /// The file of the private key; an existing file is never overwritten
    #[arg(value_name = "FILE", default_value = "plugin-key.pem")]
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A `CliError` of usage for a file that exists; `CliError::File`.
pub(in crate::cli::plugins) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let (key, pem) = SigningKey::generate().map_err(Error::Internal)?;
    let shown = args.file.display().to_string();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let cannot = |source| CliError::File { action: "write", path: shown.clone(), source };
    let mut file = match options.open(&args.file) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(CliError::usage(format!("\"{shown}\" already exists and was not changed; give another path")));
        }
        Err(error) => return Err(cannot(error)),
    };
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(cannot)?;
    writeln!(io.err, "firebox: wrote the private key to \"{shown}\"; keep it secret, and give others the public key:")?;
    Ok(writeln!(io.out, "{}", key.public())?)
}
