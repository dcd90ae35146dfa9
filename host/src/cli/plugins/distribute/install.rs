//! `firebox plugins install`: makes a plugin usable by its name.

use std::io::Write as _;
use std::path::Path;

use clap::Args as ClapArgs;
use firebox_contract::{Error, limits};
use firebox_sandbox::ComponentReport;

use super::super::target::{self, PluginSettings};
use crate::cli::Io;
use crate::cli::output::line;
use crate::config;
use crate::error::CliError;
use crate::plugins::distribution::policy::{Acceptance, SignaturePolicy};
use crate::plugins::distribution::signature::PublicKey;
use crate::plugins::distribution::source::{self, DownloadedPlugin, PluginSource};
use crate::plugins::{self, installed};
use crate::system::threads;

/// Install a plugin from a file, a folder, a web address or a registry, so that it can be used by its name.
#[derive(ClapArgs, Debug)]
pub(in crate::cli::plugins) struct Args {
    /// The component, the folder with plugin.toml and the component, https://…#sha256=DIGEST, or oci://REGISTRY/NAME with :TAG
    /// or @sha256:DIGEST
    #[arg(value_name = "SOURCE", default_value = ".")]
    source: String,
    /// Refuse the component unless its SHA-256 is this one
    #[arg(long, visible_alias = "digest", value_name = "HEX")]
    sha256: Option<String>,
    /// Require a signature of this key, as `firebox plugins keygen` prints it (repeatable). Others are those of [plugins] in
    /// the configuration
    #[arg(long = "trusted-key", value_name = "KEY")]
    trusted_keys: Vec<PublicKey>,
    #[command(flatten)]
    settings: PluginSettings,
}

/// Runs the command.
///
/// # Errors
/// A plugin that cannot be downloaded, loaded or accepted; another digest than the wanted one; `CliError::File`.
pub(in crate::cli::plugins) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let (source, named) = PluginSource::parse(&args.source)?;
    let wanted = args.sha256.as_deref().map(source::digest).transpose()?;
    if let (Some(named), Some(wanted)) = (&named, &wanted)
        && named != wanted
    {
        return Err(CliError::usage("the digest after # and the one of --sha256 differ; give one of them"));
    }
    let wanted = wanted.or(named);
    let policy = policy(&args, &source, wanted.is_some())?;
    let downloaded = download(&source, wanted.as_deref(), &policy, io)?;
    let (path, from) = match (&source, &downloaded) {
        (PluginSource::Local(path), _) => (path.as_path(), None),
        (_, Some(downloaded)) => (downloaded.component.as_path(), Some(downloaded.pinned.as_str())),
        (_, None) => return Err(CliError::Host(Error::Internal("nothing was downloaded".to_owned()))),
    };
    install(path, from, wanted.as_deref(), &policy, &args.settings, io)
}

/// What is accepted: the policy of the configuration, with the keys of this command. A component from the web is known by its
/// digest or by its signature.
fn policy(args: &Args, source: &PluginSource, has_digest: bool) -> Result<SignaturePolicy, CliError> {
    let mut policy = config::signature_policy()?;
    if !args.trusted_keys.is_empty() {
        policy = SignaturePolicy { trusted_keys: args.trusted_keys.clone(), require_signature: true };
    }
    if matches!(source, PluginSource::Web(_)) && !has_digest {
        if policy.trusted_keys.is_empty() {
            return Err(CliError::usage(
                "a component from the web needs its digest, because anybody could answer; write #sha256=DIGEST after the \
                 address, or give the key of its author with --trusted-key",
            ));
        }
        policy.require_signature = true;
    }
    Ok(policy)
}

fn download(
    source: &PluginSource,
    wanted: Option<&str>,
    policy: &SignaturePolicy,
    io: &mut Io,
) -> Result<Option<DownloadedPlugin>, CliError> {
    if matches!(source, PluginSource::Local(_)) {
        return Ok(None);
    }
    writeln!(io.err, "firebox: downloading the component")?;
    let runtime = threads::runtime(Some(2))?;
    let downloaded = runtime.block_on(async {
        let work = async {
            match source {
                PluginSource::Web(url) => {
                    source::from_web(url, wanted, !policy.trusted_keys.is_empty()).await.map(Some)
                }
                PluginSource::Registry(reference) => source::from_registry(reference).await.map(Some),
                PluginSource::Local(_) => Ok(None),
            }
        };
        tokio::select! {
            downloaded = work => downloaded,
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        }
    })?;
    for note in downloaded.iter().flat_map(|downloaded| &downloaded.notes) {
        writeln!(io.err, "firebox: {}", line(note, limits::CHAT_SHOWN_CHARACTERS_MAX))?;
    }
    Ok(downloaded)
}

/// Installs the plugin at `path`, which is from `from` if it was downloaded.
fn install(
    path: &Path,
    from: Option<&str>,
    wanted: Option<&str>,
    policy: &SignaturePolicy,
    settings: &PluginSettings,
    io: &mut Io,
) -> Result<(), CliError> {
    let asked = path.to_str().ok_or_else(|| CliError::usage("the path is not UTF-8"))?;
    if !path.exists() {
        return Err(CliError::usage(format!("there is no file or folder \"{asked}\"; give the path of a component")));
    }
    let mut spec = settings.spec(asked)?;
    let mut found = plugins::find(asked)?;
    let signer = Acceptance { lock: None, policy, tenant_keys: &[] }.signer(&mut found)?;
    spec.pins.append(&mut found.spec.pins);
    let report = ComponentReport::of(&spec.name, &spec.source).map_err(Error::from)?;
    if let Some(wanted) = wanted.filter(|wanted| !wanted.eq_ignore_ascii_case(&report.digest)) {
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
    let folder = installed::add(path, &spec, &stages, &report.digest, from)?;
    writeln!(io.out, "installed {} in {}", spec.name, folder.display())?;
    writeln!(io.out, "sha256    {}", report.digest)?;
    if let Some(from) = from {
        writeln!(io.out, "source    {from}")?;
    }
    if let Some(key) = signer {
        writeln!(io.out, "signed by {key}")?;
    }
    Ok(())
}
