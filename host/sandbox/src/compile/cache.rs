//! The cache of compiled components on disk. Loading compiled code means trusting it like the host's own code. So only this
//! user may have access to the directory, and every artifact ends with a digest that is checked before anything else. The digest
//! comes last, so that the file can be mapped into memory as it is.
//!
//! If the cache cannot be used, the component is compiled. So every function returns its problem as a warning.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use firebox_contract::limits;
use sha2::{Digest, Sha256};

/// The last bytes of an artifact's file. The digest precedes them.
const MAGIC: &[u8; 8] = b"FBXCWSM2";
const DIGEST_BYTES: usize = 32;
const TRAILER_BYTES: usize = DIGEST_BYTES + MAGIC.len();
/// Bytes that are read and hashed at a time.
const READ_BYTES: usize = 64 << 10;

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

    /// The hasher of an artifact. It begins with the name, so that an artifact is valid only under the name it was written for.
    fn hasher(&self) -> Sha256 {
        Sha256::new().chain_update(self.0.as_bytes())
    }
}

/// An artifact whose digest is correct.
#[derive(Debug)]
pub(super) struct Artifact {
    file: File,
    path: PathBuf,
}

impl Artifact {
    /// A path to the file that was checked, while this value lives. Another process may have put another file in its place since.
    pub(super) fn path(&self) -> PathBuf {
        opened(&self.file).filter(|path| path.exists()).unwrap_or_else(|| self.path.clone())
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
    pub(super) fn find(&self, key: &ArtifactKey) -> Result<Option<Artifact>, String> {
        let path = self.dir.join(&key.0);
        let warning = |reason: String| format!("cached \"{}\" {reason}, so it is compiled again", path.display());
        let unreadable = |error| warning(format!("cannot be read: {error}"));
        let is_ours = |found: &Metadata| found.is_file() && owner(found) == self.owner && !open_to_others(found);
        let not_ours = || warning("is not a file that only this user can access".to_owned());
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(warning(format!("cannot be inspected: {error}"))),
            Ok(found) if !is_ours(&found) => return Err(not_ours()),
            Ok(_) => {}
        }
        // Everything else is about the file that is open now, which is also the one that is loaded.
        let mut file = File::open(&path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if !is_ours(&found) {
            return Err(not_ours());
        }
        if found.len() > limits::PLUGIN_ARTIFACT_BYTES_MAX {
            return Err(warning(format!("is too large ({} bytes)", found.len())));
        }
        match is_intact(key, &mut file, found.len()) {
            Ok(true) => Ok(Some(Artifact { file, path })),
            Ok(false) => Err(warning("was changed or damaged".to_owned())),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// Stores `artifact` under `key`. A reader sees all of it or nothing.
    ///
    /// # Errors
    /// A warning, if the artifact is too large or cannot be written.
    pub(super) fn write(&self, key: &ArtifactKey, artifact: &[u8]) -> Result<(), String> {
        let warning = |error| format!("the plugin cache \"{}\" cannot be written: {error}", self.dir.display());
        if (artifact.len() + TRAILER_BYTES) as u64 > limits::PLUGIN_ARTIFACT_BYTES_MAX {
            return Err(format!("a compiled component of {} bytes is too large for the plugin cache", artifact.len()));
        }
        let temporary = temporary(&self.dir);
        let written = create(&temporary)
            .and_then(|mut file| {
                file.write_all(artifact)?;
                file.write_all(&key.hasher().chain_update(artifact).finalize())?;
                file.write_all(MAGIC)
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

/// Whether a file of `length` bytes ends with the digest of what precedes it.
fn is_intact(key: &ArtifactKey, file: &mut File, length: u64) -> std::io::Result<bool> {
    let Some(mut left) = length.checked_sub(TRAILER_BYTES as u64) else { return Ok(false) };
    let mut hasher = key.hasher();
    let mut buffer = vec![0; READ_BYTES];
    while left > 0 {
        let part = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut buffer[..part])?;
        hasher.update(&buffer[..part]);
        left -= part as u64;
    }
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact(&mut trailer)?;
    let (digest, magic) = trailer.split_at(DIGEST_BYTES);
    Ok(magic == MAGIC && *digest == *hasher.finalize())
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

/// The name of the open file itself, on systems that have one.
#[cfg(unix)]
fn opened(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    Some(PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd())))
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

#[cfg(not(unix))]
fn opened(_file: &File) -> Option<PathBuf> {
    None
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
