//! Errors of sessions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use firebox_contract::Error;
use rusqlite::ErrorCode;

/// An error of a session or of the session file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The tenant has no such session or message. It may belong to another tenant, or be expired.
    #[error("{0}")]
    NotFound(String),
    /// Another request changed the session first.
    #[error(
        "the session has {found} messages instead of {expected}: another request continued it; read it again, or fork it"
    )]
    Conflict {
        /// The number of messages that the caller expected.
        expected: u64,
        /// The number of messages.
        found: u64,
    },
    /// The tenant has its maximum number of sessions.
    #[error("the maximum of {limit} sessions is reached; delete one")]
    TooMany {
        /// The maximum number of sessions.
        limit: usize,
        /// The time until the first session expires; a day if none does.
        retry_after: Duration,
    },
    /// The session would exceed its limits.
    #[error("{0}")]
    TooLarge(String),
    /// An exported session could not be written.
    #[error("cannot write the session: {0}; check the disk space, or the program that reads the output")]
    Output(String),
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The file is not an intact database. It was not changed.
    #[error("the session file \"{}\" is damaged ({reason}) and was not changed; restore a backup, or rename the file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's message.
        reason: String,
    },
    /// Another process uses the file.
    #[error("the session file \"{}\" is in use by {who}; end that process, or give each server its own file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// The process.
        who: String,
    },
    /// The file was deleted or replaced while it was open. It is not written any more.
    #[error("the session file \"{}\" was deleted or replaced while it was in use; restore it and restart", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The tenant's sessions would exceed its share of the file.
    #[error("all sessions together would have {bytes} bytes, and {limit} are allowed; delete one")]
    ShareFull {
        /// The bytes that they would have.
        bytes: u64,
        /// The maximum bytes.
        limit: u64,
        /// The time until the first session expires; a day if none does.
        retry_after: Duration,
    },
    /// The file belongs to another program or to a newer Firebox. It was not changed.
    #[error("the session file \"{}\" {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The owner of the file, and the remedy.
        reason: String,
    },
    /// The disk or the file is full. Stored sessions are unchanged.
    #[error("the session file \"{}\" is full; free space on its disk, or delete sessions", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The system could not read or write the file. Stored sessions are unchanged.
    #[error("cannot use the session file \"{}\": {reason}; check the path, its permissions and its disk", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// The message of the system or of SQLite.
        reason: String,
    },
}

impl SessionError {
    /// The error of a failed statement on the file at `path`.
    pub(super) fn of(error: rusqlite::Error, path: &Path) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, reason: error.to_string() }
            }
            _ => Self::Storage { path, reason: error.to_string() },
        }
    }

    /// Whether the file as a whole cannot be used. The operator must fix it.
    #[must_use]
    pub fn is_of_the_store(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Gone { .. } | Self::InUse { .. } | Self::Foreign { .. } | Self::Storage { .. }
        )
    }

    /// The error of a failed call of the system on the file at `path`.
    pub(super) fn io(error: &std::io::Error, path: &Path) -> Self {
        let path = path.to_owned();
        match error.kind() {
            std::io::ErrorKind::StorageFull => Self::Full { path },
            _ => Self::Storage { path, reason: error.to_string() },
        }
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        let message = error.to_string();
        match error {
            SessionError::NotFound(_) => Self::NotFound(message),
            SessionError::Conflict { .. } | SessionError::Invalid(_) => Self::Usage(message),
            SessionError::TooMany { retry_after, .. } | SessionError::ShareFull { retry_after, .. } => {
                Self::Limited { message, retry_after }
            }
            SessionError::TooLarge(_) => Self::TooLarge(message),
            // It passes once there is room, and the path is nothing for the clients of a server.
            SessionError::Full { .. } => Self::Unavailable(
                "there is no room left for sessions: free space on the disk of their file, or delete some".to_owned(),
            ),
            SessionError::Damaged { .. }
            | SessionError::InUse { .. }
            | SessionError::Gone { .. }
            | SessionError::Output(_)
            | SessionError::Foreign { .. }
            | SessionError::Storage { .. } => Self::Internal(message),
        }
    }
}
