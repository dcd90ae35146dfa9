//! Host functions of the capabilities: interfaces of WASI that are not part of `wasmtime-wasi`, and our own. A call without a
//! grant is answered with the interface's own error, and the plugin's log says what to write.

pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod keyvalue;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod secrets;

use std::time::Duration;

use wasmtime::component::Linker;

use self::http::HttpService;
use self::keyvalue::KeyValueService;
use self::metrics::MetricsService;
use crate::instance::guest::GuestData;

/// What the host brings for capabilities. A capability whose service is missing answers that it is not available.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// Stores key-value buckets.
    pub keyvalue: KeyValueService,
    /// Sends HTTP requests.
    pub http: HttpService,
    /// The time since the start of 1970 that plugins with the clock see, instead of the machine's.
    pub time: Option<Duration>,
    /// Stores metrics.
    pub metrics: MetricsService,
}

/// The interfaces that are added here, by package or by name.
pub(crate) const INTERFACES: &[&str] = &[
    "wasi:config",
    "wasi:logging",
    "wasi:keyvalue",
    "wasi:http/types",
    "wasi:http/outgoing-handler",
    "firebox:plugin/kv",
    "firebox:plugin/metrics",
    "firebox:plugin/model",
    "firebox:plugin/secrets",
];

/// Adds the interfaces to the imports of guests.
///
/// # Errors
/// Wasmtime's error, if a name is defined twice.
pub(crate) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    config::link(linker)?;
    http::link(linker)?;
    keyvalue::link(linker)?;
    metrics::link(linker)?;
    model::link(linker)?;
    secrets::link(linker)?;
    logging::link(linker)
}
