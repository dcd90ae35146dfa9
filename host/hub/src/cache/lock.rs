//! Locks between processes: one process downloads a blob, and no process removes a blob that another one uses.

use std::fs::{self, File, FileTimes, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Cache;
use crate::error::HubError;
use crate::name::RepoName;

/// The right to write or remove one blob. It ends when this value is dropped or the process ends. Hugging Face's tools respect it.
#[derive(Debug)]
pub(crate) struct BlobLock {
    _file: File,
}

impl BlobLock {
    /// Takes the lock of the blob `tag`; `None` if another process has it.
    ///
    /// # Errors
    /// `HubError::File` if the lock's file cannot be used.
    pub(crate) fn try_take(cache: &Cache, repo: &RepoName, tag: &str) -> Result<Option<Self>, HubError> {
        let path = cache.locks(repo).join(format!("{tag}.lock"));
        let failed = |error| HubError::file("lock", &path, error);
        fs::create_dir_all(cache.locks(repo)).map_err(failed)?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Blobs that this process uses: no Firebox process removes them as long as this value lives.
#[derive(Debug, Default)]
pub struct InUse(Vec<File>);

impl InUse {
    /// Marks the blobs behind `paths` as in use, and as used now. Without permission to do so, a blob stays unmarked.
    #[must_use]
    pub fn mark(paths: &[PathBuf]) -> Self {
        Self(paths.iter().filter_map(|path| mark(path)).collect())
    }

    /// The number of blobs that are marked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is marked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn mark(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    // The time of access is the time of last use. A file of another user keeps the one it has.
    let _of_another_user = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
    file.try_lock_shared().ok()?;
    Some(file)
}

/// Whether a process has marked the blob as in use.
pub(super) fn is_in_use(blob: &Path) -> bool {
    File::open(blob).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}
