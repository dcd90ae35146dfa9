//! Limits of plugin calls and of the plugin instances in memory.

mod capabilities;

use std::time::Duration;

pub use self::capabilities::*;
use super::{GIB, KIB, MIB};

// ---- Plugin calls ---------------------------------------------------------------------------------------------

/// Default of `plugin.fuel` and of `--fuel`: fuel of one plugin call. Simple code uses about 10 million units per millisecond.
pub const PLUGIN_FUEL_DEFAULT: u64 = 200_000_000;
/// Maximum of `plugin.fuel` and of `tenant.limits.plugin_fuel`.
pub const PLUGIN_FUEL_MAX: u64 = 1_000_000_000_000;
/// Default of `plugin.memory` and of `--plugin-memory`: bytes of all linear memories of one instance.
pub const PLUGIN_MEMORY_BYTES_DEFAULT: usize = 32 * MIB;
/// Maximum of `plugin.memory` and of `tenant.limits.plugin_memory`. Also the size of one slot of the instance pool.
pub const PLUGIN_MEMORY_BYTES_MAX: usize = 512 * MIB;
/// Default of `plugin.timeout` and of `--plugin-timeout`: wall-clock time of one plugin call, host calls included.
pub const PLUGIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// Maximum of `plugin.timeout` and of `tenant.limits.plugin_timeout`.
pub const PLUGIN_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Time after its timeout within which a plugin call is stopped.
pub const PLUGIN_TIMEOUT_SLACK: Duration = Duration::from_millis(100);
/// Bytes of the WebAssembly stack of a plugin call.
pub const PLUGIN_STACK_BYTES: usize = 512 * KIB;
/// Bytes of the native stack of a plugin call. The part beyond the WebAssembly stack is for host functions.
pub const PLUGIN_ASYNC_STACK_BYTES: usize = MIB;
/// Resource handles of one instance.
pub const PLUGIN_HANDLES_MAX: usize = 1_000;
/// Random bytes of one host call.
pub const PLUGIN_RANDOM_BYTES_MAX: u64 = 64 * KIB as u64;
/// Plugins of one request.
pub const PLUGINS_PER_REQUEST_MAX: usize = 32;
/// Bytes of the configuration of one plugin as JSON.
pub const PLUGIN_CONFIG_BYTES_MAX: usize = 64 * KIB;
/// Bytes of the name of one plugin.
pub const PLUGIN_NAME_BYTES_MAX: usize = 64;

// ---- Output of plugins ----------------------------------------------------------------------------------------

/// Bytes that a plugin emits at the text stage of one request. Also the bytes that one call at that stage can copy.
pub const PLUGIN_TEXT_BYTES_MAX: usize = MIB;
/// Bytes that a plugin returns at any other stage of one request. Also the bytes that one call at that stage can copy.
pub const PLUGIN_REQUEST_BYTES_MAX: usize = 8 * MIB;
/// Bytes of the error or refusal message of a plugin. The rest is cut.
pub const PLUGIN_ERROR_BYTES_MAX: usize = 4 * KIB;
/// Maximum bytes that one call of a token stage may return: a mask or a list of all tokens of a large vocabulary.
pub const PLUGIN_TOKEN_BYTES_MAX: usize = 2 * MIB;
/// Most likely tokens that a plugin of the token stage may ask for at each token.
pub const STAGE_CANDIDATE_TOKENS_MAX: usize = 1_024;
/// Tokens that a plugin of the token stage may keep from the reader for a while, so that it can take them back.
pub const STAGE_HOLD_BACK_TOKENS_MAX: usize = 64;
/// Tokens that a plugin of the token stage may force at a time.
pub const STAGE_FORCED_TOKENS_MAX: usize = 1_024;
/// Tokens that a plugin of the token stage may take back in one answer, in total.
pub const STAGE_TAKEN_BACK_TOKENS_MAX: usize = 1_024;
/// Tokens whose bytes a plugin gets in one call.
pub const STAGE_SPELLED_TOKENS_MAX: usize = 1_024;
/// Bytes of tokens that a plugin gets in one call.
pub const STAGE_SPELLED_BYTES_MAX: usize = 64 * KIB;
/// Time by which the calls of a plugin's token stage may delay the batch in one answer, beyond `TOKEN_STAGE_WAIT` each. Its
/// further calls run on other threads.
pub const TOKEN_STAGE_DELAY_MAX: Duration = Duration::from_millis(5);
/// Time for which a step of a batch waits for the decision of a token stage. Then the batch continues without the sequence.
pub const TOKEN_STAGE_WAIT: Duration = Duration::from_micros(200);
/// Bytes of the log of one plugin in one request. Further log lines are dropped.
pub const PLUGIN_LOG_BYTES_MAX: usize = MIB;
/// Bytes of one log line of a plugin. The rest is cut.
pub const PLUGIN_LOG_LINE_BYTES_MAX: usize = 4 * KIB;
/// Log lines of one plugin buffered between two readings. Further lines are counted and dropped.
pub const PLUGIN_LOG_LINES_MAX: usize = 256;
/// Progress events of a plugin buffered for one listener. Further progress events are dropped.
pub const PLUGIN_PROGRESS_BUFFERED_MAX: usize = 64;
/// Messages that a plugin may add to a conversation.
pub const PLUGIN_MESSAGES_ADDED_MAX: usize = 64;
/// Bytes that a plugin may add to a conversation.
pub const PLUGIN_MESSAGE_BYTES_ADDED_MAX: usize = MIB;

// ---- Plugin instances in memory -------------------------------------------------------------------------------

/// Default of `server.plugin_memory_total`: bytes of all linear memories of plugins.
pub const PLUGIN_POOL_BYTES_DEFAULT: usize = 256 * MIB;
/// Minimum of `server.plugin_memory_total`.
pub const PLUGIN_POOL_BYTES_MIN: usize = 32 * MIB;
/// Maximum of `server.plugin_memory_total`.
pub const PLUGIN_POOL_BYTES_MAX: u64 = 1024 * GIB;
/// Linear memories of all plugin instances in memory. An instance has at least one.
pub const PLUGIN_POOL_MEMORIES: usize = 512;
/// Plugins use at most this fraction of the memory of the process, and of its free address space.
pub const PLUGIN_POOL_DIVISOR: u64 = 2;
/// Bytes of address space of one instance in addition to its linear memory: stack, tables and guard pages.
pub const PLUGIN_INSTANCE_SPACE_BYTES: usize = 4 * MIB;
/// Time a request waits for free plugin memory before it is refused.
pub const PLUGIN_POOL_WAIT: Duration = Duration::from_secs(5);
/// Requests of one tenant that wait for free plugin memory. Further requests are refused at once.
pub const PLUGIN_POOL_WAITING_MAX: usize = 64;
/// Period at which a request that waits for free plugin memory checks for it, in addition to notifications.
pub const PLUGIN_POOL_PERIOD: Duration = Duration::from_millis(50);
/// Tenants with an entry in the memory accounting of the plugin pool from which entries without memory are removed.
pub const PLUGIN_POOL_TENANTS_CACHED: usize = 1_024;
/// Plugin chains in the cache, one for each tenant and set of added plugins. The oldest chain is evicted first.
pub const PLUGIN_CHAINS_CACHED_MAX: usize = 1_024;
/// Plugin chains of one tenant in the cache. The oldest chain of the tenant is evicted first.
pub const PLUGIN_CHAINS_PER_TENANT_MAX: usize = 16;
