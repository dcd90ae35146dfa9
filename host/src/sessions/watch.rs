//! Whether the file is still the one that was opened and can be written; and room that is kept for deleting.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use firebox_contract::limits;

use super::error::SessionError;
use crate::system::file_lock::{CompanionLock, LockError, companion};

/// The first bytes of every SQLite file.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The end of the name of the file that keeps room on the disk for deleting.
const RESERVE_END: &str = ".reserve";

/// Looks after the file of a store.
pub(super) struct Watch {
    path: PathBuf,
    /// The files that must stay what they are, with what tells them from others of the same name.
    identities: Vec<(PathBuf, Identity)>,
    /// Open for as long as the store is: closing any handle of the file would end SQLite's own locks on it.
    file: Option<File>,
    /// `None` for a store in memory.
    lock: Option<CompanionLock>,
    /// Whether this is the store of a server, which keeps room for deleting.
    alone: bool,
    state: Mutex<State>,
}

/// What tells a file from another one: its device and number there.
type Identity = Option<(u64, u64)>;

#[derive(Default)]
struct State {
    /// The file is not what it was: nothing is read or written any more.
    lost: Option<SessionError>,
    /// What the last change failed with, where that was not the caller's doing.
    failing: Option<SessionError>,
}

impl Watch {
    /// Of a store in memory.
    pub(super) fn of_memory() -> Self {
        let (path, state) = (PathBuf::from(":memory:"), Mutex::default());
        Self { path, identities: Vec::new(), file: None, lock: None, alone: false, state }
    }

    /// Locks the file at `path`, `alone` for a server, and opens a handle of it. It must be there.
    pub(super) fn lock(path: &Path, alone: bool) -> Result<Self, SessionError> {
        let locked = if alone { CompanionLock::alone(path) } else { CompanionLock::shared(path) };
        let lock = locked.map_err(|error| match error {
            LockError::Held(who) => SessionError::InUse { path: path.to_owned(), who },
            LockError::Io(error) => SessionError::io(&error, path),
        })?;
        let file = File::open(path).map_err(|error| SessionError::io(&error, path))?;
        let (path, state) = (path.to_owned(), Mutex::default());
        Ok(Self { path, identities: Vec::new(), file: Some(file), lock: Some(lock), alone, state })
    }

    /// The file was opened: from here on it must stay the same.
    pub(super) fn begin(&mut self) {
        for path in [self.path.clone(), companion(&self.path, "-wal")] {
            let identity = identity(&path);
            if identity.is_some() {
                self.identities.push((path, identity));
            }
        }
        if self.alone {
            self.keep_room();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asked before every statement: whether the file is what it was.
    ///
    /// # Errors
    /// `SessionError::Gone` and `SessionError::Damaged`; always, once one was found.
    pub(super) fn check(&self) -> Result<(), SessionError> {
        if let Some(lost) = &self.state().lost {
            return Err(lost.clone());
        }
        if self.identities.iter().any(|(path, before)| identity(path) != *before) {
            return Err(self.lost(SessionError::Gone { path: self.path.clone() }));
        }
        if let Some(file) = &self.file
            && !begins_well(file)
        {
            let reason = "its first bytes are not those of a database".to_owned();
            return Err(self.lost(SessionError::Damaged { path: self.path.clone(), reason }));
        }
        Ok(())
    }

    /// Asked before a change that takes room, given the bytes of the file that nothing uses: some is kept for deleting.
    ///
    /// # Errors
    /// `SessionError::Full`.
    pub(super) fn check_room(&self, unused: impl FnOnce() -> u64) -> Result<(), SessionError> {
        if !self.alone || self.has_room() || unused() >= reserve(&self.path) {
            return Ok(());
        }
        let full = SessionError::Full { path: self.path.clone() };
        self.ended(Err(&full));
        Err(full)
    }

    /// Remembers how a change ended.
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

    /// Nothing is read or written any more: what is there may be what somebody put there, and must stay.
    pub(super) fn lost(&self, error: SessionError) -> SessionError {
        let mut state = self.state();
        if state.lost.is_none() {
            tracing::error!(%error, "sessions are refused until the host starts again with a good file");
            state.lost = Some(error.clone());
        }
        error
    }

    /// What keeps the store from working, if anything.
    pub(super) fn trouble(&self) -> Option<SessionError> {
        let state = self.state();
        state.lost.clone().or_else(|| state.failing.clone())
    }

    /// Looks whether there is room, and keeps some for deleting again.
    pub(super) fn probe(&self) -> Result<(), SessionError> {
        self.check()?;
        if !self.alone {
            return Ok(());
        }
        let tried = self.lock.as_ref().map_or(Ok(()), CompanionLock::has_room);
        self.keep_room();
        tried.map_err(|error| SessionError::io(&error, &self.path))
    }

    /// Gives the room that is kept to who deletes.
    pub(super) fn use_room(&self) {
        // Where there is none, there is nothing to give.
        let _none = std::fs::remove_file(companion(&self.path, RESERVE_END));
    }

    /// Takes room on the disk, where there is enough and none is taken.
    fn keep_room(&self) {
        let path = companion(&self.path, RESERVE_END);
        let wanted = reserve(&self.path) / 2;
        if std::fs::metadata(&path).is_ok_and(|about| about.len() == wanted) || !self.has_room() {
            return;
        }
        if let Err(error) = fill(&path, wanted) {
            tracing::warn!(%error, "no room could be kept for deleting sessions on a full disk");
            self.use_room();
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
        std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
    }
    #[cfg(not(unix))]
    {
        std::fs::metadata(path).ok().map(|_| (0, 0))
    }
}

/// Reads where it stands in no file of SQLite's: a handle of its own has a place of its own.
fn begins_well(file: &File) -> bool {
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

/// A file of `length` bytes that take room.
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

/// Bytes that are kept free on the disk of `path` for deleting: less on a small disk.
fn reserve(path: &Path) -> u64 {
    limits::SESSIONS_DISK_RESERVE_BYTES.min(size(path).unwrap_or(u64::MAX) / 16)
}

#[cfg(unix)]
fn disk(path: &Path) -> Option<rustix::fs::StatVfs> {
    rustix::fs::statvfs(path).ok()
}

/// Bytes this process may still write on the disk of `path`, where that can be known.
fn free(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return disk(path).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    None
}

fn size(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return disk(path).map(|disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    None
}
