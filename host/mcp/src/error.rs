//! Errors of MCP servers that the host uses.

use std::time::Duration;

use firebox_contract::Error;

/// A failure of an MCP server or of its configuration. No message contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum McpError {
    /// The configuration of the server is invalid.
    #[error("{0}")]
    Spec(String),
    /// The server could not be started or reached, or did not follow the protocol.
    #[error("mcp server \"{server}\" cannot be used: {reason}")]
    Connect {
        /// The server's name.
        server: String,
        /// The reason, and the remedy.
        reason: String,
    },
    /// The server failed before and is not retried yet.
    #[error("mcp server \"{server}\" is down: {reason} (next try in {} s)", retry_in.as_secs_f32().ceil())]
    Down {
        /// The server's name.
        server: String,
        /// Its last failure.
        reason: String,
        /// The time until the next retry.
        retry_in: Duration,
    },
    /// The connection ended during a call.
    #[error("mcp server \"{server}\" went away during the call of \"{tool}\": {reason}")]
    Lost {
        /// The server's name.
        server: String,
        /// The tool's own name.
        tool: String,
        /// The reason.
        reason: String,
    },
    /// The server did not answer in time.
    #[error("mcp server \"{server}\" did not answer the call of \"{tool}\" within {} s{meanwhile}", after.as_secs_f32())]
    Timeout {
        /// The server's name.
        server: String,
        /// The tool's own name.
        tool: String,
        /// The time limit.
        after: Duration,
        /// What the server sent in that time, after a semicolon. Empty if it sent nothing.
        meanwhile: String,
    },
    /// The server's answer cannot be used.
    #[error("mcp server \"{server}\" gave no usable answer to the call of \"{tool}\": {reason}")]
    Unusable {
        /// The server's name.
        server: String,
        /// The tool's own name.
        tool: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The server answered with a protocol error.
    #[error("mcp server \"{server}\" refused the call of \"{tool}\": {reason}")]
    Rejected {
        /// The server's name.
        server: String,
        /// The tool's own name.
        tool: String,
        /// The server's message.
        reason: String,
    },
    /// The server lists other tools than its operator accepted, so none of them is offered.
    #[error(
        "the tools of mcp server \"{server}\" are withheld, because they differ from firebox.lock: {changes}; see the \
         difference with firebox lock --check, and accept it with firebox lock"
    )]
    Changed {
        /// The server's name.
        server: String,
        /// The first changes.
        changes: String,
    },
    /// The caller has no such server or tool.
    #[error("{0}")]
    NotFound(String),
    /// The arguments are not the text of a JSON object.
    #[error("the arguments of \"{tool}\" are not a JSON object: {reason}")]
    Arguments {
        /// The tool's own name.
        tool: String,
        /// The parse error.
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
            McpError::Changed { .. } => Self::Denied(text),
            McpError::Rejected { .. } => Self::Refused(text),
            McpError::NotFound(_) => Self::NotFound(text),
        }
    }
}
