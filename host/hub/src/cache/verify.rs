//! Compares the files of the cache with the digests in their names.

use std::fs::{self, File};
use std::path::PathBuf;

use super::Cache;
use super::scan::CachedModel;
use crate::digest::{Expected, Hasher};
use crate::error::HubError;

/// What a check of one file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobState {
    /// Its bytes are those that the hub named.
    Good,
    /// Its bytes have this digest instead.
    Damaged(String),
    /// The hub named no digest.
    Unknown,
}

/// One checked file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its path in the snapshot.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The result.
    pub state: BlobState,
}

impl Cache {
    /// Reads all files of a model. `progress` gets the bytes read so far.
    ///
    /// # Errors
    /// `HubError::File` if a file cannot be read.
    pub fn verify(&self, model: &CachedModel, mut progress: impl FnMut(u64)) -> Result<Vec<Checked>, HubError> {
        let mut done = 0;
        let mut checked = Vec::new();
        for path in &model.files {
            let failed = |error| HubError::file("read", path, error);
            let blob = fs::canonicalize(path).map_err(failed)?;
            let tag = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let expected = Expected::of_tag(tag);
            let mut file = File::open(&blob).map_err(failed)?;
            let bytes = file.metadata().map_err(failed)?.len();
            let mut hasher = Hasher::new(&expected, bytes);
            if expected != Expected::Size {
                hasher.update_from(&mut file, |read| progress(done + read)).map_err(failed)?;
            }
            done += bytes;
            let state = match hasher.check(&expected) {
                Err(found) => BlobState::Damaged(found),
                Ok(()) if expected == Expected::Size => BlobState::Unknown,
                Ok(()) => BlobState::Good,
            };
            checked.push(Checked { path: path.clone(), bytes, state });
        }
        Ok(checked)
    }
}
