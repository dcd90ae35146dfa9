//! Keeps the cache below a size: the models that were not used for longest go first.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use firebox_contract::limits;

use super::remove::remove_file;
use super::scan::{CachedModel, names};
use super::{BlobLock, Cache};
use crate::error::HubError;
use crate::name::{ModelName, RepoName};

/// What [`Cache::shrink`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shrunk {
    /// The models that were removed, in this order.
    pub removed: Vec<ModelName>,
    /// Bytes of the cache before.
    pub before: u64,
    /// Bytes of the cache after.
    pub after: u64,
    /// Models that stay only because a process uses them.
    pub in_use: Vec<ModelName>,
}

/// A download that did not end.
struct Partial {
    repo: RepoName,
    tag: String,
    path: PathBuf,
    changed: SystemTime,
}

impl Cache {
    /// Bytes of all blobs, incomplete ones included.
    ///
    /// # Errors
    /// As [`Cache::models`].
    pub fn bytes(&self) -> Result<u64, HubError> {
        Ok(self.blobs()?.values().sum())
    }

    /// Removes what was not used for longest until at most `max` bytes are there. Models that a process uses stay.
    ///
    /// # Errors
    /// As [`Cache::models`]; `HubError::File` if a file cannot be removed.
    pub fn shrink(&self, max: u64) -> Result<Shrunk, HubError> {
        let before = self.bytes()?;
        let mut shrunk = Shrunk { before, after: before, ..Shrunk::default() };
        if before <= max {
            return Ok(shrunk);
        }
        self.remove_partials()?;
        shrunk.after = self.bytes()?;
        let mut models = self.models()?;
        models.sort_by_key(|model| model.used);
        for model in models {
            if shrunk.after <= max {
                break;
            }
            match self.remove(&model) {
                Ok(_) => shrunk.removed.push(model.name()),
                Err(HubError::Busy(_)) => shrunk.in_use.push(model.name()),
                Err(error) => return Err(error),
            }
            shrunk.after = self.bytes()?;
        }
        Ok(shrunk)
    }

    /// Every file among the blobs with its size, and files of snapshots that are no links.
    fn blobs(&self) -> Result<BTreeMap<PathBuf, u64>, HubError> {
        let mut blobs = BTreeMap::new();
        for repo in self.repos()? {
            let folder = self.repo(&repo).join("blobs");
            for name in names(&folder) {
                let path = folder.join(name);
                let bytes = fs::metadata(&path).map_or(0, |about| about.len());
                blobs.insert(fs::canonicalize(&path).unwrap_or(path), bytes);
            }
            for commit in names(&self.repo(&repo).join("snapshots")) {
                for file in self.snapshot_files(&repo, &commit) {
                    let path = fs::canonicalize(&file.full).unwrap_or(file.full);
                    blobs.insert(path, file.bytes);
                }
            }
        }
        Ok(blobs)
    }

    /// Removes downloads that no process continues and that are older than [`limits::HUB_INCOMPLETE_AGE`].
    fn remove_partials(&self) -> Result<(), HubError> {
        let now = SystemTime::now();
        for partial in self.partials()? {
            let age = now.duration_since(partial.changed).unwrap_or_default();
            if age < limits::HUB_INCOMPLETE_AGE {
                continue;
            }
            if let Some(_lock) = BlobLock::try_take(self, &partial.repo, &partial.tag)? {
                remove_file(&partial.path)?;
            }
        }
        Ok(())
    }

    fn partials(&self) -> Result<Vec<Partial>, HubError> {
        let mut partials = Vec::new();
        for repo in self.repos()? {
            let folder = self.repo(&repo).join("blobs");
            for name in names(&folder) {
                let Some(stem) = name.strip_suffix(".incomplete") else { continue };
                // Other tools add a random part.
                let tag = stem.split('.').next().unwrap_or_default().to_owned();
                let path = folder.join(&name);
                let changed =
                    fs::metadata(&path).and_then(|about| about.modified()).unwrap_or_else(|_| SystemTime::now());
                partials.push(Partial { repo: repo.clone(), tag, path, changed });
            }
        }
        Ok(partials)
    }

    /// The models of `name`: all of its repository without a revision and a choice.
    ///
    /// # Errors
    /// `HubError::NotFound` if there is none.
    pub fn matching(&self, name: &ModelName) -> Result<Vec<CachedModel>, HubError> {
        let commit = name.revision.as_deref().map(|revision| self.commit(&name.repo, revision));
        let fits = |model: &CachedModel| {
            let is_revision = commit.as_ref().is_none_or(|commit| commit.as_ref() == Some(&model.commit));
            model.repo == name.repo && is_revision && model.is(&name.choice)
        };
        let found: Vec<CachedModel> = self.models()?.into_iter().filter(fits).collect();
        if found.is_empty() {
            let root = self.root().display();
            let message = format!("\"{name}\" is not in the model cache \"{root}\"; firebox models list shows what is");
            return Err(HubError::NotFound(message));
        }
        Ok(found)
    }
}
