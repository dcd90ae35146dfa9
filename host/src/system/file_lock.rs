//! A lock file next to another file. It holds the id of the process that has the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use firebox_contract::limits;

/// The part of the lock file before the bytes that [`CompanionLock::has_room`] writes.
const HEAD_BYTES: u64 = 4_096;

/// A lock. It ends when this value is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct CompanionLock(File);

/// Why a file could not be locked.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has the lock: `process 1234`, or `another process` if its id is not known.
    Held(String),
    /// The lock file cannot be used.
    Io(io::Error),
}

impl CompanionLock {
    /// Locks `path` for this process alone, and writes its id into the lock file.
    ///
    /// # Errors
    /// [`LockError`].
    pub(crate) fn alone(path: &Path) -> Result<Self, LockError> {
        let mut file = open(path)?;
        take(file.try_lock(), &mut file)?;
        let written = file.set_len(0).and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
        written.map_err(LockError::Io)?;
        Ok(Self(file))
    }

    /// Locks `path` together with other processes that share it.
    ///
    /// # Errors
    /// [`LockError`].
    pub(crate) fn shared(path: &Path) -> Result<Self, LockError> {
        let mut file = open(path)?;
        take(file.try_lock_shared(), &mut file)?;
        Ok(Self(file))
    }

    /// Tests for free disk space: writes some bytes to the lock file and removes them.
    ///
    /// # Errors
    /// The error of the system, such as a full disk.
    pub(crate) fn has_room(&self) -> io::Result<()> {
        let mut file = &self.0;
        file.seek(SeekFrom::Start(HEAD_BYTES))?;
        let written = file.write_all(&[1; limits::STORAGE_PROBE_BYTES]);
        // Truncating works on a full disk too.
        file.set_len(HEAD_BYTES)?;
        written
    }
}

/// The path of the file next to `path` with the suffix `end`.
pub(crate) fn companion(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn open(path: &Path) -> Result<File, LockError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(companion(path, ".lock")).map_err(LockError::Io)
}

fn take(locked: Result<(), TryLockError>, file: &mut File) -> Result<(), LockError> {
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(LockError::Held(holder(file))),
        Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
    }
}

/// The process whose id is in the file. Any other content counts as no id.
fn holder(file: &mut File) -> String {
    const DIGITS_MAX: u64 = 20;
    let mut text = String::new();
    let read = file.take(DIGITS_MAX).read_to_string(&mut text);
    let pid = read.ok().and_then(|_| text.lines().next()?.trim().parse::<u32>().ok());
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_the_lock_alone_or_several_share_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("s.db");
        let held = CompanionLock::alone(&path).expect("free");
        let words = format!("process {}", std::process::id());
        for second in [CompanionLock::alone(&path), CompanionLock::shared(&path)] {
            assert!(matches!(&second, Err(LockError::Held(who)) if *who == words), "{second:?}");
        }
        held.has_room().expect("there is room");
        assert!(std::fs::metadata(companion(&path, ".lock")).expect("there").len() <= HEAD_BYTES);
        assert!(matches!(CompanionLock::alone(&path), Err(LockError::Held(who)) if who == words), "and still named");
        drop(held);
        let shared = CompanionLock::shared(&path).expect("free again");
        let _beside = CompanionLock::shared(&path).expect("shared");
        assert!(matches!(CompanionLock::alone(&path), Err(LockError::Held(_))));
        drop(shared);
    }
}
