//! Limits of what plugins use of the host: capabilities, files, key-value buckets, HTTP requests, the model and secrets.

use std::time::Duration;

use super::super::{GIB, KIB, MIB};

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

// ---- HTTP requests --------------------------------------------------------------------------------------------

/// HTTP requests that a plugin sends in one call.
pub const HTTP_REQUESTS_PER_CALL_MAX: usize = 16;
/// HTTP requests of all plugins of one tenant that run at a time. Further requests wait.
pub const HTTP_REQUESTS_PER_TENANT_MAX: usize = 8;
/// HTTP requests of all plugins of all tenants that run at a time. Further requests are refused.
pub const HTTP_REQUESTS_RUNNING_MAX: usize = 256;
/// Tenants whose running HTTP requests are counted, from which entries without a request are removed.
pub const HTTP_TENANTS_CACHED: usize = 1_024;
/// Time an HTTP request waits for an earlier one of its tenant.
pub const HTTP_SHARE_WAIT: Duration = Duration::from_secs(5);
/// Bytes of the address of an HTTP request.
pub const HTTP_URL_BYTES_MAX: usize = 8 * KIB;
/// Bytes of the headers of an HTTP request.
pub const HTTP_REQUEST_HEADER_BYTES_MAX: usize = 16 * KIB;
/// Bytes that one HTTP header counts in addition to its name and value.
pub const HTTP_HEADER_BYTES_COUNTED: usize = 32;
/// Headers of an HTTP request or response.
pub const HTTP_HEADER_NAMES_MAX: usize = 100;
/// Bytes of the status line and the headers of an HTTP response. Also the bytes of a response read ahead of its plugin.
pub const HTTP_RESPONSE_HEADER_BYTES_MAX: usize = 64 * KIB;
/// Bytes of the body of an HTTP request.
pub const HTTP_REQUEST_BODY_BYTES_MAX: usize = MIB;
/// Bytes of the body of an HTTP response.
pub const HTTP_RESPONSE_BODY_BYTES_MAX: u64 = 8 * MIB as u64;
/// Bytes on their way between a plugin and what stands in for the network while its cases run.
pub const HTTP_STAND_IN_BUFFER_BYTES: usize = 64 * KIB;
/// Bytes of all bodies that a plugin sends and receives in one call.
pub const HTTP_CALL_BYTES_MAX: u64 = 32 * MIB as u64;
/// Bytes of headers and bodies that the host holds for one plugin instance.
pub const HTTP_HELD_BYTES_MAX: usize = 4 * MIB;
/// Bytes of a body that a plugin writes at a time.
pub const HTTP_WRITE_BYTES_MAX: usize = 64 * KIB;
/// Parts of the body of an HTTP response that wait for its plugin.
pub const HTTP_PARTS_BUFFERED_MAX: usize = 2;
/// Addresses of one host that an HTTP request tries.
pub const HTTP_CONNECT_ATTEMPTS_MAX: usize = 4;
/// Threads that look up addresses of hosts.
pub const HTTP_LOOKUP_THREADS_MAX: usize = 32;
/// Time to look up the address of a host, to connect to it and to agree on encryption.
pub const HTTP_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time until the headers of an HTTP response.
pub const HTTP_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two parts of an HTTP response.
pub const HTTP_BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(30);
/// Time of an HTTP request, from its start to the end of its response.
pub const HTTP_TOTAL_TIMEOUT: Duration = Duration::from_secs(120);

// ---- The model for plugins -----------------------------------------------------------------------------------

/// Calls to the model that a plugin makes in one of its own calls.
pub const PLUGIN_MODEL_CALLS_MAX: usize = 32;
/// Tokens of prompts, answers and embedded texts that a plugin uses in one of its own calls.
pub const PLUGIN_MODEL_CALL_TOKENS_MAX: usize = 16_384;
/// Tokens of prompts and answers that all plugins of one request use.
pub const PLUGIN_MODEL_REQUEST_TOKENS_MAX: usize = 65_536;
/// Default of the maximum length of an answer to a plugin, in tokens.
pub const PLUGIN_MODEL_ANSWER_TOKENS_DEFAULT: usize = 512;
/// Bytes of the prompt that a plugin gives the model, of the text whose tokens it gets, and of all texts that it embeds at once.
pub const PLUGIN_MODEL_INPUT_BYTES_MAX: usize = 256 * KIB;
/// Messages in the prompt that a plugin gives the model.
pub const PLUGIN_MODEL_MESSAGES_MAX: usize = 64;
/// Texts that a plugin embeds at once.
pub const PLUGIN_MODEL_TEXTS_MAX: usize = 64;
/// Generations within one another. With 1, a plugin that runs in a generation of a plugin cannot use the model.
pub const PLUGIN_MODEL_NESTED_GENERATIONS_MAX: usize = 1;

// ---- Secrets of plugins ---------------------------------------------------------------------------------------

/// Bytes of the shortest secret of a plugin. A shorter one would be found in harmless texts.
pub const PLUGIN_SECRET_BYTES_MIN: usize = 8;
/// Bytes of the longest secret of a plugin.
pub const PLUGIN_SECRET_BYTES_MAX: usize = 4 * KIB;

// ---- Metrics of plugins ---------------------------------------------------------------------------------------

/// Bytes of the name of one metric of a plugin, and of the name or value of one of its labels.
pub const PLUGIN_METRIC_NAME_BYTES_MAX: usize = 64;
/// Labels of one series of a plugin, in addition to those of the host.
pub const PLUGIN_METRIC_LABEL_NAMES_MAX: usize = 4;
/// Series of one plugin and tenant. Values of further series are refused.
pub const PLUGIN_METRIC_SERIES_MAX: usize = 100;
/// Plugins of tenants with metrics on the page, each counted with every tenant that uses it. Metrics of further ones are not shown.
pub const PLUGIN_METERS_MAX: usize = 1_024;
