//! Our tools for other people's clients: a [`ToolSource`] served over standard input and output or over HTTP.
//!
//! Revisions 2024-11-05 to 2025-11-25 (a handshake, then sessions) and 2026-07-28 (every request stands alone) are
//! spoken side by side. Who asks is decided by the door, request by request, and never read from a session. Whatever
//! goes wrong inside a tool is a result that the caller can read; protocol errors are for requests that lead nowhere.

mod call;
mod content;
mod door;
mod http;
mod in_flight;
mod lists;
mod message;
mod notices;
mod places;
mod sessions;
mod stdio;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use firebox_contract::{ToolSource, limits};
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use tokio_util::sync::CancellationToken;

pub use self::http::{CallerOf, HttpTools, RequestId, ServerHttpOptions, http_service};
pub use self::stdio::{serve_stdio, serve_streams};

use self::lists::Lists;
use self::places::Places;

/// What a server tells clients about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What a model should know about its tools as a whole.
    pub instructions: Option<String>,
}

impl ServerInfo {
    /// Firebox itself.
    #[must_use]
    pub fn firebox() -> Self {
        Self { name: "firebox".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), instructions: None }
    }
}

/// What all connections to one set of tools share.
struct Shared {
    source: Arc<dyn ToolSource>,
    config: ServerConfig,
    lists: Lists,
    /// Calls that run now.
    calls: Arc<Places>,
    /// Requests that wait for a list to change.
    listeners: Arc<Places>,
    /// Ends the waiting when the server does.
    closing: CancellationToken,
}

impl Shared {
    fn new(source: Arc<dyn ToolSource>, info: ServerInfo) -> Arc<Self> {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        let mut config = ServerConfig::new(capabilities).with_server_info(Implementation::new(info.name, info.version));
        config.instructions = info.instructions;
        Arc::new(Self {
            source,
            config,
            lists: Lists::default(),
            calls: Places::new(limits::MCP_SERVER_CALLS_MAX),
            listeners: Places::new(limits::MCP_SUBSCRIPTIONS_MAX),
            closing: CancellationToken::new(),
        })
    }
}
