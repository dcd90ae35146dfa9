//! `firebox plugins publish`: uploads a plugin to a registry.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args as ClapArgs;
use firebox_contract::{Error, limits};
use firebox_hub::{ComponentInterfaces, OciReference, Publication};
use firebox_sandbox::{ComponentReport, ComponentSource};

use super::sign;
use crate::cli::Io;
use crate::cli::output::line;
use crate::error::CliError;
use crate::plugins;
use crate::plugins::distribution::policy::{self, FoundPlugin, PublishedText};
use crate::plugins::distribution::signature::{self, Statement};
use crate::plugins::distribution::source;
use crate::system::{threads, time};

/// Upload a plugin to a container registry, with its manifest and its signature.
#[derive(ClapArgs, Debug)]
pub(in crate::cli::plugins) struct Args {
    /// Where to: oci://REGISTRY/NAME, with :TAG, else the version in plugin.toml is the tag
    #[arg(value_name = "REFERENCE")]
    to: String,
    /// The component, or the folder with plugin.toml and the component
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Sign it with the private key in this file. Without it, the signature beside the component is used, if there is one
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A plugin that cannot be read or whose signature does not fit; those of the registry.
pub(in crate::cli::plugins) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let to: OciReference = args.to.parse().map_err(source::refused)?;
    let publication = publication(&args)?;
    let to = to.or_tag(&publication.version);
    writeln!(io.err, "firebox: uploading {} to {to}", publication.name)?;
    let (runtime, credentials) = (threads::runtime(Some(2))?, source::credentials());
    let pinned = runtime.block_on(async {
        tokio::select! {
            pushed = firebox_hub::push(&to, &publication, &credentials) => pushed.map_err(source::refused),
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        }
    })?;
    let signed = if publication.signature.is_some() { "signed" } else { "not signed" };
    writeln!(io.out, "published {} ({signed})", publication.name)?;
    Ok(writeln!(io.out, "source    {pinned}")?)
}

fn publication(args: &Args) -> Result<Publication, CliError> {
    let asked = args.path.to_str().ok_or_else(|| CliError::usage("the path is not UTF-8"))?;
    let FoundPlugin { spec, manifest, text } = plugins::find(asked)?;
    let ComponentSource::Path(path) = &spec.source else {
        return Err(CliError::usage(format!("\"{asked}\" is built in and is not published")));
    };
    let report = ComponentReport::of(&spec.name, &spec.source).map_err(Error::from)?;
    let component = firebox_sandbox::read_file(path, limits::PLUGIN_COMPONENT_BYTES_MAX)
        .map_err(|error| CliError::usage(format!("the component \"{}\" {error}", path.display())))?;
    let statement = Statement { name: spec.name.clone(), component: report.digest.clone(), manifest };
    if plugins::sha256(&component) != statement.component {
        return Err(CliError::usage(format!(
            "\"{}\" changed while it was read; run the command again",
            path.display()
        )));
    }
    let signature = match &args.key {
        Some(key) => Some(sign::read_key(key)?.sign(statement)),
        None => stored(&signature::path_of(path), &statement)?,
    };
    let PublishedText { version, description, manifest } = text.unwrap_or_default();
    Ok(Publication {
        name: spec.name,
        version,
        description: line(&description, limits::CHAT_SHOWN_CHARACTERS_MAX),
        component,
        interfaces: ComponentInterfaces {
            imports: report.imports.into_iter().map(|row| row.0).collect(),
            exports: report.exports,
        },
        manifest,
        signature: signature.map(|signature| signature.text()),
        created: time::rfc3339(SystemTime::now()),
    })
}

/// The signature in the file `path`, which must be for `statement`; `None` if there is no such file.
fn stored(path: &std::path::Path, statement: &Statement) -> Result<Option<signature::Signature>, CliError> {
    let shown = path.display();
    let found = policy::read(path).map_err(|why| CliError::usage(format!("\"{shown}\" {why}")))?;
    match found {
        Some(signature) if signature.statement != *statement || !signature.verify() => Err(CliError::usage(format!(
            "the signature in \"{shown}\" is not for this component and manifest; sign it again, or remove the file"
        ))),
        found => Ok(found),
    }
}
