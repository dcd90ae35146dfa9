//! Removes models from the cache, but none that a process uses.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::scan::CachedModel;
use super::{BlobLock, Cache, lock};
use crate::error::HubError;
use crate::name::RepoName;

impl Cache {
    /// Removes a model: its names, and the blobs that no other snapshot has. Returns the bytes that this frees.
    ///
    /// # Errors
    /// `HubError::Busy` if a process uses or downloads it, which then keeps all of it; `HubError::File`.
    pub fn remove(&self, model: &CachedModel) -> Result<u64, HubError> {
        let mut locks = Vec::new();
        let mut blobs = Vec::new();
        for file in &model.files {
            let blob = fs::canonicalize(file).unwrap_or_else(|_| file.clone());
            if lock::is_in_use(&blob) {
                return Err(busy(model, "uses"));
            }
            // Two files of a model may be one blob.
            let tag = self.tag_of(&model.repo, &blob).filter(|_| !blobs.contains(&blob));
            if let Some(tag) = tag {
                // Who downloads has this lock while it gives the blob a name.
                locks.push(BlobLock::try_take(self, &model.repo, &tag)?.ok_or_else(|| busy(model, "downloads"))?);
                blobs.push(blob);
            }
        }
        let mut freed = 0;
        for file in &model.files {
            let is_link = fs::symlink_metadata(file).is_ok_and(|about| about.is_symlink());
            freed += if is_link { 0 } else { fs::metadata(file).map_or(0, |about| about.len()) };
            remove_file(file)?;
        }
        let still_named = self.named_blobs(&model.repo);
        for blob in blobs.iter().filter(|blob| !still_named.contains(blob)) {
            freed += fs::metadata(blob).map_or(0, |about| about.len());
            remove_file(blob)?;
        }
        self.remove_empty(&model.repo, &model.commit);
        drop(locks);
        Ok(freed)
    }

    /// The entity tag of a blob of `repo`; `None` for a file elsewhere.
    fn tag_of(&self, repo: &RepoName, blob: &Path) -> Option<String> {
        let folder = fs::canonicalize(self.repo(repo).join("blobs")).ok()?;
        let is_here = blob.parent() == Some(folder.as_path());
        Some(blob.file_name()?.to_str()?.to_owned()).filter(|_| is_here)
    }

    /// The blobs that snapshots of `repo` name.
    pub(super) fn named_blobs(&self, repo: &RepoName) -> Vec<PathBuf> {
        let commits = super::scan::names(&self.repo(repo).join("snapshots"));
        let files = commits.iter().flat_map(|commit| self.snapshot_files(repo, commit));
        files.filter_map(|file| fs::canonicalize(file.full).ok()).collect()
    }

    /// Removes the folders that a removal has left empty, and the refs to a snapshot that is gone.
    fn remove_empty(&self, repo: &RepoName, commit: &str) {
        let snapshot = self.snapshot(repo, commit);
        if self.snapshot_files(repo, commit).is_empty() {
            // Only links without blobs can be left there.
            let _busy = fs::remove_dir_all(&snapshot);
            for (name, at) in self.refs(repo) {
                if at == commit {
                    let _gone = fs::remove_file(self.repo(repo).join("refs").join(name));
                }
            }
        }
        let is_empty = |folder: &Path| fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        if is_empty(&self.repo(repo).join("snapshots")) && is_empty(&self.repo(repo).join("blobs")) {
            let _busy = fs::remove_dir_all(self.repo(repo));
            let _busy = fs::remove_dir_all(self.locks(repo));
        }
    }
}

fn busy(model: &CachedModel, verb: &str) -> HubError {
    HubError::Busy(format!("\"{}\" is not removed, because a process {verb} it; end that process first", model.name()))
}

pub(super) fn remove_file(path: &Path) -> Result<(), HubError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HubError::file("remove", path, error)),
        _ => Ok(()),
    }
}
