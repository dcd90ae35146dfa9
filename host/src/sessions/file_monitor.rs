//! The state of the session file: whether it is still the file that was opened and can be written. Also reserves disk space
//! for deleting.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use firebox_contract::limits;

use super::error::SessionError;
use crate::system::file_lock::{CompanionLock, LockError, companion};

/// The first bytes of every SQLite file.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The suffix of the file that reserves disk space for deleting.
const RESERVE_SUFFIX: &str = ".reserve";

/// Monitors the file of a store.
pub(super) struct FileMonitor {
    path: PathBuf,
    /// The files that must not be replaced, and their identities.
    identities: Vec<(PathBuf, Identity)>,
    /// Open as long as the store, since closing any handle of the file would release SQLite's locks on it.
    file: Option<File>,
    /// `None` for a store in memory.
    lock: Option<CompanionLock>,
    /// Whether the store is a server's, which reserves space for deleting.
    is_server: bool,
    state: Mutex<FileHealth>,
}

/// The identity of a file: its device and inode.
type Identity = Option<(u64, u64)>;

#[derive(Default)]
struct FileHealth {
    /// The file was replaced or damaged. It is not read or written any more.
    lost: Option<SessionError>,
    /// The error of the last change, if the file caused it.
    failing: Option<SessionError>,
}

impl FileMonitor {
    /// The monitor of a store in memory.
    pub(super) fn of_memory() -> Self {
        let (path, state) = (PathBuf::from(":memory:"), Mutex::default());
        Self { path, identities: Vec::new(), file: None, lock: None, is_server: false, state }
    }

    /// Locks the existing file at `path`, exclusively if `alone`, and opens a handle of it.
    pub(super) fn lock(path: &Path, alone: bool) -> Result<Self, SessionError> {
        let locked = if alone { CompanionLock::alone(path) } else { CompanionLock::shared(path) };
        let lock = locked.map_err(|error| match error {
            LockError::Held(who) => SessionError::InUse { path: path.to_owned(), who },
            LockError::Io(error) => SessionError::io(&error, path),
        })?;
        let file = File::open(path).map_err(|error| SessionError::io(&error, path))?;
        let (path, state) = (path.to_owned(), Mutex::default());
        Ok(Self { path, identities: Vec::new(), file: Some(file), lock: Some(lock), is_server: alone, state })
    }

    /// Begins to monitor: from now on the file must not be replaced.
    pub(super) fn begin(&mut self) {
        for path in [self.path.clone(), companion(&self.path, "-wal")] {
            let identity = identity(&path);
            if identity.is_some() {
                self.identities.push((path, identity));
            }
        }
        if self.is_server {
            self.reserve_space();
        }
    }

    fn state(&self) -> MutexGuard<'_, FileHealth> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks before every statement that the file was not replaced or damaged.
    ///
    /// # Errors
    /// `SessionError::Gone` and `SessionError::Damaged`. After the first error, every check fails.
    pub(super) fn check(&self) -> Result<(), SessionError> {
        if let Some(lost) = &self.state().lost {
            return Err(lost.clone());
        }
        if self.identities.iter().any(|(path, before)| identity(path) != *before) {
            return Err(self.lost(SessionError::Gone { path: self.path.clone() }));
        }
        if let Some(file) = &self.file
            && !begins_as_database(file)
        {
            let reason = "it does not begin as a database".to_owned();
            return Err(self.lost(SessionError::Damaged { path: self.path.clone(), reason }));
        }
        Ok(())
    }

    /// Checks before a change that there is disk space in addition to the reserve. `unused` returns the free bytes inside the
    /// file.
    ///
    /// # Errors
    /// `SessionError::Full`.
    pub(super) fn check_room(&self, unused: impl FnOnce() -> u64) -> Result<(), SessionError> {
        if !self.is_server || self.has_room() || unused() >= reserve(&self.path) {
            return Ok(());
        }
        let full = SessionError::Full { path: self.path.clone() };
        self.ended(Err(&full));
        Err(full)
    }

    /// Records the result of a change.
    pub(super) fn ended(&self, outcome: Result<(), &SessionError>) {
        match outcome {
            Ok(()) => self.state().failing = None,
            Err(error @ SessionError::Damaged { .. }) => drop(self.lost(error.clone())),
            Err(error @ (SessionError::Full { .. } | SessionError::Storage { .. })) => {
                let before = self.state().failing.replace(error.clone());
                if before.is_none() {
                    tracing::error!(%error, "the session file cannot be written");
                }
            }
            Err(_) => {}
        }
    }

    /// Stops all use of the file, which may belong to another program now.
    pub(super) fn lost(&self, error: SessionError) -> SessionError {
        let mut state = self.state();
        if state.lost.is_none() {
            tracing::error!(%error, "the session file is not used until the server restarts with an intact file");
            state.lost = Some(error.clone());
        }
        error
    }

    /// The reason why the store cannot be used now, if any.
    pub(super) fn trouble(&self) -> Option<SessionError> {
        let state = self.state();
        state.lost.clone().or_else(|| state.failing.clone())
    }

    /// Checks that there is disk space, and reserves some for deleting.
    pub(super) fn probe(&self) -> Result<(), SessionError> {
        self.check()?;
        if !self.is_server {
            return Ok(());
        }
        let tried = self.lock.as_ref().map_or(Ok(()), CompanionLock::has_room);
        self.reserve_space();
        tried.map_err(|error| SessionError::io(&error, &self.path))
    }

    /// Releases the reserved space, for deleting.
    pub(super) fn release_reserve(&self) {
        // The removal fails if nothing is reserved.
        let _removed = std::fs::remove_file(companion(&self.path, RESERVE_SUFFIX));
    }

    /// Reserves disk space, if there is enough and none is reserved.
    fn reserve_space(&self) {
        let path = companion(&self.path, RESERVE_SUFFIX);
        let wanted = reserve(&self.path) / 2;
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == wanted) || !self.has_room() {
            return;
        }
        if let Err(error) = fill(&path, wanted) {
            tracing::warn!(%error, "no disk space could be reserved for deleting sessions");
            self.release_reserve();
        }
    }

    fn has_room(&self) -> bool {
        free(&self.path).is_none_or(|free| free >= reserve(&self.path))
    }
}

fn identity(path: &Path) -> Identity {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        std::fs::metadata(path).ok().map(|_| (0, 0))
    }
}

/// Whether the file begins with SQLite's magic bytes. Reads with a handle of its own, which does not move SQLite's.
fn begins_as_database(file: &File) -> bool {
    let mut bytes = [0; MAGIC.len()];
    #[cfg(unix)]
    let read = std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0);
    #[cfg(not(unix))]
    let read = {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let mut file = file;
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_exact(&mut bytes))
    };
    read.is_ok() && bytes == *MAGIC
}

/// Writes a file of `length` bytes that are not zero, so that it takes disk space.
fn fill(path: &Path, length: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let block = vec![1; 64 * 1_024];
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    file.sync_all()
}

/// The bytes to reserve on the disk of `path`. Less on a small disk.
fn reserve(path: &Path) -> u64 {
    limits::SESSIONS_DISK_RESERVE_BYTES.min(size(path).unwrap_or(u64::MAX) / 16)
}

#[cfg(unix)]
fn disk(path: &Path) -> Option<rustix::fs::StatVfs> {
    rustix::fs::statvfs(path).ok()
}

/// The free bytes on the disk of `path`, if known.
fn free(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return disk(path).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    None
}

/// The size of the disk of `path` in bytes, if known.
fn size(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return disk(path).map(|disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    None
}
