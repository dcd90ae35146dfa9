//! A file beside another one that one process at a time holds, and that names that process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use firebox_contract::limits;

/// Bytes of the lock file before those that [`CompanionLock::has_room`] writes for a moment.
const HEAD_BYTES: u64 = 4_096;

/// A lock that ends with this value, and with the process however it ends.
#[derive(Debug)]
pub(crate) struct CompanionLock(File);

/// Why a file could not be locked.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody holds it: `process 1234`, or `another process` where that one did not write its number.
    Held(String),
    /// The lock file cannot be used.
    Io(io::Error),
}

impl CompanionLock {
    /// Locks `path` for this process alone, and writes this process's number into its lock file.
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

    /// Locks `path` beside others that share it.
    ///
    /// # Errors
    /// [`LockError`].
    pub(crate) fn shared(path: &Path) -> Result<Self, LockError> {
        let mut file = open(path)?;
        take(file.try_lock_shared(), &mut file)?;
        Ok(Self(file))
    }

    /// Writes some bytes and takes them back: whether there is room where the lock file is.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn has_room(&self) -> io::Result<()> {
        let mut file = &self.0;
        file.seek(SeekFrom::Start(HEAD_BYTES))?;
        let written = file.write_all(&[1; limits::STORAGE_PROBE_BYTES]);
        // Shorter always works; what it frees is for others.
        file.set_len(HEAD_BYTES)?;
        written
    }
}

/// The name of the companion of `path` that ends in `end`.
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

/// Who wrote its number into the file. The file is only read here, so whatever it holds, it is a number or nothing.
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
    fn one_holds_it_alone_and_is_named_and_several_share_it() {
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
