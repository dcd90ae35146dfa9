//! The shared error and the one table that maps kinds of error to exit codes and HTTP statuses.

use std::time::Duration;

use crate::fault::Fault;

/// The closed set of ways a request can fail. Every crate's error maps to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The command line, configuration or request is wrong.
    Usage,
    /// The model, its files or its device failed.
    Model,
    /// The caller is not known, or its key is no longer good.
    Unauthorized,
    /// The caller is known and may not do this.
    Denied,
    /// A plugin, or a rule about content, said no to this request.
    Refused,
    /// What is asked for does not exist for this caller.
    NotFound,
    /// The request is larger than a fixed limit: context, bytes, messages. Waiting does not help.
    TooLarge,
    /// A rate, quota or busy resource said no for now. Waiting helps.
    Limited,
    /// The request's own time was up.
    Timeout,
    /// The host, or a part the request needs, cannot work now.
    Unavailable,
    /// A plugin broke its limits or trapped, or cannot be loaded.
    PluginFault,
    /// The caller stopped it.
    Interrupted,
    /// A fault of Firebox itself or of the machine (full disk, dead thread).
    Internal,
}

/// `(kind, exit code, HTTP status, stable code)`: the only place that maps them.
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
        // The table is closed over the enum; the test below holds that, so the fallback is never reached.
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

/// What can go wrong across the seams of this crate's traits.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The request cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// Loading or running a model failed.
    #[error("{0}")]
    Model(String),
    /// The caller is not known.
    #[error("{0}")]
    Unauthorized(String),
    /// The caller may not do this.
    #[error("{0}")]
    Denied(String),
    /// A plugin or a rule about content said no.
    #[error("{0}")]
    Refused(String),
    /// There is no such thing for this caller.
    #[error("{0}")]
    NotFound(String),
    /// Larger than a fixed limit.
    #[error("{0}")]
    TooLarge(String),
    /// Not now.
    #[error("{message}")]
    Limited {
        /// What is used up, and its numbers.
        message: String,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The request's time was up.
    #[error("{0}")]
    Timeout(String),
    /// A part the request needs cannot work now.
    #[error("{0}")]
    Unavailable(String),
    /// A plugin cannot be loaded, or asked for what it must not have.
    #[error("{0}")]
    Plugin(String),
    /// A plugin's call ended badly.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
    /// Firebox or its machine failed.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The kind, from which exit code and status follow.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(_) => ErrorKind::Usage,
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
