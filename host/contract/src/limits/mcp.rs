//! Of MCP, both ways.

use std::time::Duration;

use super::{KIB, MIB};

// ---- MCP client -----------------------------------------------------------------------------------------------

/// MCP servers of one host. (Plugins and tools have numbers of their own.)
pub const MCP_CLIENT_SERVERS_MAX: usize = 64;
/// Connections to MCP servers at a time, all tenants together; the one idle longest makes room. Each holds some memory.
pub const MCP_CLIENT_CONNECTIONS_MAX: usize = 256;
/// The longest time that can be set for an MCP server.
pub const MCP_CLIENT_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Bytes of one message of an MCP server; a longer one ends the connection.
pub const MCP_CLIENT_LINE_BYTES_MAX: usize = 16 * MIB;
/// Calls one MCP connection carries at a time; further ones wait.
pub const MCP_CLIENT_CALLS_MAX: usize = 16;
/// Requests of an MCP server that wait for their answers; one more ends the connection.
pub const MCP_CLIENT_SERVER_REQUESTS_MAX: usize = 64;
/// Messages an MCP server may send before it has finished the handshake; one more ends the connection.
pub const MCP_CLIENT_HANDSHAKE_MESSAGES_MAX: usize = 256;
/// Messages a second that an MCP server may send for long; a connection that goes on beyond the burst is ended.
pub const MCP_CLIENT_INBOUND_MESSAGES_PER_SECOND: usize = 1_000;
/// Messages an MCP server may send at once.
pub const MCP_CLIENT_INBOUND_MESSAGES_BURST: usize = 10_000;
/// Bytes a second that an MCP server may send for long; a connection that goes on beyond the burst is ended.
pub const MCP_CLIENT_INBOUND_BYTES_PER_SECOND: usize = 16 * MIB;
/// Bytes an MCP server may send at once.
pub const MCP_CLIENT_INBOUND_BYTES_BURST: usize = 128 * MIB;
/// Progress reports of one call that wait to be heard; later ones are dropped.
pub const MCP_CLIENT_PROGRESS_BUFFERED_MAX: usize = 16;
/// Pages read of one MCP server's list of tools.
pub const MCP_CLIENT_PAGES_MAX: usize = 64;
/// Tools taken from one MCP server.
pub const MCP_CLIENT_TOOLS_MAX: usize = 1_024;
/// Bytes of the name a model sees for an MCP server's tool.
pub const MCP_CLIENT_TOOL_NAME_BYTES_MAX: usize = 64;
/// Bytes of the description of one MCP server's tool; the rest is cut.
pub const MCP_CLIENT_TOOL_TEXT_BYTES_MAX: usize = 16 * KIB;
/// Bytes of a schema of one MCP server's tool; a tool with a larger one is not offered.
pub const MCP_CLIENT_SCHEMA_BYTES_MAX: usize = 256 * KIB;
/// Bytes of all descriptions and schemas of one MCP server together; further tools are not offered.
pub const MCP_CLIENT_LIST_BYTES_MAX: usize = 8 * MIB;
/// Bytes of the words of one progress report; the rest is cut.
pub const MCP_CLIENT_PROGRESS_TEXT_BYTES_MAX: usize = KIB;
/// Bytes of the words with which an MCP server explains a failure; the rest is cut.
pub const MCP_CLIENT_REASON_BYTES_MAX: usize = 8 * KIB;
/// Requests to one MCP server whose answers are remembered to be missing.
pub const MCP_CLIENT_UNANSWERED_MAX: usize = 256;
/// Time in which an MCP server over standard input or HTTP must say whether it knows the newest revision; a quarter of its
/// connect timeout where that is less. After that an older one is tried on the same connection.
pub const MCP_CLIENT_PROBE_TIME: Duration = Duration::from_secs(10);
/// Time in which an MCP server of the first HTTP transport must name the address for messages.
pub const MCP_CLIENT_ENDPOINT_WAIT: Duration = Duration::from_secs(10);
/// Tools of an MCP server that are left out and named with the reason; further ones are counted.
pub const MCP_CLIENT_LEFT_OUT_MAX: usize = 64;
/// Warnings about what an MCP server says that cannot be read, in one [`MCP_CLIENT_REMARKS_PERIOD`].
pub const MCP_CLIENT_REMARKS_LOGGED_MAX: usize = 10;
/// The time after which such warnings are counted anew.
pub const MCP_CLIENT_REMARKS_PERIOD: Duration = Duration::from_secs(60);
/// Bytes read of the body of an HTTP answer that says that a request failed.
pub const MCP_CLIENT_ERROR_BODY_BYTES_MAX: usize = 64 * KIB;
/// Time between two looks at whether an MCP server's process is over, and the longest wait for its exit code.
pub const MCP_CLIENT_EXIT_WAIT: Duration = Duration::from_millis(400);
/// Silence after the end of an MCP server's process, while something it started holds its output, that ends the
/// connection.
pub const MCP_CLIENT_ORPHAN_SILENCE: Duration = Duration::from_secs(1);
/// Bytes of one line of an MCP server's standard error.
pub const MCP_CLIENT_STDERR_LINE_BYTES_MAX: usize = 4 * KIB;
/// Lines a second of an MCP server's standard error that are logged; the rest is counted.
pub const MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX: usize = 100;
/// Bytes of an MCP server's standard error that are read in a second for long; the server waits to write more.
pub const MCP_CLIENT_STDERR_BYTES_PER_SECOND_MAX: usize = MIB;
/// Bytes of an MCP server's standard error that are read at once.
pub const MCP_CLIENT_STDERR_BYTES_BURST: usize = 32 * MIB;
/// Last lines of an MCP server's standard error that are kept for the message about its end.
pub const MCP_CLIENT_STDERR_TAIL_LINES: usize = 5;
/// Time without use after which a connection to an MCP server is closed.
pub const MCP_CLIENT_IDLE_TIME: Duration = Duration::from_secs(900);
/// Time before an MCP server that failed once is tried again; doubled with each failure.
pub const MCP_CLIENT_BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Time before an MCP server that failed often is tried again.
pub const MCP_CLIENT_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Failures in a row (times) after which an MCP server is tried only for somebody who asks.
pub const MCP_CLIENT_BREAKER_FAILURES: u32 = 5;
/// Time that must pass between two such tries.
pub const MCP_CLIENT_BREAKER_OPEN: Duration = Duration::from_secs(60);
/// Time after which a connection without a call counts as one that works.
pub const MCP_CLIENT_STABLE_TIME: Duration = Duration::from_secs(10);
/// Time from when an MCP server is first reached for, or was lost, in which requests wait for its tools; after it they go on
/// without them.
pub const MCP_CLIENT_RECONNECT_WAIT: Duration = Duration::from_secs(2);
/// Period of asking a quiet MCP server whether it still answers.
pub const MCP_CLIENT_HEALTH_PERIOD: Duration = Duration::from_secs(30);
/// Time an MCP server has for that answer.
pub const MCP_CLIENT_HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest period between two readings of a list that changes.
pub const MCP_CLIENT_LIST_REFRESH_PERIOD: Duration = Duration::from_millis(250);
/// Time of each step of ending an MCP server: end of input, SIGTERM, SIGKILL.
pub const MCP_CLIENT_CLOSE_GRACE: Duration = Duration::from_secs(2);

