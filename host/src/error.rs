//! The errors of commands, and their exit codes.

use std::io;

use firebox_contract::{Error, ErrorKind};

/// An error of a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// An error of the layers below the command line.
    #[error("{}", crate::plugins::limit_remedy::with_remedy(.0, crate::plugins::limit_remedy::Audience::CommandLine))]
    Host(#[from] Error),
    /// A file that the user named.
    #[error("cannot {action} \"{path}\": {source}; check the path and its permissions")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// The path, as given.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// Standard output or error could not be written.
    #[error("cannot write the output: {0}; check the disk space, or the program that reads the output")]
    Output(#[from] io::Error),
    /// A tool that `firebox mcp call` called returned an error.
    #[error("{0}")]
    Tool(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// An error of the options or the configuration.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Host(Error::Usage(message.into()))
    }

    /// The kind of the error, which decides the exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Host(error) => error.kind(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Internal,
            Self::File { .. } => ErrorKind::Usage,
            Self::Output(_) => ErrorKind::Internal,
            Self::Tool(_) => ErrorKind::PluginFault,
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }

    /// Whether the reader of the output has closed it. That is a success, as in `firebox run … | head -1`.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
