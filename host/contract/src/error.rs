//! The shared error and the one table that maps kinds of error to exit codes and HTTP statuses.

use crate::fault::Fault;

/// The closed set of ways a request can fail. Every crate's error maps to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The command line, configuration or request is wrong.
    Usage,
    /// The model, its files or its device failed.
    Model,
    /// A limit, grant or quota said no.
    Refused,
    /// A plugin broke its limits or trapped.
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
    (ErrorKind::Refused, 4, 429, "refused"),
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
    /// A limit, grant or quota said no.
    #[error("{0}")]
    Refused(String),
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
            Self::Refused(_) => ErrorKind::Refused,
            Self::Fault(_) => ErrorKind::PluginFault,
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
            ErrorKind::Refused,
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
