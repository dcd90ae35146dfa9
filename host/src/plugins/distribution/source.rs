//! Where a plugin is installed from: a file, a web address, or a registry.

use std::path::{Path, PathBuf};

use firebox_contract::{Error, limits};
use firebox_hub::{FetchedComponent, HubError, OciReference, RegistryCredentials};
use tempfile::TempDir;

use super::signature::Signature;
use crate::error::CliError;
use crate::plugins::manifest::{self, Manifest};
use crate::plugins::sha256;

/// Where a plugin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginSource {
    /// A component or its folder.
    Local(PathBuf),
    /// A web address, without a digest in it.
    Web(String),
    /// An artifact in a registry.
    Registry(OciReference),
}

/// A plugin that was downloaded into a folder of its own.
#[derive(Debug)]
pub struct DownloadedPlugin {
    /// The folder, which is removed when this is dropped.
    _folder: TempDir,
    /// The component in it. Its manifest and its signature are beside it.
    pub component: PathBuf,
    /// Where it is from, with a digest.
    pub pinned: String,
    /// What was left out.
    pub notes: Vec<String>,
}

impl PluginSource {
    /// Reads what a user wrote, and the digest after `#sha256=`.
    ///
    /// # Errors
    /// A `CliError` of usage for a reference that is not valid, and for an address with something else after `#`.
    pub fn parse(text: &str) -> Result<(Self, Option<String>), CliError> {
        if text.starts_with("oci://") {
            return Ok((Self::Registry(text.parse().map_err(refused)?), None));
        }
        if !text.starts_with("https://") && !text.starts_with("http://") {
            return Ok((Self::Local(PathBuf::from(text)), None));
        }
        let (address, fragment) = text.split_once('#').map_or((text, None), |(address, rest)| (address, Some(rest)));
        let digest = match fragment {
            None => None,
            Some(fragment) => {
                let hex = fragment.strip_prefix("sha256=").ok_or_else(|| {
                    CliError::usage(format!(
                        "write #sha256=DIGEST after the address, and not \"#{}\"",
                        manifest::shown(fragment)
                    ))
                })?;
                Some(digest(hex)?)
            }
        };
        Ok((Self::Web(address.to_owned()), digest))
    }
}

/// The digest `text` in lower case, with or without `sha256:` before it.
///
/// # Errors
/// A `CliError` of usage for anything else than 64 hexadecimal digits.
pub fn digest(text: &str) -> Result<String, CliError> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(hex.to_ascii_lowercase());
    }
    Err(CliError::usage(format!("\"{}\" is not a SHA-256 of 64 hexadecimal digits", manifest::shown(text))))
}

/// An error of a download. Bytes that are not the wanted ones are refused, as a local component is.
pub fn refused(error: HubError) -> CliError {
    CliError::Host(match error {
        HubError::Content(text) => Error::Denied(text),
        other => other.into(),
    })
}

/// Downloads the component at the web address `url`. With `signed`, also its signature, and its manifest if the signature
/// covers one.
///
/// # Errors
/// Those of the download; `Error::Denied` for a component with another digest than `wanted`.
pub async fn from_web(url: &str, wanted: Option<&str>, signed: bool) -> Result<DownloadedPlugin, CliError> {
    let mut fetched = firebox_hub::fetch_url(url).await.map_err(refused)?;
    let found = sha256(&fetched.bytes);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
        return Err(Error::Denied(format!(
            "\"{url}\" has the SHA-256 \"{found}\" and not \"{wanted}\"; it was not installed"
        ))
        .into());
    }
    // What is after a question mark belongs to the component alone.
    if signed && !url.contains('?') {
        fetched.signature = text_at(&format!("{url}.sig"), limits::SIGNATURE_FILE_BYTES_MAX).await?;
        let has_manifest =
            |text: &String| Signature::parse(text).is_ok_and(|signature| signature.statement.manifest.is_some());
        if let Some((folder, _)) = url.rsplit_once('/').filter(|_| fetched.signature.as_ref().is_some_and(has_manifest))
        {
            fetched.manifest =
                text_at(&format!("{folder}/{}", manifest::FILE), limits::PLUGIN_MANIFEST_BYTES_MAX).await?;
        }
    }
    keep(fetched)
}

