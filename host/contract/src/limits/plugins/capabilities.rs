//! Limits of what plugins use of the host: capabilities, files, key-value buckets, HTTP requests and secrets.

use std::time::Duration;

use super::super::{GIB, MIB};

/// Capabilities in one list: those that a manifest asks for, that an operator grants to a plugin, or a tenant to a plugin.
pub const CAPABILITIES_MAX: usize = 64;
/// Bytes of the text of one capability, for example of `keyvalue:notes`.
pub const CAPABILITY_BYTES_MAX: usize = 512;
/// Lines about denied capabilities in the log of one plugin instance. Further denials are not logged.
pub const CAPABILITY_LINES_MAX: usize = 16;

// ---- Key-value buckets ----------------------------------------------------------------------------------------

/// Bytes of one key of a bucket.
pub const KEYVALUE_KEY_BYTES_MAX: usize = 256;
/// Bytes of one value of a bucket.
pub const KEYVALUE_VALUE_BYTES_MAX: usize = MIB;
/// Keys of one call that reads, sets or removes several keys of a bucket.
pub const KEYVALUE_BATCH_KEYS_MAX: usize = 128;
/// Bytes of all values that one call reads of a bucket.
pub const KEYVALUE_ANSWER_BYTES_MAX: usize = 4 * MIB;
/// Keys in one page of the list of a bucket.
pub const KEYVALUE_PAGE_KEYS_MAX: usize = 256;
/// Keys that one plugin stores for one tenant.
pub const KEYVALUE_PLUGIN_KEYS_MAX: u64 = 10_000;
/// Bytes of keys and values that one plugin stores for one tenant.
pub const KEYVALUE_PLUGIN_BYTES_MAX: u64 = 16 * MIB as u64;
/// Bytes of keys and values that the plugins of one tenant store.
pub const KEYVALUE_TENANT_BYTES_MAX: u64 = 64 * MIB as u64;
/// Default of `keyvalue.file_bytes_max`: bytes of the database of all buckets.
pub const KEYVALUE_FILE_BYTES_DEFAULT: u64 = GIB;
/// Minimum of `keyvalue.file_bytes_max`.
pub const KEYVALUE_FILE_BYTES_MIN: u64 = MIB as u64;
/// Maximum of `keyvalue.file_bytes_max`.
pub const KEYVALUE_FILE_BYTES_MAX: u64 = 1024 * GIB;
/// A tenant has at most this fraction of the database of all buckets, so that it leaves room for the others.
pub const KEYVALUE_TENANT_DIVISOR: u64 = 4;
/// Calls to buckets of one tenant that the database works on or that wait for it. Further calls wait in their plugins.
pub const KEYVALUE_CALLS_PER_TENANT_MAX: usize = 4;
/// Calls to buckets of all tenants that wait for the database.
pub const KEYVALUE_CALLS_WAITING_MAX: usize = 64;
/// Tenants whose waiting calls are counted, from which entries without a call are removed.
pub const KEYVALUE_TENANTS_CACHED: usize = 1_024;
/// Time a call waits while another process writes to the database of all buckets.
pub const KEYVALUE_BUSY_TIMEOUT: Duration = Duration::from_secs(1);
