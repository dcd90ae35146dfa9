//! The cache of compiled components on disk. Loading compiled code means trusting it like the host's own code. So only this
//! user may have access to the directory, and every artifact starts with a digest that is checked before anything else.
//!
//! If the cache cannot be used, the component is compiled. So every function returns its problem as a warning.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use firebox_contract::limits;
use sha2::{Digest, Sha256};

/// The first bytes of an artifact's file. The digest follows.
const MAGIC: &[u8; 8] = b"FBXCWSM1";
const DIGEST_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + DIGEST_BYTES;

/// A cache directory whose owner and mode were checked.
pub(super) struct ArtifactCache {
    dir: PathBuf,
    /// The user that owns the directory: the user of this process.
    owner: u32,
}

/// The name of one artifact: a component compiled for one engine.
#[derive(Debug, Clone)]
pub(super) struct ArtifactKey(String);

impl ArtifactKey {
    /// The key of the component with this digest, compiled by the engine with this compatibility hash.
    pub(super) fn new(component_digest: &str, compatibility: u64) -> Self {
        Self(format!("{component_digest}-{compatibility:016x}.cwasm"))
    }

    /// The digest of name and content, so that an artifact is valid only under the name it was written for.
    fn digest(&self, artifact: &[u8]) -> [u8; DIGEST_BYTES] {
        Sha256::new().chain_update(self.0.as_bytes()).chain_update(artifact).finalize().into()
    }
}

impl ArtifactCache {
    /// Creates `dir` if it is missing, and checks that no other user has access to it.
    ///
    /// # Errors
    /// A warning that says why the directory is not used.
    pub(super) fn open(dir: &Path) -> Result<Self, String> {
        let warning = |reason: String| format!("the plugin cache \"{}\" {reason}, so nothing is cached", dir.display());
        create_dir(dir).map_err(|error| warning(format!("cannot be created: {error}")))?;
        let found = fs::symlink_metadata(dir).map_err(|error| warning(format!("cannot be inspected: {error}")))?;
        if found.is_symlink() || !found.is_dir() {
            return Err(warning("is a link or not a directory".to_owned()));
        }
        let ours = probe(dir).map_err(|error| warning(format!("cannot be written: {error}")))?;
        if owner(&found) != owner(&ours) {
            return Err(warning("belongs to another user".to_owned()));
        }
        if open_to_others(&found) {
            return Err(warning("is open to other users; give it mode 700".to_owned()));
        }
        Ok(Self { dir: dir.to_owned(), owner: owner(&ours) })
    }

    /// The artifact under `key`. `None` if there is none.
    ///
    /// # Errors
    /// A warning, if the artifact is not the one that was written.
    pub(super) fn read(&self, key: &ArtifactKey) -> Result<Option<Vec<u8>>, String> {
        let path = self.dir.join(&key.0);
        let warning = |reason: String| format!("cached \"{}\" {reason}, so it is compiled again", path.display());
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(warning(format!("cannot be inspected: {error}"))),
            Ok(found) => found,
        };
        if !found.is_file() || owner(&found) != self.owner || open_to_others(&found) {
            return Err(warning("is not a file that only this user can access".to_owned()));
        }
        if found.len() > limits::PLUGIN_ARTIFACT_BYTES_MAX {
            return Err(warning(format!("is too large ({} bytes)", found.len())));
        }
        let mut bytes = Vec::new();
        let limit = limits::PLUGIN_ARTIFACT_BYTES_MAX;
        let read = File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        read.map_err(|error| warning(format!("cannot be read: {error}")))?;
        match checked(key, bytes) {
            Some(artifact) => Ok(Some(artifact)),
            None => Err(warning("was changed or damaged".to_owned())),
        }
    }

    /// Stores `artifact` under `key`. A reader sees all of it or nothing.
    ///
    /// # Errors
    /// A warning, if the artifact is too large or cannot be written.
    pub(super) fn write(&self, key: &ArtifactKey, artifact: &[u8]) -> Result<(), String> {
        let warning = |error| format!("the plugin cache \"{}\" cannot be written: {error}", self.dir.display());
        if (HEADER_BYTES + artifact.len()) as u64 > limits::PLUGIN_ARTIFACT_BYTES_MAX {
            return Err(format!("a compiled component of {} bytes is too large for the plugin cache", artifact.len()));
        }
        let temporary = temporary(&self.dir);
        let written = create(&temporary)
            .and_then(|mut file| {
                file.write_all(MAGIC)?;
                file.write_all(&key.digest(artifact))?;
                file.write_all(artifact)
            })
            .and_then(|()| fs::rename(&temporary, self.dir.join(&key.0)));
        if written.is_err() {
            // Fails if the file was never created, or if the directory cannot be written.
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(warning)?;
        self.prune();
        Ok(())
    }

    /// Removes the oldest files beyond `limits::PLUGIN_ARTIFACTS_MAX`, including temporary files that a crash left behind.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let age = |path: &Path| {
            fs::symlink_metadata(path).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let mut files: Vec<(SystemTime, PathBuf)> =
            entries.flatten().map(|entry| entry.path()).map(|path| (age(&path), path)).collect();
        let surplus = files.len().saturating_sub(limits::PLUGIN_ARTIFACTS_MAX);
        files.sort();
        for (_, path) in files.into_iter().take(surplus) {
            // Another process may have removed the file already.
            let _ = fs::remove_file(path);
        }
    }
}

/// The artifact in a file's `bytes`, if its digest is correct.
fn checked(key: &ArtifactKey, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let header = bytes.get(..HEADER_BYTES)?;
    let (magic, digest) = header.split_at(MAGIC.len());
    let artifact = bytes.get(HEADER_BYTES..)?;
    if magic != MAGIC || digest != key.digest(artifact) {
        return None;
    }
    bytes.drain(..HEADER_BYTES);
    Some(bytes)
}

/// A path in `dir` that no other thread or process uses.
fn temporary(dir: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    dir.join(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// Creates and removes a file in `dir`: its metadata shows this process's user.
fn probe(dir: &Path) -> std::io::Result<Metadata> {
    let path = temporary(dir);
    let found = create(&path)?.metadata();
    fs::remove_file(&path)?;
    found
}

#[cfg(unix)]
fn create_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(unix)]
fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(unix)]
fn owner(found: &Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    found.uid()
}

#[cfg(unix)]
fn open_to_others(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    found.mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn create_dir(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).create(dir)
}

#[cfg(not(unix))]
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// On other systems the access list of the user's profile directory keeps other users out. Rust's standard library cannot
/// read it.
#[cfg(not(unix))]
fn owner(_found: &Metadata) -> u32 {
    0
}

#[cfg(not(unix))]
fn open_to_others(_found: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests;
