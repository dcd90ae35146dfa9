//! Downloads one file into the cache: under its lock, resumed where an earlier attempt ended, and checked before it gets its name.

mod transfer;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use firebox_contract::limits;

use self::transfer::Transfer;
use crate::cache::{BlobLock, Cache};
use crate::client::listing::RemoteFile;
use crate::client::{Client, pause};
use crate::error::{HubError, shown};
use crate::name::ModelName;
use crate::progress::{Progress, PullEvent};

/// A file to download.
#[derive(Clone, Copy)]
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) cache: &'a Cache,
    pub(crate) name: &'a ModelName,
    pub(crate) commit: &'a str,
    pub(crate) file: &'a RemoteFile,
    pub(crate) progress: Progress<'a>,
    /// Bytes of the files before this one.
    pub(crate) before: u64,
}

impl Download<'_> {
    /// Makes sure that the cache has the file under its name. Returns the bytes that came over the network.
    ///
    /// # Errors
    /// `HubError::Content` if the hub sends other bytes than it announced; the errors of the network and the disk.
    pub(crate) async fn fetch(&self) -> Result<u64, HubError> {
        let RemoteFile { path, size, tag, .. } = self.file;
        (self.progress)(PullEvent::File { path, bytes: *size });
        let _lock = self.lock().await?;
        let blob = self.cache.blob(&self.name.repo, tag);
        let received = if is_whole(&blob, *size) { 0 } else { self.receive(&blob).await? };
        (self.progress)(PullEvent::Bytes { done: self.before + size });
        self.cache.link(&self.name.repo, self.commit, path, tag)?;
        Ok(received)
    }

    /// Waits for the right to write the blob.
    async fn lock(&self) -> Result<BlobLock, HubError> {
        let partial = partial(&self.cache.blob(&self.name.repo, &self.file.tag));
        let length = || fs::metadata(&partial).map_or(0, |about| about.len());
        let (mut seen, mut changed, mut is_first) = (length(), Instant::now(), true);
        loop {
            if let Some(lock) = BlobLock::try_take(self.cache, &self.name.repo, &self.file.tag)? {
                return Ok(lock);
            }
            if std::mem::take(&mut is_first) {
                (self.progress)(PullEvent::Waiting { path: &self.file.path });
            }
            let now = length();
            if now != seen {
                (seen, changed) = (now, Instant::now());
            }
            if changed.elapsed() > limits::HUB_LOCK_IDLE_MAX {
                let path = shown(&self.file.path);
                let message = format!(
                    "another process has locked \"{path}\" in the model cache and does not download it; end it"
                );
                return Err(HubError::Busy(message));
            }
            tokio::time::sleep(limits::HUB_LOCK_PERIOD).await;
        }
    }

    /// Downloads the blob. Returns the bytes that came over the network.
    async fn receive(&self, blob: &Path) -> Result<u64, HubError> {
        let partial = partial(blob);
        let folder = blob.parent().unwrap_or(blob);
        fs::create_dir_all(folder).map_err(|error| HubError::file("write", folder, error))?;
        let (mut received, mut is_resumed) = (0, true);
        while is_resumed {
            let mut transfer = Transfer::open(*self, &partial)?;
            // What an earlier attempt left may be damaged, so a wrong digest has one more attempt from the start.
            is_resumed = transfer.is_resumed();
            self.transfer(&mut transfer).await?;
            received += transfer.received;
            match transfer.finish() {
                Ok(()) => {
                    fs::rename(&partial, blob).map_err(|error| HubError::file("write", blob, error))?;
                    return Ok(received);
                }
                Err(error) => {
                    fs::remove_file(&partial).map_err(|error| HubError::file("remove", &partial, error))?;
                    if !is_resumed {
                        return Err(error);
                    }
                }
            }
        }
        Ok(received)
    }

    /// Requests the file until all of it has arrived.
    async fn transfer(&self, transfer: &mut Transfer<'_>) -> Result<(), HubError> {
        let (mut failures, mut mark) = (0, transfer.written);
        while transfer.written < self.file.size || !transfer.is_started {
            let Err(fault) = transfer.attempt().await else { return Ok(()) };
            if transfer.written.saturating_sub(mark) >= limits::HUB_ATTEMPT_BYTES_MIN {
                failures = 0;
            }
            mark = transfer.written;
            failures += 1;
            pause(fault, failures, &self.client.settings, self.progress).await?;
        }
        Ok(())
    }
}

/// Whether the blob has the size that the hub names. Its digest was checked before it got its name.
pub(crate) fn is_whole(blob: &Path, size: u64) -> bool {
    fs::metadata(blob).is_ok_and(|about| about.is_file() && about.len() == size)
}

/// The file that a download writes until it is whole.
pub(crate) fn partial(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(".incomplete");
    PathBuf::from(name)
}
