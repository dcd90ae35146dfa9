//! Firebox as a library: the place where models, sandbox and engine meet.
//!
//! Bring a model of your own by implementing [`contract::LanguageModel`] and [`contract::TextCodec`] on it and
//! giving it to [`HostBuilder`]; every verb's plugins, limits and stages then work around it.

pub mod audit;
pub mod cli;
pub mod clock;
pub mod compiler;
pub mod compose;
pub mod config;
pub mod embed;
pub mod ember;
pub mod error;
pub mod http;
mod lock;
pub mod mcp_servers;
pub mod memory;
pub mod memory_limit;
pub mod plugin_log;
pub mod plugin_memory;
pub mod plugin_tools;
pub mod plugins;
pub mod remedy;
mod repeats;
pub mod serve;
pub mod sessions;
pub mod stats;
pub mod tenancy;
mod threads;
pub mod time;
pub mod units;

pub use compose::{Host, HostBuilder};
pub use error::CliError;
pub use firebox_contract as contract;
pub use firebox_engine as engine;
pub use firebox_mcp as mcp;
pub use firebox_models as models;
pub use firebox_sandbox as sandbox;
