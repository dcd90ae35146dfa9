//! `firebox plugins sign`: signs a component together with its manifest.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use firebox_contract::limits;
use firebox_sandbox::{ComponentSource, ReadError};

use crate::cli::Io;
use crate::error::CliError;
use crate::plugins::distribution::policy::FoundPlugin;
use crate::plugins::distribution::signature::{self, Signature, SigningKey, Statement};
use crate::plugins::{self, component_digest};

/// Sign a component and its manifest; the signature is a file beside the component.
#[derive(ClapArgs, Debug)]
pub(in crate::cli::plugins) struct Args {
    /// The component, or the folder with plugin.toml and the component
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// The file of the private key, as `firebox plugins keygen` or OpenSSL writes it
    #[arg(long, value_name = "FILE", default_value = "plugin-key.pem")]
    key: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A plugin or a key that cannot be read; `CliError::File`.
pub(in crate::cli::plugins) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let (path, signature) = sign(&args.path, &args.key)?;
    std::fs::write(&path, signature.text()).map_err(|source| CliError::File {
        action: "write",
        path: path.display().to_string(),
        source,
    })?;
    writeln!(io.out, "signed {} with {}", signature.statement.name, signature.key)?;
    Ok(writeln!(io.out, "wrote  {}", path.display())?)
}

/// The signature of the plugin at `path` by the key in the file `key`, and the file that it belongs to.
///
/// # Errors
/// A plugin or a key that cannot be read.
fn sign(path: &Path, key: &Path) -> Result<(PathBuf, Signature), CliError> {
    let key = read_key(key)?;
    let asked = path.to_str().ok_or_else(|| CliError::usage("the path is not UTF-8"))?;
    let FoundPlugin { spec, manifest, .. } = plugins::find(asked)?;
    let ComponentSource::Path(component) = &spec.source else {
        return Err(CliError::usage(format!("\"{asked}\" is built in and needs no signature")));
    };
    let statement = Statement { name: spec.name.clone(), component: component_digest(&spec)?, manifest };
    Ok((signature::path_of(component), key.sign(statement)))
}

/// The private key in the file `path`.
///
/// # Errors
/// `CliError::File`; a `CliError` of usage for a file that is no key.
pub(super) fn read_key(path: &Path) -> Result<SigningKey, CliError> {
    let shown = path.display();
    let bytes = firebox_sandbox::read_file(path, limits::SIGNING_KEY_BYTES_MAX).map_err(|error| match error {
        ReadError::System(source) => CliError::File { action: "read", path: shown.to_string(), source },
        other => CliError::usage(format!("the key \"{shown}\": {other}")),
    })?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    SigningKey::parse(&text).map_err(|why| CliError::usage(format!("\"{shown}\" {why}")))
}
