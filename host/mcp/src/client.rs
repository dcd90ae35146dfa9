//! The MCP client: a pool of connections to MCP servers that offers their tools as one
//! [`ToolSource`](firebox_contract::ToolSource).
//!
//! # Which connection serves which tenant
//! A connection belongs to one server, one set of credentials (command, arguments, folder and environment, or URL and
//! headers) and one tenant. So nothing that a server remembers reaches another tenant. If the operator declares a server
//! `shared`, all tenants use one connection to it.
//!
//! # Failures
//! If a server fails, its tools are no longer offered, [`ClientPool::status`] gives the reason, and the other servers are not
//! affected. A call of one of its tools returns an outcome that the model can read. The pool retries after 0.5 s, 1 s, 2 s
//! and so on up to 30 s, with jitter. After five consecutive failures the circuit breaker opens: the pool then retries only
//! when a caller asks, at most once a minute. A call is repeated only if its tool declares that it is read-only or
//! idempotent.
//!
//! # Pins
//! If the operator accepted a list of tools ([`ServerSpec::pins`]), a server whose list differs offers none of its tools,
//! at the start and after each change of its list. [`McpError::Changed`](crate::McpError::Changed) names what differs.
//!
//! # Names of tools
//! A tool keeps the name that its server gives it, with `_` for every character that models cannot write. If the operator
//! gave the server a prefix, the name is `prefix__name`. If two servers of the caller offer the same name, the names are
//! `server__name`. A rule that must hold whatever other servers offer needs a server with a prefix.

mod connection;
mod pins;
mod pool;
mod spec;
mod transport;
mod wire;

pub use connection::ServerIdentity;
pub use connection::listing::RejectedTool;
pub use pins::{ToolChange, ToolPins, effect_names};
pub use pool::slot::ServerState;
pub use pool::{Access, ClientPool, ListedTool, PoolOptions, ServerReport, ServerStatus};
pub use spec::{HttpServer, Secret, ServerSpec, ServerTransport, StdioServer};
