//! Reads a file that somebody else wrote: whole, up to a limit, and only if it is one. A device or a pipe has no end, and may
//! have no beginning either.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unread {
    /// A folder, a device, a pipe or a socket.
    #[error("it is not a file")]
    NotAFile,
    /// Longer than it may be.
    #[error("it has {bytes} bytes where {limit} are allowed")]
    TooLarge {
        /// Its size, in bytes; for one that grew while it was read, the bytes read so far.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// What the system said.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// The content of the file at `path`, if it has at most `limit` bytes. Links are followed; what is at their end is looked at once
/// it is open, so that it cannot be another one by then.
///
/// # Errors
/// `Unread` says why not.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Unread> {
    let file = open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Unread::NotAFile);
    }
    if found.len() > limit {
        return Err(Unread::TooLarge { bytes: found.len(), limit });
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Unread::TooLarge { bytes: bytes.len() as u64, limit });
    }
    Ok(bytes)
}

/// Opening a pipe waits for who writes to it, and opening a device may do something: not with this flag.
#[cfg(target_os = "linux")]
fn open(path: &Path) -> Result<File, Unread> {
    use std::os::unix::fs::OpenOptionsExt;
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?)
}

#[cfg(not(target_os = "linux"))]
fn open(path: &Path) -> Result<File, Unread> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(Unread::NotAFile);
    }
    Ok(OpenOptions::new().read(true).open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_a_bounded_length_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, b"12345").expect("written");
        assert_eq!(read(&path, 5).expect("read"), b"12345");
        assert!(matches!(read(&path, 4), Err(Unread::TooLarge { bytes: 5, limit: 4 })));
        assert!(matches!(read(dir.path(), 5), Err(Unread::NotAFile)));
        assert!(matches!(read(&dir.path().join("none"), 5), Err(Unread::System(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_a_pipe_and_links_to_them_end_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let [pipe, device, circle] = ["pipe", "device", "circle"].map(|name| dir.path().join(name));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        std::os::unix::fs::symlink("/dev/zero", &device).expect("linked");
        std::os::unix::fs::symlink(&circle, &circle).expect("linked");
        for path in [&pipe, &device] {
            assert!(matches!(read(path, 5), Err(Unread::NotAFile)), "{}", path.display());
        }
        assert!(matches!(read(&circle, 5), Err(Unread::System(_))));
    }
}
