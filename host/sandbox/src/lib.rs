//! WebAssembly components under limits. This is the only crate that uses wasmtime.
//!
//! A [`Sandbox`] holds the one engine. [`Sandbox::load`] turns a component into a [`Plugin`]: it reads the component,
//! compiles it or takes it from the cache, checks its imports, and starts it once to learn its description and tools. A
//! [`PluginChain`] of plugins is a [`firebox_contract::HookSource`]: each request that binds the chain gets new instances,
//! which are dropped with the request.
//!
//! Every guest call is metered (invariant I4): fuel, memory, tables, instances, stack, the data that it returns, and a
//! timeout around the whole call. A call that breaks a limit ends as a [`firebox_contract::Fault`].
//!
//! Functions that run guests need a tokio runtime with its timer enabled.

mod background;
mod capabilities;
mod chain;
mod compile;
mod error;
mod instance;
mod plugin;
mod runtime;
mod sandbox;
mod stages;

pub use background::CpuBudget;
pub use capabilities::Services;
pub use capabilities::http::{HttpFailure, HttpService, HttpStandIn, Resolver, SentRequest, StandInAnswer};
pub use capabilities::keyvalue::{
    BucketId, KeyValueAnswer, KeyValueError, KeyValueOperation, KeyValueService, KeyValueStore, StoredValue,
};
pub use capabilities::metrics::{MetricRefusal, MetricSample, MetricSeries, MetricsService, MetricsStore, PluginMeter};
pub use chain::{OfferCheck, PluginChain, ToolRun};
pub use compile::{
    CompilerCommand, ComponentCount, ComponentReport, ComponentSource, ReadError, compile_component, read_file,
};
pub use error::SandboxError;
pub use plugin::grants::capability::{Capability, Grant};
pub use plugin::grants::explain::{GrantRow, explain_grants};
pub use plugin::grants::{DeniedBy, Grants, TenantGrants};
pub use plugin::{GrantedTo, OnFault, Pinned, Plugin, PluginInfo, PluginLimits, PluginSpec};
pub use runtime::Allocation;
pub use sandbox::notice::Notice;
pub use sandbox::{Sandbox, SandboxOptions, ToolCheck};
