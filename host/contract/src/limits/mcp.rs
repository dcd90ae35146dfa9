//! Limits of the MCP client and of the MCP server.

use std::time::Duration;

use super::{KIB, MIB};

// ---- MCP client -----------------------------------------------------------------------------------------------

/// MCP servers of one configuration.
pub const MCP_CLIENT_SERVERS_MAX: usize = 64;
/// Connections to MCP servers at the same time, all tenants together. The connection that is idle longest is closed
/// first.
pub const MCP_CLIENT_CONNECTIONS_MAX: usize = 256;
/// Maximum of every timeout of an MCP server.
pub const MCP_CLIENT_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Bytes of one message of an MCP server. A longer message ends the connection.
pub const MCP_CLIENT_LINE_BYTES_MAX: usize = 16 * MIB;
/// Tool calls of one MCP connection at the same time. Further calls wait.
pub const MCP_CLIENT_CALLS_MAX: usize = 16;
/// Requests of an MCP server that wait for an answer of the host. One more ends the connection.
pub const MCP_CLIENT_SERVER_REQUESTS_MAX: usize = 64;
/// Messages that an MCP server may send before the handshake is complete. One more ends the connection.
pub const MCP_CLIENT_HANDSHAKE_MESSAGES_MAX: usize = 256;
/// Sustained rate of messages of one MCP server. A server above the rate and the burst is disconnected.
pub const MCP_CLIENT_INBOUND_MESSAGES_PER_SECOND: usize = 1_000;
/// Messages that an MCP server may send in one burst.
pub const MCP_CLIENT_INBOUND_MESSAGES_BURST: usize = 10_000;
/// Sustained rate of bytes of one MCP server. A server above the rate and the burst is disconnected.
pub const MCP_CLIENT_INBOUND_BYTES_PER_SECOND: usize = 16 * MIB;
/// Bytes that an MCP server may send in one burst.
pub const MCP_CLIENT_INBOUND_BYTES_BURST: usize = 128 * MIB;
/// Progress notifications of one call in the buffer. Further progress notifications are dropped.
pub const MCP_CLIENT_PROGRESS_BUFFERED_MAX: usize = 16;
/// Pages of the tool list of one MCP server.
pub const MCP_CLIENT_PAGES_MAX: usize = 64;
/// Tools of one MCP server.
pub const MCP_CLIENT_TOOLS_MAX: usize = 1_024;
/// Bytes of the name that a model sees for a tool of an MCP server.
pub const MCP_CLIENT_TOOL_NAME_BYTES_MAX: usize = 64;
/// Bytes of the description of one tool of an MCP server. The rest is cut.
pub const MCP_CLIENT_TOOL_TEXT_BYTES_MAX: usize = 16 * KIB;
/// Bytes of the schema of one tool of an MCP server. A tool with a larger schema is not offered.
pub const MCP_CLIENT_SCHEMA_BYTES_MAX: usize = 256 * KIB;
/// Bytes of all descriptions and schemas of one MCP server. Further tools are not offered.
pub const MCP_CLIENT_LIST_BYTES_MAX: usize = 8 * MIB;
/// Bytes of the message of one progress notification. The rest is cut.
pub const MCP_CLIENT_PROGRESS_TEXT_BYTES_MAX: usize = KIB;
/// Bytes of the error message of an MCP server. The rest is cut.
pub const MCP_CLIENT_REASON_BYTES_MAX: usize = 8 * KIB;
/// Requests to one MCP server that are remembered until their answer arrives.
pub const MCP_CLIENT_UNANSWERED_MAX: usize = 256;
/// Time for an MCP server to answer the handshake of the newest revision, at most a quarter of its connect timeout.
/// After that an older revision is tried on the same connection.
pub const MCP_CLIENT_PROBE_TIME: Duration = Duration::from_secs(10);
/// Time for an MCP server with the HTTP+SSE transport to send its message endpoint.
pub const MCP_CLIENT_ENDPOINT_WAIT: Duration = Duration::from_secs(10);
/// Rejected tools of an MCP server that are listed with a reason. Further rejected tools are counted.
pub const MCP_CLIENT_REJECTED_TOOLS_LISTED_MAX: usize = 64;
/// Changes that the message about a changed tool list names.
pub const MCP_CLIENT_CHANGED_TOOLS_NAMED_MAX: usize = 5;
/// Warnings about malformed messages of one MCP server in one `MCP_CLIENT_WARNINGS_PERIOD`.
pub const MCP_CLIENT_WARNINGS_LOGGED_MAX: usize = 10;
/// Period for which warnings about malformed messages of one MCP server are counted.
pub const MCP_CLIENT_WARNINGS_PERIOD: Duration = Duration::from_secs(60);
/// Bytes that are read of the body of an HTTP error answer.
pub const MCP_CLIENT_ERROR_BODY_BYTES_MAX: usize = 64 * KIB;
/// Time to wait for the exit code of an MCP server that has closed its output, and period at which the exit is checked.
pub const MCP_CLIENT_EXIT_WAIT: Duration = Duration::from_millis(400);
/// Time without output after which the connection to an exited MCP server ends although one of its child processes
/// holds the output open.
pub const MCP_CLIENT_ORPHAN_SILENCE: Duration = Duration::from_secs(1);
/// Bytes of one standard error line of an MCP server.
pub const MCP_CLIENT_STDERR_LINE_BYTES_MAX: usize = 4 * KIB;
/// Standard error lines of one MCP server that are logged per second. Further lines are counted.
pub const MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX: usize = 100;
/// Sustained rate at which standard error of an MCP server is read. A faster server blocks until it is read.
pub const MCP_CLIENT_STDERR_BYTES_PER_SECOND_MAX: usize = MIB;
/// Bytes of standard error of an MCP server that are read in one burst.
pub const MCP_CLIENT_STDERR_BYTES_BURST: usize = 32 * MIB;
/// Last standard error lines of an MCP server that are shown in the message about its exit.
pub const MCP_CLIENT_STDERR_TAIL_LINES: usize = 5;
/// Time without use after which a connection to an MCP server is closed.
pub const MCP_CLIENT_IDLE_TIME: Duration = Duration::from_secs(900);
/// Time before the first reconnect to an MCP server. Each failure doubles the time.
pub const MCP_CLIENT_BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Longest time between two attempts to connect to an MCP server.
pub const MCP_CLIENT_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Consecutive failures after which the circuit breaker of an MCP server opens. An open breaker connects only for a
/// request.
pub const MCP_CLIENT_BREAKER_FAILURES: u32 = 5;
/// Minimum time between attempts to connect while the circuit breaker of an MCP server is open.
pub const MCP_CLIENT_BREAKER_OPEN: Duration = Duration::from_secs(60);
/// Time after which a connection without a call counts as successful, so that the backoff restarts.
pub const MCP_CLIENT_STABLE_TIME: Duration = Duration::from_secs(10);
/// Time after the start or the loss of a connection in which requests wait for the tools of an MCP server. After that
/// requests run without the tools.
pub const MCP_CLIENT_RECONNECT_WAIT: Duration = Duration::from_secs(2);
/// Period of the pings to an idle MCP server.
pub const MCP_CLIENT_HEALTH_PERIOD: Duration = Duration::from_secs(30);
/// Time for an MCP server to answer a ping.
pub const MCP_CLIENT_HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Minimum time between two readings of the tool list of an MCP server.
pub const MCP_CLIENT_LIST_REFRESH_PERIOD: Duration = Duration::from_millis(250);
/// Time for each step of stopping an MCP server: end of input, SIGTERM, SIGKILL.
pub const MCP_CLIENT_CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Default of `mcp.server.connect_timeout`: time for an MCP server to start and complete the handshake.
pub const MCP_CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Default of `mcp.server.total_timeout`: time of one MCP call. Progress does not extend it.
pub const MCP_TOTAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);

