//! What a download reports while it runs.

use std::time::Duration;

/// A step of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent<'a> {
    /// The files are known.
    Started {
        /// The commit of the revision.
        commit: &'a str,
        /// Their number.
        files: usize,
        /// Bytes of all.
        bytes: u64,
        /// Bytes that the cache has already.
        cached: u64,
    },
    /// A file is next.
    File {
        /// Its path in the repository.
        path: &'a str,
        /// Its size in bytes.
        bytes: u64,
    },
    /// Bytes arrived, or the check of a resumed file read them. After a file that began again the number is smaller.
    Bytes {
        /// Bytes of all files so far, those in the cache included.
        done: u64,
    },
    /// An attempt failed, and there will be another one.
    Retry {
        /// The failure.
        why: &'a str,
        /// The time until then.
        wait: Duration,
    },
    /// Another process downloads the file.
    Waiting {
        /// Its path in the repository.
        path: &'a str,
    },
    /// Something that the user should know.
    Note {
        /// One sentence.
        text: &'a str,
    },
}

/// Receives the steps of a download.
pub type Progress<'a> = &'a (dyn Fn(PullEvent<'_>) + Send + Sync);
