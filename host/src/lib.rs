//! Firebox as a library: models, plugins and the engine in one process.
//!
//! To run your own model, implement [`contract::LanguageModel`] and [`contract::TextCodec`] and pass both to
//! [`HostBuilder::model`]. Limits, plugins and events then work as with a model of Firebox.

pub mod audit;
pub mod cli;
pub mod config;
pub mod error;
pub mod host;
pub mod http;
pub mod plugins;
pub mod serve;
pub mod sessions;
pub mod system;
pub mod tenancy;

pub use error::CliError;
pub use firebox_contract as contract;
pub use firebox_engine as engine;
pub use firebox_mcp as mcp;
pub use firebox_models as models;
pub use firebox_sandbox as sandbox;
pub use host::{Host, HostBuilder, ember};
pub use plugins::compiler;
pub use system::time;
