//! Limits of the HTTP server: connections, slow clients, web pages, metrics and shutdown.

use std::time::Duration;

use super::{KIB, MIB};

// ---- Connections ----------------------------------------------------------------------------------------------

/// Default port of `server.listen`.
pub const LISTEN_PORT_DEFAULT: u16 = 8_080;
/// Default of `server.connections_max`: open connections of the server.
pub const CONNECTIONS_DEFAULT: usize = 1_024;
/// Maximum of `server.connections_max`, of `tenant.limits.connections_max` and of `tenant.limits.streams_max`.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Default of `server.connections_per_address_max`: this fraction of `server.connections_max`.
pub const ADDRESS_CONNECTIONS_DIVISOR: usize = 2;
/// Default of `tenant.limits.connections_max`: this fraction of `server.connections_max`.
pub const TENANT_CONNECTIONS_DIVISOR: usize = 4;
/// Connections beyond `server.connections_max` that can still be answered with a probe result or a refusal.
pub const HTTP_OVERFLOW_CONNECTIONS_MAX: usize = 64;
/// Time of one connection beyond `server.connections_max`.
pub const HTTP_OVERFLOW_TIME: Duration = Duration::from_secs(5);
/// Connections to `server.admin_listen` at the same time.
pub const HTTP_ADMIN_CONNECTIONS_MAX: usize = 32;
/// Connections in the accept queue of the operating system.
pub const HTTP_ACCEPT_QUEUE: u32 = 1_024;
/// Time between two attempts to accept a connection when the process has no file descriptors left.
pub const HTTP_ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// File descriptors reserved for models, databases, logs, child processes and probes.
pub const OPEN_FILES_RESERVED: usize = 256;
/// Bytes that the host buffers for one connection, in each direction.
pub const HTTP_BUFFER_BYTES_MAX: usize = 64 * KIB;
/// Bytes requested for the socket buffers of one connection, in each direction. Linux allocates twice as much.
pub const HTTP_SOCKET_BUFFER_BYTES: u32 = 65_536;
/// Period of the log lines about refused connections.
pub const HTTP_REFUSAL_LOG_PERIOD: Duration = Duration::from_secs(1);

// ---- Requests and slow clients --------------------------------------------------------------------------------

/// Bytes of the request line and the headers of one request.
pub const HTTP_HEADER_BYTES_MAX: usize = 32 * KIB;
/// Header lines of one request.
pub const HTTP_HEADER_LINES_MAX: usize = 100;
/// Default of `server.header_timeout`: time to send the headers of a request, and idle time of a connection.
pub const HEADER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Maximum of `server.header_timeout`.
pub const HEADER_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Time to send the body of a request.
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes per second that a client must send of a request body.
pub const HTTP_BODY_BYTES_PER_SECOND_MIN: u64 = 4_096;
/// Time that a client can be below the minimum rate of a request body.
pub const HTTP_BODY_STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a body that are read and discarded after its request was refused, so that the client can read the answer.
pub const HTTP_DISCARD_BYTES_MAX: usize = 64 * MIB;
/// Time for which the body of a refused request is read and discarded before the connection is closed.
pub const HTTP_DISCARD_TIME: Duration = Duration::from_secs(1);
/// Bytes per second that a client must read of an answer.
pub const HTTP_READER_BYTES_PER_SECOND_MIN: u64 = 8_192;
/// Default of `server.reader_timeout`: time that a client can be below the minimum rate of an answer.
pub const READER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// Maximum of `server.reader_timeout`.
pub const READER_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Period of the comments that keep an idle event stream open.
pub const HTTP_KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(10);
/// Time after the timeout of a request at which its handler is aborted.
pub const HTTP_TIMEOUT_SLACK: Duration = Duration::from_secs(5);

// ---- Web pages ------------------------------------------------------------------------------------------------

/// Time that a browser may cache the answer to a CORS preflight.
pub const CORS_MAX_AGE: Duration = Duration::from_secs(600);
/// Header names in one CORS preflight.
pub const CORS_HEADER_NAMES_MAX: usize = 64;
/// Bytes of one header name in a CORS preflight.
pub const CORS_HEADER_NAME_BYTES_MAX: usize = 128;

// ---- Operation ------------------------------------------------------------------------------------------------

/// Default of `server.drain_timeout`: time that running requests have to finish at shutdown.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Maximum of `server.drain_timeout`.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Time that connections have at shutdown to send what is buffered.
pub const HTTP_CLOSE_GRACE: Duration = Duration::from_secs(2);
/// Time that each part of the server has to stop after the last request has ended.
pub const SERVE_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Period at which the server checks its MCP servers.
pub const MCP_WATCH_PERIOD: Duration = Duration::from_secs(30);
/// Period at which the server returns free memory of its allocator to the operating system.
pub const MEMORY_TRIM_PERIOD: Duration = Duration::from_secs(60);
/// Period at which the server checks that its audit log and its session file can be written.
pub const STORAGE_PROBE_PERIOD: Duration = Duration::from_secs(2);
/// Bytes that must fit on the disk of the audit log and of the session file for the server to be ready.
pub const STORAGE_PROBE_BYTES: usize = 64 * KIB;
/// Tenant labels in the metrics. Requests of further tenants are counted under the label `other`.
pub const METRICS_TENANTS_MAX: usize = 256;

// ---- Served embeddings ----------------------------------------------------------------------------------------

/// Texts of one embedding request.
pub const EMBED_REQUEST_TEXTS_MAX: usize = 2_048;
/// Time of one step of a served encoder. A new request waits at most for the current step.
pub const EMBED_STEP_TIME: Duration = Duration::from_millis(25);
/// Tokens of one step of a served encoder, padding included, until the speed of the device is known.
pub const EMBED_STEP_TOKENS_INITIAL: usize = 512;
/// Tokens that one step of a served encoder can always compute, even on a slow device. A longer text gets its own step.
pub const EMBED_STEP_TOKENS_MIN: usize = 128;
/// Tokens of one step of a served encoder, even on a fast device.
pub const EMBED_STEP_TOKENS_MAX: usize = super::EMBED_BATCH_TEXTS_DEFAULT * 512;
/// Tokens up to which texts count as equally long. Longer texts of one step differ in length by a factor of two at most.
pub const EMBED_STEP_PAD_TOKENS: usize = 16;
/// Bytes of text that a served encoder tokenizes between two steps.
pub const EMBED_TOKENIZE_BYTES_MAX: usize = 64 * KIB;
/// Bytes added to the length of each text for the limit `EMBED_TOKENIZE_BYTES_MAX`.
pub const EMBED_TOKENIZE_OVERHEAD_BYTES: usize = 256;
/// Fuel of all plugin calls of one embedding request.
pub const EMBED_PLUGIN_FUEL_MAX: u64 = 100_000_000_000;
/// Bytes that plugins may add to the texts of one embedding request.
pub const EMBED_PLUGIN_BYTES_ADDED_MAX: usize = MIB;
