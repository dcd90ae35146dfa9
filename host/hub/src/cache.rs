//! The cache on disk, in the layout of Hugging Face's tools, so that both find what the other downloaded.
//!
//! ```text
//! models--org--name/blobs/DIGEST             the bytes of a file, named by the hub's entity tag
//! models--org--name/snapshots/COMMIT/PATH    a link to a blob
//! models--org--name/refs/REVISION            the commit of a branch or tag
//! .locks/models--org--name/DIGEST.lock       locked by the process that downloads the blob
//! ```
//!
//! A process that uses a blob has a shared lock on the blob itself. The time of last use is the blob's time of access.

mod lock;
pub(crate) mod remove;
pub(crate) mod scan;
pub(crate) mod shrink;
pub(crate) mod verify;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use firebox_contract::limits;

pub(crate) use self::lock::BlobLock;
pub use self::lock::InUse;
use crate::error::HubError;
use crate::name::{RepoName, is_id, is_revision};

/// The cache in one folder. The folder need not exist.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in the folder `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn repo(&self, repo: &RepoName) -> PathBuf {
        self.root.join(repo.folder())
    }

    /// The path of the bytes with this entity tag.
    pub(crate) fn blob(&self, repo: &RepoName, tag: &str) -> PathBuf {
        self.repo(repo).join("blobs").join(tag)
    }

    pub(crate) fn snapshot(&self, repo: &RepoName, commit: &str) -> PathBuf {
        self.repo(repo).join("snapshots").join(commit)
    }

    fn locks(&self, repo: &RepoName) -> PathBuf {
        self.root.join(".locks").join(repo.folder())
    }

    /// The commit of a revision: what its ref says, or the commit itself, which may be abbreviated to 7 digits.
    pub(crate) fn commit(&self, repo: &RepoName, revision: &str) -> Option<String> {
        const DIGITS_MIN: usize = 7;
        if let Some(commit) = read_id(&self.repo(repo).join("refs").join(revision)) {
            return Some(commit);
        }
        if revision.len() < DIGITS_MIN || !revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let entries = fs::read_dir(self.repo(repo).join("snapshots")).ok()?;
        let names = entries
            .take(limits::HUB_CACHE_FILES_MAX)
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut found: Vec<String> = names.filter(|name| is_id(name) && name.starts_with(revision)).collect();
        found.pop().filter(|_| found.is_empty())
    }

    /// Notes the commit of a revision. A revision that is the commit itself needs no note.
    ///
    /// # Errors
    /// `HubError::File`, `DiskFull`.
    pub(crate) fn write_ref(&self, repo: &RepoName, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit || !is_revision(revision) {
            return Ok(());
        }
        let path = self.repo(repo).join("refs").join(revision);
        let failed = |error| HubError::file("write", &path, error);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(failed)?;
        let mut file = tempfile::Builder::new().prefix(".ref-").tempfile_in(folder).map_err(failed)?;
        readable(file.path()).map_err(failed)?;
        file.write_all(commit.as_bytes()).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Gives a blob its name in a snapshot. A name that is there already is replaced.
    ///
    /// # Errors
    /// `HubError::File`, `DiskFull`.
    pub(crate) fn link(&self, repo: &RepoName, commit: &str, path: &str, tag: &str) -> Result<PathBuf, HubError> {
        let name = self.snapshot(repo, commit).join(path);
        let failed = |error| HubError::file("write", &name, error);
        let folder = name.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(failed)?;
        let up = path.split('/').count() + 1;
        let target = PathBuf::from(format!("{}blobs/{tag}", "../".repeat(up)));
        if fs::read_link(&name).is_ok_and(|found| found == target) {
            return Ok(name);
        }
        // Under another name first, so that the name is never missing.
        let temporary = tempfile::Builder::new().prefix(".link-").tempdir_in(folder).map_err(failed)?;
        let fresh = temporary.path().join("link");
        if symlink(&target, &fresh).is_err() {
            // Some file systems have no symbolic links.
            let blob = self.blob(repo, tag);
            fs::hard_link(&blob, &fresh).or_else(|_| fs::copy(&blob, &fresh).map(|_| ())).map_err(failed)?;
        }
        fs::rename(&fresh, &name).map_err(failed)?;
        Ok(name)
    }

    /// Bytes that are free for this user on the disk of the cache; `None` where the system does not say.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.root)
    }
}

/// The identifier in a file; `None` if there is none.
fn read_id(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(limits::HUB_NAME_BYTES_MAX as u64 + 2).read_to_string(&mut text).ok()?;
    let text = text.trim();
    is_id(text).then(|| text.to_owned())
}

#[cfg(unix)]
fn symlink(target: &Path, name: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, name)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _name: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Temporary files are readable by their owner only. The cache may be shared, so its files get the usual permissions.
#[cfg(unix)]
fn readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn free_bytes(path: &Path) -> Option<u64> {
    // The folder may not exist yet; its nearest parent has the same disk.
    let found = path.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        rustix::fs::statvfs(folder).ok()
    })?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_path: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests;
