//! What can go wrong with somebody else's server.

use std::time::Duration;

use firebox_contract::Error;

/// A failure of an MCP server, or of what was said about it. No message holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum McpError {
    /// The description of the server cannot be meant.
    #[error("{0}")]
    Spec(String),
    /// It could not be started or reached, or did not speak the protocol.
    #[error("mcp server \"{server}\" cannot be used: {reason}")]
    Connect {
        /// The server's name.
        server: String,
        /// What happened, and the remedy.
        reason: String,
    },
    /// It failed before and is not tried again yet.
    #[error("mcp server \"{server}\" is down: {reason} (next try in {} s)", retry_in.as_secs_f32().ceil())]
    Down {
        /// The server's name.
        server: String,
        /// Its last failure.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// It went away in the middle of a call.
    #[error("mcp server \"{server}\" went away during the call of \"{tool}\": {reason}")]
    Lost {
        /// The server's name.
        server: String,
        /// The tool's own name.
        tool: String,
        /// What happened.
        reason: String,
    },
    /// It did not answer in time.
    #[error("mcp server \"{server}\" did not answer the call of \"{tool}\" within {} s{meanwhile}", after.as_secs_f32())]
    Timeout {
        /// The server's name.
        server: String,
        /// The tool's own name.
        tool: String,
        /// The time it had.
        after: Duration,
        /// What it did in that time, after a semicolon, where it did anything.
        meanwhile: String,
    },
    /// What it answered cannot be used.
    #[error("mcp server \"{server}\" gave no usable answer to the call of \"{tool}\": {reason}")]
    Unusable {
        /// The server's name.
        server: String,
        /// The tool's own name.
        tool: String,
        /// What it answered.
        reason: String,
    },
    /// It answered with a protocol error.
    #[error("mcp server \"{server}\" refused the call of \"{tool}\": {reason}")]
    Rejected {
        /// The server's name.
        server: String,
        /// The tool's own name.
        tool: String,
        /// Its words.
        reason: String,
    },
    /// The caller has no such server or tool.
    #[error("{0}")]
    NotFound(String),
    /// The arguments are not the text of a JSON object.
    #[error("the arguments of \"{tool}\" are not a JSON object: {reason}")]
    Arguments {
        /// The tool's own name.
        tool: String,
        /// Where they fail to be one.
        reason: String,
    },
}

impl From<McpError> for Error {
    fn from(error: McpError) -> Self {
        let text = error.to_string();
        match error {
            McpError::Spec(_) | McpError::Arguments { .. } => Self::Usage(text),
            McpError::Connect { .. } | McpError::Down { .. } | McpError::Lost { .. } | McpError::Unusable { .. } => {
                Self::Unavailable(text)
            }
            McpError::Timeout { .. } => Self::Timeout(text),
            McpError::Rejected { .. } => Self::Refused(text),
            McpError::NotFound(_) => Self::NotFound(text),
        }
    }
}