async fn text_at(url: &str, max: u64) -> Result<Option<String>, CliError> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let bytes = firebox_hub::fetch_file(url, max).await.map_err(refused)?;
    let text = bytes.map(String::from_utf8).transpose();
    text.map_err(|_| CliError::Host(Error::Denied(format!("\"{url}\" is not text"))))
}

/// Downloads the component that `reference` names.
///
/// # Errors
/// Those of the download.
pub async fn from_registry(reference: &OciReference) -> Result<DownloadedPlugin, CliError> {
    keep(firebox_hub::pull(reference, &credentials()).await.map_err(refused)?)
}

/// What this user's environment says about registries.
#[must_use]
pub fn credentials() -> RegistryCredentials {
    RegistryCredentials::of_environment(&|name| std::env::var_os(name))
}

/// Writes what was downloaded into a folder, under names that this host chooses.
fn keep(fetched: FetchedComponent) -> Result<DownloadedPlugin, CliError> {
    let FetchedComponent { bytes, manifest, signature, name, pinned, notes } = fetched;
    let cannot = |source| CliError::File { action: "write", path: "a temporary folder".to_owned(), source };
    let longest = usize::try_from(limits::PLUGIN_MANIFEST_BYTES_MAX).unwrap_or(usize::MAX);
    if manifest.as_ref().is_some_and(|text| text.len() > longest) {
        return Err(Error::Plugin(format!("the manifest of \"{pinned}\" has more than {longest} bytes")).into());
    }
    let id = match &manifest {
        Some(text) => Manifest::parse(text, &pinned)?.id().to_owned(),
        None => plain(&name)?,
    };
    let folder = tempfile::tempdir().map_err(cannot)?;
    let component = folder.path().join(format!("{id}.wasm"));
    let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).map_err(cannot);
    write(&component, &bytes)?;
    if let Some(text) = manifest {
        write(&folder.path().join(manifest::FILE), text.as_bytes())?;
    }
    if let Some(text) = signature {
        write(&super::signature::path_of(&component), text.as_bytes())?;
    }
    Ok(DownloadedPlugin { _folder: folder, component, pinned, notes })
}

/// The name of a plugin without a manifest: the last part of its source.
fn plain(name: &str) -> Result<String, CliError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > limits::PLUGIN_NAME_BYTES_MAX || name.starts_with('.') || !name.chars().all(fits)
    {
        let shown = manifest::shown(name);
        return Err(CliError::usage(format!(
            "\"{shown}\" cannot be the name of a plugin; download the component, and install the file under another name"
        )));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_an_address_or_a_reference() {
        let hex = "a".repeat(64);
        let parse = |text: &str| PluginSource::parse(text).expect(text);
        assert_eq!(parse("a/b.wasm"), (PluginSource::Local("a/b.wasm".into()), None));
        assert_eq!(parse("https://h/x.wasm").0, PluginSource::Web("https://h/x.wasm".to_owned()));
        let upper = format!("https://h/x.wasm#sha256={}", hex.to_uppercase());
        assert_eq!(parse(&upper), (PluginSource::Web("https://h/x.wasm".to_owned()), Some(hex.clone())));
        assert!(matches!(parse("oci://ghcr.io/a/b:1"), (PluginSource::Registry(_), None)));
        assert_eq!(digest(&format!("sha256:{hex}")).expect("a digest"), hex);
        for bad in ["https://h/x#md5=00", "https://h/x#sha256=00", "oci://", "oci://ghcr.io/A"] {
            assert!(PluginSource::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "..", ".hidden", "a/b", "a b", &"x".repeat(200)] {
            assert!(plain(bad).is_err(), "{bad}");
        }
    }
}
