//! WebAssembly components from web addresses and from container registries.
//!
//! ```text
//! web          requests with redirects, checked addresses and caps
//! reference    oci://registry/name:tag
//! registry     the distribution protocol: tokens, manifests, blobs
//! artifact     the layout of a component in a registry
//! credentials  who this user is for a registry
//! ```
//!
//! Nothing that a server sends is trusted: sizes have caps, bytes have digests, and a server that the user named cannot lead to
//! an address in a private network.

mod artifact;
mod credentials;
mod reference;
mod registry;
mod web;

use firebox_contract::limits;
use reqwest::Url;

pub use self::artifact::{ComponentInterfaces, Publication};
pub use self::credentials::RegistryCredentials;
pub use self::reference::OciReference;
use self::registry::Registry;
use self::web::Web;
use crate::digest::sha256;
use crate::error::{HubError, shown};

/// A component that was downloaded. Its bytes have the digest that its source named, if it named one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedComponent {
    /// The component.
    pub bytes: Vec<u8>,
    /// The text of its `plugin.toml`.
    pub manifest: Option<String>,
    /// The text of its signature.
    pub signature: Option<String>,
    /// The name of the source, for a plugin without a manifest.
    pub name: String,
    /// The source with the digest of what was downloaded.
    pub pinned: String,
    /// What was left out, for the user.
    pub notes: Vec<String>,
}

/// Downloads the file at `url`, whose bytes may have at most `max` bytes. `None` if there is no such file.
///
/// # Errors
/// `HubError::Name` for an address that is not `https://` (or `http://` on this machine); `Unreachable`, `Denied`,
/// `TooLarge`.
pub async fn fetch_file(url: &str, max: usize) -> Result<Option<Vec<u8>>, HubError> {
    let (web, url) = Web::of(url).await?;
    web.file(url, max).await
}

/// Downloads the component at the web address `url`.
///
/// # Errors
/// As [`fetch_file`]; `HubError::NotFound`.
pub async fn fetch_url(url: &str) -> Result<FetchedComponent, HubError> {
    let max = usize::try_from(limits::PLUGIN_COMPONENT_BYTES_MAX).unwrap_or(usize::MAX);
    let missing = || HubError::NotFound(format!("there is no file at \"{}\"; check the address", shown(url)));
    let bytes = fetch_file(url, max).await?.ok_or_else(missing)?;
    let parsed = Url::parse(url).map_err(|_| missing())?;
    let last = parsed.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    let name = last.strip_suffix(".wasm").unwrap_or(last).to_owned();
    let pinned = format!("{url}#sha256={}", sha256(&bytes));
    Ok(FetchedComponent { bytes, manifest: None, signature: None, name, pinned, notes: Vec::new() })
}

/// Downloads the component that `reference` names.
///
/// # Errors
/// `HubError::NotFound`, `Unauthorized`, `Denied`, `Unreachable`, `TooLarge`; `Content` for bytes with another digest, and for
/// an artifact that is no component.
pub async fn pull(reference: &OciReference, credentials: &RegistryCredentials) -> Result<FetchedComponent, HubError> {
    let registry = Registry::open(reference, credentials, "pull").await?;
    let (manifest, digest) = registry.manifest().await?;
    let artifact = artifact::read(&manifest, reference)?;
    let bytes = registry.blob(&artifact.layer).await?;
    let mut notes = artifact.notes;
    notes.extend(registry.login_problem().map(|problem| format!("{problem}; the registry was asked without it")));
    Ok(FetchedComponent {
        bytes,
        manifest: artifact.manifest,
        signature: artifact.signature,
        name: reference.last().to_owned(),
        pinned: reference.at(&digest),
        notes,
    })
}

/// Uploads a component to where `reference` says. Returns the reference with the digest of what was uploaded.
///
/// # Errors
/// As [`pull`]; `HubError::Name` for a reference with a digest.
pub async fn push(
    reference: &OciReference,
    publication: &Publication,
    credentials: &RegistryCredentials,
) -> Result<String, HubError> {
    if reference.digest.is_some() {
        let why = "is named by its digest, which only the registry gives; publish to a tag";
        return Err(HubError::Name(format!("\"{}\" {why}", shown(&reference.to_string()))));
    }
    let registry = Registry::open(reference, credentials, "pull,push").await?;
    let (config, manifest) = publication.documents();
    registry.upload(&publication.component).await?;
    registry.upload(&config).await?;
    let digest = registry.put_manifest(manifest).await?;
    Ok(reference.at(&digest))
}
