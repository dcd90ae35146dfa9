//! What a host accepts: the plugins of the lock file, and signatures of trusted keys.

use std::path::Path;

use firebox_contract::{Error, limits};
use firebox_sandbox::{ComponentSource, Pinned, PluginSpec, ReadError};

use super::signature::{self, PublicKey, Signature};
use crate::config::LockFile;

/// Which signatures an operator or a tenant trusts and wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignaturePolicy {
    /// The keys whose signatures count.
    pub trusted_keys: Vec<PublicKey>,
    /// Whether every plugin that is not built in needs a signature of one of them.
    pub require_signature: bool,
}

/// A plugin that was found, before it is loaded.
#[derive(Debug, Clone)]
pub struct FoundPlugin {
    /// The plugin, with the name of its manifest or file.
    pub spec: PluginSpec,
    /// SHA-256 of its manifest, in hex.
    pub manifest: Option<String>,
    /// What its manifest says for others.
    pub text: Option<PublishedText>,
}

/// What is published of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishedText {
    /// The version of the plugin.
    pub version: String,
    /// One line about it.
    pub description: String,
    /// The whole text.
    pub manifest: Option<String>,
}

/// What an operator accepts.
#[derive(Debug, Clone, Copy)]
pub struct Acceptance<'a> {
    /// The lock file.
    pub lock: Option<&'a LockFile>,
    /// The operator's policy.
    pub policy: &'a SignaturePolicy,
    /// Keys that only some tenants trust. Their signatures are checked too.
    pub tenant_keys: &'a [PublicKey],
}

impl Acceptance<'_> {
    /// Lets `found` load only the accepted component of the plugin `name`, and returns the trusted key that has signed it.
    ///
    /// # Errors
    /// `Error::Denied` for a plugin that the lock file does not have, for a signature that is wrong, and for a missing one
    /// that the policy requires.
    pub fn apply(&self, name: &str, found: &mut FoundPlugin) -> Result<Option<PublicKey>, Error> {
        if let Some(lock) = self.lock {
            lock.pin(name, found.manifest.as_deref(), &mut found.spec)?;
        }
        self.signer(found)
    }

    /// The trusted key that has signed `found`, which then loads only the component that was signed.
    ///
    /// # Errors
    /// As [`Acceptance::apply`].
    pub fn signer(&self, found: &mut FoundPlugin) -> Result<Option<PublicKey>, Error> {
        let trusts = |key: &PublicKey| self.policy.trusted_keys.contains(key) || self.tenant_keys.contains(key);
        let nobody = self.policy.trusted_keys.is_empty() && self.tenant_keys.is_empty();
        let component = match &found.spec.source {
            ComponentSource::Path(path) if !nobody || self.policy.require_signature => path.clone(),
            // A built-in plugin is a part of this program.
            _ => return Ok(None),
        };
        let name = &found.spec.name;
        let refused = |why: String| Error::Denied(format!("plugin \"{name}\" was not loaded: {why}"));
        let path = signature::path_of(&component);
        let signature = read(&path).map_err(|why| refused(format!("\"{}\" {why}", path.display())))?;
        let signature = match signature.filter(|signature| trusts(&signature.key)) {
            Some(signature) => signature,
            None if !self.policy.require_signature => return Ok(None),
            None => {
                return Err(refused(format!(
                    "\"{}\" is no signature of a key in trusted_keys of [plugins], and require_signature is set; sign it \
                     with firebox plugins sign, or trust its key",
                    path.display()
                )));
            }
        };
        let shown = path.display();
        if !signature.verify() {
            return Err(refused(format!("the signature in \"{shown}\" is not of the key \"{}\"", signature.key)));
        }
        if self.policy.require_signature && !self.policy.trusted_keys.contains(&signature.key) {
            return Err(refused(format!(
                "the key \"{}\" in \"{shown}\" is not in trusted_keys of [plugins]",
                signature.key
            )));
        }
        if signature.statement.name != *name {
            let signed = &signature.statement.name;
            return Err(refused(format!("the signature in \"{shown}\" is for the plugin \"{signed}\"")));
        }
        if signature.statement.manifest != found.manifest {
            return Err(refused(format!(
                "the signature in \"{shown}\" is for another manifest; sign the plugin again"
            )));
        }
        let by = format!("which the signature in \"{shown}\" is for; sign the plugin again");
        found.spec.pins.push(Pinned { digest: signature.statement.component, by });
        Ok(Some(signature.key))
    }
}

impl SignaturePolicy {
    /// Checks that a trusted key has signed the plugin `name`, whose signer is `signer`. `whose` is the policy's owner.
    ///
    /// # Errors
    /// `Error::Denied` if not.
    pub fn check(&self, whose: &str, name: &str, signer: Option<PublicKey>) -> Result<(), Error> {
        if !self.require_signature || signer.is_some_and(|key| self.trusted_keys.contains(&key)) {
            return Ok(());
        }
        Err(Error::Denied(format!(
            "{whose} requires signatures, and plugin \"{name}\" has none of a key in its trusted_keys; sign it with firebox \
             plugins sign, or trust its key"
        )))
    }
}

/// The signature at `path`; `None` if there is no such file.
///
/// # Errors
/// What is wrong with the file, as the end of a sentence about it.
pub fn read(path: &Path) -> Result<Option<Signature>, String> {
    let bytes = match firebox_sandbox::read_file(path, limits::SIGNATURE_FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(ReadError::System(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    Signature::parse(&text).map(Some)
}