// ---- MCP server ------------------------------------------------------------------------------------------------

/// Bytes of one line on standard input of `firebox mcp serve`.
pub const MCP_SERVER_LINE_BYTES_MAX: usize = 4 * MIB;
/// Messages of standard input that are read and wait to be served.
pub const MCP_LINES_BUFFERED_MAX: usize = 16;
/// Bytes of the id of one request.
pub const MCP_REQUEST_ID_BYTES_MAX: usize = 1_024;
/// Messages of one batch, which revisions before 2025-06-18 have.
pub const MCP_BATCH_MAX: usize = 64;
/// Requests of one connection or session that wait for their answer.
pub const MCP_SERVER_REQUESTS_MAX: usize = 1_024;
/// Time that requests have to be answered after the end of standard input.
pub const MCP_STDIO_DRAIN: Duration = Duration::from_secs(30);
/// Tool calls of MCP clients that run at a time, all tenants together.
pub const MCP_SERVER_CALLS_MAX: usize = 256;
/// Connections that requests of `firebox mcp serve --listen` come through at a time.
pub const MCP_SERVER_CONNECTIONS_MAX: usize = 256;
/// Bytes of one request's body at `/mcp`.
pub const MCP_BODY_BYTES_MAX: usize = 4 * MIB;
/// Sessions that requests of revisions before 2026-07-28 may have open, all tenants together.
pub const MCP_SESSIONS_MAX: usize = 1_024;
/// Sessions that requests of one tenant may have open.
pub const MCP_SESSIONS_PER_TENANT_MAX: usize = 128;
/// Time after which a session without requests ends.
pub const MCP_SESSION_IDLE: Duration = Duration::from_secs(600);
/// Time a new session has for its first request.
pub const MCP_SESSION_START: Duration = Duration::from_secs(10);
/// Time for which the events of an answered request can be read again by a client that lost its connection.
pub const MCP_REPLAY: Duration = Duration::from_secs(60);
/// Events that wait in one session for its reader.
pub const MCP_EVENTS_BUFFERED_MAX: usize = 64;
/// Open requests that wait for changes of tool lists, all tenants together.
pub const MCP_LISTENERS_MAX: usize = 1_024;
/// Open requests of one tenant that wait for changes of its tool list.
pub const MCP_LISTENERS_PER_TENANT_MAX: usize = 64;
/// Time after which a client that was told to wait should call again.
pub const MCP_RETRY: Duration = Duration::from_secs(1);
/// Time that the last answers have to reach their clients when the server stops.
pub const MCP_FLUSH_TIME: Duration = Duration::from_millis(100);
/// Callers whose tool lists are kept ready.
pub const MCP_LISTS_CACHED_MAX: usize = 256;
/// Time for which a client may reuse a tool list without asking again.
pub const MCP_LIST_TTL: Duration = Duration::from_secs(5);
/// Period of the empty lines that keep a waiting connection open.
pub const MCP_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time a connection of `firebox mcp serve --listen` has to send a request's headers.
pub const MCP_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that running calls have to end when the server stops.
pub const MCP_DRAIN: Duration = Duration::from_secs(5);
