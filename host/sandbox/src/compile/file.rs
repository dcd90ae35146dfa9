//! Reads an untrusted file: whole, up to a size limit, and only if it is a regular file. Reading a device or a pipe might
//! never end, or never start.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A folder, a device, a pipe or a socket.
    #[error("it is not a file")]
    NotAFile,
    /// Longer than the limit.
    #[error("it has {bytes} bytes; at most {limit} are allowed")]
    TooLarge {
        /// The file's size, in bytes. If the file grew while it was read, the bytes read until then.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The system's error.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// The content of the file at `path`, if it has at most `limit` bytes. Links are followed. The target is checked after it
/// is opened, so that another process cannot exchange it in between.
///
/// # Errors
/// `ReadError` if the path is not a regular file, is too large, or cannot be read.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    if metadata.len() > limit {
        return Err(ReadError::TooLarge { bytes: metadata.len(), limit });
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge { bytes: bytes.len() as u64, limit });
    }
    Ok(bytes)
}

/// Opens without blocking: opening a pipe would otherwise wait for a writer, and opening a terminal might make it the
/// controlling terminal.
#[cfg(target_os = "linux")]
fn open(path: &Path) -> Result<File, ReadError> {
    use std::os::unix::fs::OpenOptionsExt;
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?)
}

#[cfg(not(target_os = "linux"))]
fn open(path: &Path) -> Result<File, ReadError> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    Ok(OpenOptions::new().read(true).open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_up_to_the_size_limit_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, b"12345").expect("written");
        assert_eq!(read(&path, 5).expect("read"), b"12345");
        assert!(matches!(read(&path, 4), Err(ReadError::TooLarge { bytes: 5, limit: 4 })));
        assert!(matches!(read(dir.path(), 5), Err(ReadError::NotAFile)));
        assert!(matches!(read(&dir.path().join("none"), 5), Err(ReadError::System(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_a_pipe_and_a_circle_of_links_are_refused_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let [pipe, device, circle] = ["pipe", "device", "circle"].map(|name| dir.path().join(name));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        std::os::unix::fs::symlink("/dev/zero", &device).expect("linked");
        std::os::unix::fs::symlink(&circle, &circle).expect("linked");
        for path in [&pipe, &device] {
            assert!(matches!(read(path, 5), Err(ReadError::NotAFile)), "{}", path.display());
        }
        assert!(matches!(read(&circle, 5), Err(ReadError::System(_))));
    }
}
