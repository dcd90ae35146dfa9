//! The Model Context Protocol, as a client and as a server. This is the only crate that uses rmcp (invariant I2).

pub mod client;
pub mod error;
mod json;
mod revision;
pub mod server;

pub use error::McpError;
pub use json::json_kind;
pub use revision::Revision;
