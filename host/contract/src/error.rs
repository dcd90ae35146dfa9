//! The shared error type, and the table that maps its kinds to exit codes and HTTP statuses.

pub mod fault;
pub mod panic;

use std::time::Duration;

use self::fault::Fault;

/// The ways in which a request can fail. Every error of every crate maps to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The command line, configuration or request is invalid.
    Usage,
    /// The model, its files or its device failed.
    Model,
    /// The API key is missing, unknown or not valid any more.
    Unauthorized,
    /// The caller is known but may not do this.
    Denied,
    /// A plugin or a content rule refused the request.
    Refused,
    /// The resource does not exist for this caller.
    NotFound,
    /// The request exceeds a fixed limit of the context, bytes or messages. A retry fails too.
    TooLarge,
    /// A rate limit, a quota or a busy resource refused the request for now. A later retry may succeed.
    Limited,
    /// The request's own time was up.
    Timeout,
    /// The host, or a part of it that the request needs, is not available now.
    Unavailable,
    /// A plugin exceeded a limit, trapped or cannot be loaded.
    PluginFault,
    /// The caller stopped the request.
    Interrupted,
    /// Firebox itself or the machine failed, for example a full disk.
    Internal,
}

/// `(kind, exit code, HTTP status, stable code)` of every kind.
pub const ERROR_KINDS: &[(ErrorKind, u8, u16, &str)] = &[
    (ErrorKind::Usage, 2, 400, "invalid_request"),
    (ErrorKind::Model, 3, 500, "model_error"),
    (ErrorKind::Unauthorized, 4, 401, "unauthorized"),
    (ErrorKind::Denied, 4, 403, "denied"),
    (ErrorKind::Refused, 4, 403, "refused"),
    (ErrorKind::NotFound, 2, 404, "not_found"),
    (ErrorKind::TooLarge, 4, 400, "too_large"),
    (ErrorKind::Limited, 4, 429, "rate_limited"),
    (ErrorKind::Timeout, 4, 504, "timeout"),
    (ErrorKind::Unavailable, 3, 503, "unavailable"),
    (ErrorKind::PluginFault, 5, 502, "plugin_fault"),
    (ErrorKind::Interrupted, 130, 499, "interrupted"),
    (ErrorKind::Internal, 1, 500, "internal"),
];

impl ErrorKind {
    fn row(self) -> (Self, u8, u16, &'static str) {
        // A test checks that the table has a row for every kind, so the default is never used.
        ERROR_KINDS.iter().copied().find(|row| row.0 == self).unwrap_or((self, 1, 500, "internal"))
    }

    /// The process exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        self.row().1
    }

    /// The HTTP status.
    #[must_use]
    pub fn http_status(self) -> u16 {
        self.row().2
    }

    /// The stable code that programs compare.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().3
    }
}

/// The error of this crate's traits.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The request is invalid.
    #[error("{0}")]
    Usage(String),
    /// A JSON Schema of the request has a part that is not supported.
    #[error("{message}")]
    Schema {
        /// The tool whose schema it is; `None` for the form of the answer.
        tool: Option<String>,
        /// JSON Pointer of the part; `#` stands for the root.
        pointer: String,
        /// The part, the reason and the remedy.
        message: String,
    },
    /// Loading or running a model failed.
    #[error("{0}")]
    Model(String),
    /// The API key is missing, unknown or not valid any more.
    #[error("{0}")]
    Unauthorized(String),
    /// The caller may not do this.
    #[error("{0}")]
    Denied(String),
    /// A plugin or a content rule refused the request.
    #[error("{0}")]
    Refused(String),
    /// The resource does not exist for this caller.
    #[error("{0}")]
    NotFound(String),
    /// The request exceeds a fixed limit.
    #[error("{0}")]
    TooLarge(String),
    /// A rate limit, a quota or a busy resource refused the request for now.
    #[error("{message}")]
    Limited {
        /// The resource that is used up, with its numbers.
        message: String,
        /// The time after which a retry may succeed.
        retry_after: Duration,
    },
    /// The request's time was up.
    #[error("{0}")]
    Timeout(String),
    /// A part that the request needs is not available now.
    #[error("{0}")]
    Unavailable(String),
    /// A plugin cannot be loaded, or asked for a capability that it must not have.
    #[error("{0}")]
    Plugin(String),
    /// A plugin call ended with a fault.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The caller stopped the request.
    #[error("interrupted")]
    Interrupted,
    /// Firebox itself or the machine failed.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Its kind, which determines exit code and HTTP status.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(_) | Self::Schema { .. } => ErrorKind::Usage,
            Self::Model(_) => ErrorKind::Model,
            Self::Unauthorized(_) => ErrorKind::Unauthorized,
            Self::Denied(_) => ErrorKind::Denied,
            Self::Refused(_) => ErrorKind::Refused,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::Limited { .. } => ErrorKind::Limited,
            Self::Timeout(_) => ErrorKind::Timeout,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Plugin(_) | Self::Fault(_) => ErrorKind::PluginFault,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_exactly_one_row() {
        let kinds = [
            ErrorKind::Usage,
            ErrorKind::Model,
            ErrorKind::Unauthorized,
            ErrorKind::Denied,
            ErrorKind::Refused,
            ErrorKind::NotFound,
            ErrorKind::TooLarge,
            ErrorKind::Limited,
            ErrorKind::Timeout,
            ErrorKind::Unavailable,
            ErrorKind::PluginFault,
            ErrorKind::Interrupted,
            ErrorKind::Internal,
        ];
        for kind in kinds {
            assert_eq!(ERROR_KINDS.iter().filter(|row| row.0 == kind).count(), 1, "{kind:?}");
        }
        assert_eq!(ERROR_KINDS.len(), kinds.len());
    }
}
