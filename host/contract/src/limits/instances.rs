//! What the instances of plugins share, and what one of them may hand over in a request.

use std::time::Duration;

use super::{GIB, KIB, MIB};

// ---- Plugin instances -----------------------------------------------------------------------------------------

/// Linear memories of plugins alive at once, all requests together. An instance has as many as its component, one at least.
pub const PLUGIN_POOL_MEMORIES: usize = 512;
/// Bytes in these memories together when nobody says otherwise.
pub const PLUGIN_POOL_BYTES_DEFAULT: usize = 256 * MIB;
/// Bytes in these memories together at least: less is refused.
pub const PLUGIN_POOL_BYTES_MIN: usize = 32 * MIB;
/// Bytes in these memories together at most.
pub const PLUGIN_POOL_BYTES_MAX: u64 = 1024 * GIB;
/// Plugins have at most one part in so many of the memory that the process may use, and of the address space it has left.
pub const PLUGIN_POOL_PARTS: u64 = 2;
/// Bytes of address space of one instance beside its linear memory: its stack, its tables and what lies around its memory.
pub const PLUGIN_INSTANCE_SPACE_BYTES: usize = 4 * MIB;
/// Time a request waits for room for its instances before it is refused.
pub const PLUGIN_POOL_WAIT: Duration = Duration::from_secs(5);
/// Requests of one tenant that wait for room at a time; more are refused at once.
pub const PLUGIN_POOL_WAITING_MAX: usize = 64;
/// How often a request that waits for room looks for it, beside the moments when it hears of some.
pub const PLUGIN_POOL_PERIOD: Duration = Duration::from_millis(50);
/// Tenants that may hold nothing and are remembered all the same, before those are forgotten.
pub const PLUGIN_POOL_TENANTS_CACHED: usize = 1_024;
/// Bytes that a plugin of the text stage emits in one request, or that a plugin answers in the model's place; also what one
/// call of it, or one call of the host by it, copies.
pub const PLUGIN_TEXT_BYTES_MAX: usize = MIB;
/// Bytes that a plugin returns in one request from its calls at any other stage, those of one stage together; also what one
/// such call, or one call of the host in it, copies.
pub const PLUGIN_REQUEST_BYTES_MAX: usize = 8 * MIB;
/// Bytes of a plugin's log kept in one request; what comes after is dropped.
pub const PLUGIN_LOG_BYTES_MAX: usize = MIB;
/// Bytes of a plugin's own words in an error or a refusal; the rest is cut.
pub const PLUGIN_ERROR_BYTES_MAX: usize = 4 * KIB;
