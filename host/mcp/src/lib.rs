//! The Model Context Protocol, both ways. The only crate that names rmcp (invariant I2).

pub mod client;
pub mod error;
mod revision;
pub mod server;

pub use error::McpError;
pub use revision::Revision;
