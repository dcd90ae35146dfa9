//! Other people's tools for our models: a pool of connections to MCP servers that offers them as one
//! [`ToolSource`](firebox_contract::ToolSource).
//!
//! # What belongs to whom
//! A connection belongs to one server, one set of credentials (command, arguments, folder, environment with its values;
//! URL and headers) and one tenant, so that nothing a server remembers crosses tenants. A server that its operator
//! declares `shared` has one connection for all of them.
//!
//! # What happens when a server fails
//! Its tools leave the list, [`ClientPool::status`] says why, and everything else works. A call to it is an outcome that
//! the model can read. The pool tries again after 0.5 s, 1 s, 2 s … 30 s, each with jitter; after five failures in a row
//! the circuit is open and only somebody who asks, at most once a minute, causes another try. A call is repeated only
//! when its tool declares that this changes nothing.
//!
//! # What names tools have
//! A server's own name for a tool, with every character that models cannot say replaced by `_`; `prefix__name` where the
//! operator gave the server a prefix; `server__name` where two servers of the caller offer the same name. Rules that must
//! hold whatever other servers offer belong to servers with a prefix.

mod backoff;
mod catalog;
mod child;
mod connection;
mod content;
mod handler;
mod http;
mod inbound;
mod listing;
mod opening;
mod orphan;
mod pool;
mod result;
mod slot;
mod spec;
mod transport;
mod wire;

pub use connection::ServerAbout;
pub use listing::LeftOut;
pub use pool::{Access, ClientPool, Listed, PoolOptions, ServerReport, ServerStatus};
pub use slot::ServerState;
pub use spec::{HttpServer, Secret, ServerSpec, ServerTransport, StdioServer};
