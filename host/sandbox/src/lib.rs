//! WASM components under limits: wasmtime lives here and nowhere else.
//!
//! A [`Sandbox`] holds the one engine. [`Sandbox::load`] turns a component into a [`Plugin`]: read, digested,
//! compiled (or taken from the cache), its imports checked, and asked once who it is. A [`PluginChain`] of such
//! plugins is a [`firebox_contract::HookSource`]: each request that binds it gets a fresh instance of every plugin,
//! and those instances are gone when the request is.
//!
//! No guest code runs without a meter (invariant I4): fuel, memory, tables, instances, stack, the data it hands
//! over, and a wall-clock timeout around the whole call. How a call ended badly is a [`firebox_contract::Fault`].
//!
//! Everything that runs guests needs a tokio runtime with its timer enabled.

mod account;
mod address_space;
mod cache;
mod chain;
mod compiler;
mod component;
mod courtesy;
mod error;
mod file;
mod gauge;
mod grants;
mod guest;
mod instance;
mod lane;
mod limiter;
mod log;
mod meter;
mod notice;
mod plugin;
mod pool;
mod priority;
mod progress;
mod records;
mod runtime;
mod sandbox;
mod shape;
mod stages;
mod ticker;
mod wasi;

pub use account::Account;
pub use chain::{PluginChain, ToolRun};
pub use compiler::{CompilerCommand, compile_component};
pub use component::ComponentSource;
pub use error::SandboxError;
pub use file::{Unread, read as read_file};
pub use grants::{Capability, Grants};
pub use notice::Notice;
pub use plugin::{OnFault, Plugin, PluginInfo, PluginLimits, PluginSpec};
pub use runtime::Allocation;
pub use sandbox::{Sandbox, SandboxOptions, ToolCheck};
