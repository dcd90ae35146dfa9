//! Every number that bounds something, with its unit (invariant I6): one file for each topic. `specifications/reference/limits.md`
//! is generated from the comments. A comment that starts with "Default of `KEY`" or "Maximum of `KEY`" names a setting.
//! The assertions below relate limits to each other.

mod cli;
mod components;
mod engine;
mod mcp;
mod models;
mod plugins;
mod requests;
mod server;
mod sessions;
mod sharing;
mod tenants;
mod tools;

pub use self::cli::*;
pub use self::components::*;
pub use self::engine::*;
pub use self::mcp::*;
pub use self::models::*;
pub use self::plugins::*;
pub use self::requests::*;
pub use self::server::*;
pub use self::sessions::*;
pub use self::sharing::*;
pub use self::tenants::*;
pub use self::tools::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: u64 = 1024 * MIB as u64;

const _: () = assert!(PLUGIN_STACK_BYTES < PLUGIN_ASYNC_STACK_BYTES, "host functions need stack too");
const _: () = assert!(PLUGIN_MEMORY_BYTES_DEFAULT <= PLUGIN_MEMORY_BYTES_MAX);
const _: () = assert!(PLUGIN_FUEL_DEFAULT <= PLUGIN_FUEL_MAX);
const _: () = assert!(
    2 * PLUGINS_PER_REQUEST_MAX * PLUGIN_MEMORIES_MAX <= PLUGIN_POOL_MEMORIES,
    "the longest chain leaves as much as it takes of an empty pool"
);
const _: () = assert!(TOOL_RESULT_BYTES_MAX <= PLUGIN_REQUEST_BYTES_MAX);
const _: () = assert!(PREFILL_CHUNK_TOKENS <= CONTEXT_TOKENS_DEFAULT);
const _: () = assert!(TOOL_ROUNDS_DEFAULT <= TOOL_ROUNDS_MAX);
const _: () = assert!(RATE_SLOT.as_millis() > 0 && RATE_WINDOW.as_millis().is_multiple_of(RATE_SLOT.as_millis()));
const _: () = assert!(SESSION_BYTES_MAX_DEFAULT <= SESSIONS_FILE_BYTES_MAX_DEFAULT);
const _: () = assert!(STEP_PREFILL_TOKENS_MIN <= STEP_PREFILL_TOKENS_SHARED);
const _: () = assert!(SHORT_JOB_TIME.as_millis() <= SHORT_JOB_TIME_MAX.as_millis());
const _: () = assert!(STEP_PREFILL_TOKENS_SHARED <= STEP_PREFILL_TOKENS);
const _: () = assert!(PREFIX_TAIL_TOKENS >= PREFIX_TOKENS_MIN, "a cache is cut rather than copied where little goes");
