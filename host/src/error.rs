//! What a verb can fail with, and the exit code that follows.

use std::io;

use firebox_contract::{Error, ErrorKind};

/// The root package's error.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Anything below the command line.
    #[error("{}", crate::plugins::limit_remedy::with_remedy(.0, crate::plugins::limit_remedy::Audience::CommandLine))]
    Host(#[from] Error),
    /// A file the user named.
    #[error("cannot {action} \"{path}\": {source}; check the path and its permissions")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// The path as given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output or error could not be written.
    #[error("cannot write the output: {0}; check that there is room and that the reader still runs")]
    Output(#[from] io::Error),
    /// A tool that was called by hand answered with an error.
    #[error("{0}")]
    Tool(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// An error of usage or configuration.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Host(Error::Usage(message.into()))
    }

    /// The kind, from which the exit code follows.
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

    /// A reader that went away has what it wanted: `firebox run … | head -1` is a success.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
