//! Compiled components on disk. Loading one is trusting it like our own code, so the directory must belong to this
//! user alone, and every artifact carries a digest that is checked before anything else looks at it.
//!
//! A cache that cannot be used is a reason to compile, never an error: every function says what it met as a warning.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use firebox_contract::limits;
use sha2::{Digest, Sha256};

/// What an artifact's file begins with; the digest follows.
const MAGIC: &[u8; 8] = b"FBXCWSM1";
const DIGEST_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + DIGEST_BYTES;

/// A directory that has been found safe.
pub(crate) struct Cache {
    dir: PathBuf,
    /// The user who owns it, which is this process's.
    owner: u32,
}

/// Names one artifact: a component for one engine.
#[derive(Debug, Clone)]
pub(crate) struct Key(String);

impl Key {
    /// For the component with this digest, compiled by the engine with this compatibility hash.
    pub(crate) fn new(component_digest: &str, compatibility: u64) -> Self {
        Self(format!("{component_digest}-{compatibility:016x}.cwasm"))
    }

    /// Over the name too, so that an artifact is only good under the name it was written for.
    fn digest(&self, artifact: &[u8]) -> [u8; DIGEST_BYTES] {
        Sha256::new().chain_update(self.0.as_bytes()).chain_update(artifact).finalize().into()
    }
}

impl Cache {
    /// Makes `dir` where it is missing, and checks that nobody else can write there.
    pub(crate) fn open(dir: &Path) -> Result<Self, String> {
        let say = |reason: String| format!("the plugin cache \"{}\" {reason}, so nothing is cached", dir.display());
        make(dir).map_err(|error| say(format!("cannot be made: {error}")))?;
        let found = fs::symlink_metadata(dir).map_err(|error| say(format!("cannot be looked at: {error}")))?;
        if found.is_symlink() || !found.is_dir() {
            return Err(say("is not a directory of its own".to_owned()));
        }
        let ours = probe(dir).map_err(|error| say(format!("cannot be written: {error}")))?;
        if owner(&found) != owner(&ours) {
            return Err(say("belongs to another user".to_owned()));
        }
        if open_to_others(&found) {
            return Err(say("is open to other users; give it mode 700".to_owned()));
        }
        Ok(Self { dir: dir.to_owned(), owner: owner(&ours) })
    }

    /// The artifact under `key`, if there is one and it is what was written.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, String> {
        let path = self.dir.join(&key.0);
        let say = |reason: String| format!("cached \"{}\" {reason}, so it is compiled again", path.display());
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(say(format!("cannot be looked at: {error}"))),
            Ok(found) => found,
        };
        if !found.is_file() || owner(&found) != self.owner || open_to_others(&found) {
            return Err(say("is not a file of this user alone".to_owned()));
        }
        if found.len() > limits::PLUGIN_ARTIFACT_BYTES_MAX {
            return Err(say(format!("has {} bytes, too many", found.len())));
        }
        let mut bytes = Vec::new();
        let limit = limits::PLUGIN_ARTIFACT_BYTES_MAX;
        let read = File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        read.map_err(|error| say(format!("cannot be read: {error}")))?;
        match checked(key, bytes) {
            Some(artifact) => Ok(Some(artifact)),
            None => Err(say("was changed or damaged".to_owned())),
        }
    }

    /// Keeps `artifact` under `key`; a reader sees all of it or none.
    pub(crate) fn write(&self, key: &Key, artifact: &[u8]) -> Result<(), String> {
        let say = |error| format!("the plugin cache \"{}\" cannot be written: {error}", self.dir.display());
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
            // Already gone, or as unremovable as the directory is unwritable.
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(say)?;
        self.prune();
        Ok(())
    }

    /// Removes the oldest files past `limits::PLUGIN_ARTIFACTS_MAX`, and with them what a crash left behind.
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
            // Another process may have been faster.
            let _ = fs::remove_file(path);
        }
    }
}

/// The artifact in a file's `bytes`, if its digest is right.
fn checked(key: &Key, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let header = bytes.get(..HEADER_BYTES)?;
    let (magic, digest) = header.split_at(MAGIC.len());
    let artifact = bytes.get(HEADER_BYTES..)?;
    if magic != MAGIC || digest != key.digest(artifact) {
        return None;
    }
    bytes.drain(..HEADER_BYTES);
    Some(bytes)
}

/// A name in `dir` that no other thread or process uses.
fn temporary(dir: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    dir.join(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// What a new file in `dir` looks like; the file is gone again.
fn probe(dir: &Path) -> std::io::Result<Metadata> {
    let path = temporary(dir);
    let found = create(&path)?.metadata();
    fs::remove_file(&path)?;
    found
}

#[cfg(unix)]
fn make(dir: &Path) -> std::io::Result<()> {
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
fn make(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).create(dir)
}

#[cfg(not(unix))]
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Elsewhere the user's profile directory is private by its inherited access list, which std cannot read.
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
