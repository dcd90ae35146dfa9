//! What can go wrong with sessions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use firebox_contract::Error;
use rusqlite::ErrorCode;

/// Why a session could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The tenant has no such session or message; it may be another's, or have expired.
    #[error("{0}")]
    NotFound(String),
    /// Somebody else went on with the session first.
    #[error(
        "the session has {found} messages where {expected} were expected: it was continued elsewhere; read it again, or fork it"
    )]
    Conflict {
        /// Messages the caller thought there were.
        expected: u64,
        /// Messages there are.
        found: u64,
    },
    /// The tenant has as many sessions as it may have.
    #[error("{limit} sessions are kept and no more are allowed; delete one")]
    TooMany {
        /// Sessions it may have.
        limit: usize,
        /// When the first of them expires; long where none does.
        retry_after: Duration,
    },
    /// The session would grow beyond its limits.
    #[error("{0}")]
    TooLarge(String),
    /// What was exported could not be written.
    #[error("cannot write the session: {0}; check that there is room and that the reader still runs")]
    Output(String),
    /// What is asked for cannot be meant.
    #[error("{0}")]
    Invalid(String),
    /// The file is not a whole database. It was left as it is.
    #[error("the session file \"{}\" is damaged ({reason}); it was left as it is: restore a copy, or set it aside", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// Another process uses the file.
    #[error("the session file \"{}\" is in use by {who}; end it, or give each server a file of its own", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// The process.
        who: String,
    },
    /// The file was taken away or replaced while it was open. Nothing is written any more.
    #[error("the session file \"{}\" was deleted or replaced while it was used; put it back and start again", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The tenant's sessions would have more bytes than its share of the file.
    #[error("all sessions together would have {bytes} bytes where {limit} are allowed; delete one")]
    ShareFull {
        /// Bytes they would have.
        bytes: u64,
        /// Bytes they may have.
        limit: u64,
        /// When the first of them expires; long where none does.
        retry_after: Duration,
    },
    /// The file belongs to another program or a newer Firebox. It was left as it is.
    #[error("the session file \"{}\" {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is, and the remedy.
        reason: String,
    },
    /// There is no room: the disk, or the limit on the file. What was stored before stays.
    #[error("there is no room left in the session file \"{}\": free space on its disk, or delete sessions", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The system did not let the file be read or written. What was stored before stays.
    #[error("cannot use the session file \"{}\": {reason}; check the path, its permissions and its disk", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite said.
        reason: String,
    },
}

impl SessionError {
    /// What a failed statement on the file at `path` means.
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

    /// Whether the store as a whole cannot be used, which is the operator's to mend and no client's fault.
    #[must_use]
    pub fn is_of_the_store(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Gone { .. } | Self::InUse { .. } | Self::Foreign { .. } | Self::Storage { .. }
        )
    }

    /// As [`SessionError::of`], for a failure of the system.
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
