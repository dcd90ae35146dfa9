//! The MCP server: offers a [`ToolSource`] to MCP clients, over standard input and output or over HTTP.
//!
//! Clients of revisions 2024-11-05 to 2025-11-25 (a handshake, then a session) and of 2026-07-28 (requests without a session)
//! are served at the same time. The caller is decided for each request by the transport, and is never read from a session. A
//! failure of a tool is a result that the client can read. Protocol errors are for requests that reach no tool.

mod call;
mod content;
mod handler;
mod http;
mod in_flight;
mod lists;
mod message;
mod notifications;
mod permits;
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

use self::lists::ToolListCache;
use self::permits::PermitPool;

/// The server's description of itself for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Instructions for the model about the tools as a whole.
    pub instructions: Option<String>,
}

impl ServerInfo {
    /// The description of Firebox.
    #[must_use]
    pub fn firebox() -> Self {
        Self { name: "firebox".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), instructions: None }
    }
}

/// The state that all connections to one set of tools share.
struct ServerContext {
    source: Arc<dyn ToolSource>,
    config: ServerConfig,
    lists: ToolListCache,
    /// The permits of running calls.
    calls: Arc<PermitPool>,
    /// The permits of requests and streams that wait for changes of a list.
    subscriptions: Arc<PermitPool>,
    /// Cancelled when the server stops: ends all waiting requests.
    closing: CancellationToken,
}

impl ServerContext {
    fn new(source: Arc<dyn ToolSource>, info: ServerInfo) -> Arc<Self> {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        let mut config = ServerConfig::new(capabilities).with_server_info(Implementation::new(info.name, info.version));
        config.instructions = info.instructions;
        Arc::new(Self {
            source,
            config,
            lists: ToolListCache::default(),
            calls: PermitPool::new(limits::MCP_SERVER_CALLS_MAX),
            subscriptions: PermitPool::new(limits::MCP_SUBSCRIPTIONS_MAX),
            closing: CancellationToken::new(),
        })
    }
}