// ---- MCP server ------------------------------------------------------------------------------------------------

/// Bytes of one message on standard input of `firebox mcp serve`.
pub const MCP_SERVER_LINE_BYTES_MAX: usize = 4 * MIB;
/// Messages on standard input of `firebox mcp serve` in the buffer.
pub const MCP_LINES_BUFFERED_MAX: usize = 16;
/// Bytes of the id of one request.
pub const MCP_REQUEST_ID_BYTES_MAX: usize = 1_024;
/// Messages of one batch. Only revisions before 2025-06-18 have batches.
pub const MCP_BATCH_MESSAGES_MAX: usize = 64;
/// Requests of one connection or MCP session that wait for an answer.
pub const MCP_SERVER_REQUESTS_MAX: usize = 1_024;
/// Time to answer the last requests after the end of standard input.
pub const MCP_STDIO_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Tool calls of MCP clients that run at the same time, all tenants together.
pub const MCP_SERVER_CALLS_MAX: usize = 256;
/// Connections to `firebox mcp serve --listen` at the same time.
pub const MCP_SERVER_CONNECTIONS_MAX: usize = 256;
/// Bytes of one request body at `/mcp`.
pub const MCP_BODY_BYTES_MAX: usize = 4 * MIB;
/// Open MCP sessions of all tenants, for clients with revisions before 2026-07-28.
pub const MCP_SESSIONS_MAX: usize = 1_024;
/// Open MCP sessions of one tenant.
pub const MCP_SESSIONS_PER_TENANT_MAX: usize = 128;
/// Time without a request after which an MCP session ends.
pub const MCP_SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Time for the first request of a new MCP session.
pub const MCP_SESSION_START_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a client that lost its connection can read the events of an answered request again.
pub const MCP_REPLAY_TIME: Duration = Duration::from_secs(60);
/// Events of one MCP session in the buffer.
pub const MCP_EVENTS_BUFFERED_MAX: usize = 64;
/// Open subscriptions to tool list changes, all tenants together.
pub const MCP_SUBSCRIPTIONS_MAX: usize = 1_024;
/// Open subscriptions to tool list changes of one tenant.
pub const MCP_SUBSCRIPTIONS_PER_TENANT_MAX: usize = 64;
/// `Retry-After` of an MCP request that is refused because a limit is reached.
pub const MCP_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Time to send the last answers at shutdown.
pub const MCP_FLUSH_TIME: Duration = Duration::from_millis(100);
/// Tool lists in the cache, one for each caller.
pub const MCP_LISTS_CACHED_MAX: usize = 256;
/// Time for which a client may reuse a tool list.
pub const MCP_LIST_TTL: Duration = Duration::from_secs(5);
/// Period of the empty lines that keep an idle connection open.
pub const MCP_KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(15);
/// Time to send the headers of a request to `firebox mcp serve --listen`.
pub const MCP_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that running calls have to finish when `firebox mcp serve` stops.
pub const MCP_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
