//! Of tenants and what is kept for them.

use std::time::Duration;

use super::{GIB, KIB, MIB, PROMPT_BYTES_MAX};

// ---- Configuration and tenants --------------------------------------------------------------------------------

/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: u64 = 64 * MIB as u64;
/// Bytes of the name of a model, plugin, tenant or MCP server.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a secret's file.
pub const SECRET_BYTES_MAX: u64 = 64 * KIB as u64;
/// Tenants of one configuration.
pub const TENANTS_MAX: usize = 100_000;
/// Keys of one tenant.
pub const KEYS_PER_TENANT_MAX: usize = 64;
/// Highest weight of a tenant.
pub const TENANT_WEIGHT_MAX: u32 = 1_000;
/// Sessions of one tenant when nobody says otherwise.
pub const SESSIONS_PER_TENANT_DEFAULT: usize = 1_000;
/// Sessions of one tenant at most.
pub const SESSIONS_PER_TENANT_MAX: usize = 1_000_000;
/// A session that nobody used for so long is deleted, when nobody says otherwise.
pub const SESSION_IDLE_DEFAULT: Duration = Duration::from_secs(86_400);
/// Longest life of an unused session.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Port on which requests are taken when nobody says otherwise.
pub const LISTEN_PORT_DEFAULT: u16 = 8_080;
/// Bytes of a request's body when nobody says otherwise.
pub const BODY_BYTES_DEFAULT: usize = 16 * MIB;
/// Bytes of a request's body at most.
pub const BODY_BYTES_MAX: usize = 256 * MIB;
/// Connections at a time when nobody says otherwise.
pub const CONNECTIONS_DEFAULT: usize = 1_024;
/// Connections at a time at most.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Streams of one tenant at a time when nobody says otherwise.
pub const STREAMS_PER_TENANT_DEFAULT: usize = 128;
/// Time a client may be behind in taking what is sent to it when nobody says otherwise.
pub const READER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// Time a client may be behind in taking what is sent to it at most.
pub const READER_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Time a client has to send its headers when nobody says otherwise.
pub const HEADER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Time a client has to send its headers at most.
pub const HEADER_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Time running work has to end at shutdown when nobody says otherwise.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Time running work has to end at shutdown at most.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Rounds of tool calls in one request at most.
pub const TOOL_ROUNDS_MAX: usize = 32;
/// Time somebody has to approve a tool call when nobody says otherwise.
pub const APPROVAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// Time somebody has to approve a tool call at most.
pub const APPROVAL_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Time an MCP server has to start and shake hands when nobody says otherwise.
pub const MCP_CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Time of one MCP call in all, progress or not, when nobody says otherwise.
pub const MCP_TOTAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Bytes of keys and values of all sequences of one model together at most.
pub const MODEL_CACHE_BYTES_MAX: u64 = 1_024 * GIB;
/// Time over which rates count: what happened longer ago is free again.
pub const RATE_WINDOW: Duration = Duration::from_secs(60);
/// Time within which what is counted is forgotten together; a window is at most this much longer.
pub const RATE_SLOT: Duration = Duration::from_millis(250);
/// Days of a tenant's usage that are kept apart; older ones are only in the total.
pub const USAGE_DAYS_MAX: usize = 32;
/// Time after which what tenants used is stored; a crash of the host forgets at most so much of it.
pub const USAGE_SAVE_PERIOD: Duration = Duration::from_secs(10);
/// Time after which a server gives back memory that its allocator holds for nobody.
pub const MEMORY_TRIM_PERIOD: Duration = Duration::from_secs(60);
/// Time after which a running request looks again whether its key, which has an expiry, has expired.
pub const KEY_EXPIRY_PERIOD: Duration = Duration::from_millis(500);
/// Shortest time between two such looks.
pub const KEY_EXPIRY_PERIOD_MIN: Duration = Duration::from_millis(5);
/// Time a change of the tenants file waits for another one.
pub const TENANTS_LOCK_WAIT: Duration = Duration::from_secs(10);
/// Lines that wait to be written to the audit log before new work is refused.
pub const AUDIT_LINES_WAITING_MAX: usize = 8_192;
/// Lines of running work that may wait on top of that; what does not fit is counted as lost.
pub const AUDIT_LINES_RESERVED: usize = 2_048;
/// Bytes of lines that wait to be written to the audit log.
pub const AUDIT_BYTES_WAITING_MAX: usize = 64 * MIB;
/// Bytes of one prompt or call's arguments in the audit log, where their text is wanted; the rest is cut.
pub const AUDIT_TEXT_BYTES_MAX: usize = 64 * KIB;
/// Time after which what was written to the audit log is made to last.
pub const AUDIT_SYNC_PERIOD: Duration = Duration::from_secs(1);
/// Time after which a write to the audit log that failed is tried again.
pub const AUDIT_RETRY: Duration = Duration::from_millis(500);
/// Time the audit log has to write what waits when it is closed.
pub const AUDIT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A tenant begins no new work while more of its lines wait for the audit log than this part of the free places: one
/// divided by this number.
pub const AUDIT_TENANT_SHARE: usize = 4;
/// Refusals of one kind are written to the log and the audit log once in this time, with their count.
pub const REFUSALS_PERIOD: Duration = Duration::from_secs(1);
/// Kinds of refusals (tenant, key, address and reason) that are counted apart; what is beyond is counted together.
pub const REFUSAL_KINDS_MAX: usize = 1_024;
/// Kinds of refusals of peers without a good key that are counted apart.
pub const REFUSAL_KINDS_UNKNOWN_MAX: usize = 256;
/// Requests whose client address and own id the audit log knows while they run.
pub const AUDIT_ORIGINS_MAX: usize = CONNECTIONS_MAX;
/// Bytes of an id that a client gives its request.
pub const CLIENT_REQUEST_ID_BYTES_MAX: usize = 128;
/// Bytes of one line of the audit log that a check reads, and of the end of the log that a start reads.
pub const AUDIT_LINE_BYTES_MAX: usize = 2 * MIB;
/// Time a line of the audit log waits for another process that writes one.
pub const AUDIT_LOCK_WAIT: Duration = Duration::from_secs(2);
/// Period at which a server tries whether its audit log and its session file can be written.
pub const RECORDS_PROBE_PERIOD: Duration = Duration::from_secs(2);
/// Bytes that must find room on the disk of the audit log and the session file for a server to be ready.
pub const RECORDS_PROBE_BYTES: usize = 64 * KIB;

// ---- Sessions -------------------------------------------------------------------------------------------------

/// Messages of one session when nobody says otherwise.
pub const SESSION_MESSAGES_MAX_DEFAULT: usize = 10_000;
/// Bytes of all messages of one session when nobody says otherwise.
pub const SESSION_BYTES_MAX_DEFAULT: u64 = 2 * PROMPT_BYTES_MAX as u64;
/// Bytes of the file that holds all sessions when nobody says otherwise.
pub const SESSIONS_FILE_BYTES_MAX_DEFAULT: u64 = 16 * GIB;
/// Bytes of the file that holds all sessions at least.
pub const SESSIONS_FILE_BYTES_MIN: u64 = MIB as u64;
/// Bytes of the file that holds all sessions at most.
pub const SESSIONS_FILE_BYTES_MAX: u64 = 1 << 44;
/// Bytes of one session at most.
pub const SESSION_BYTES_MAX: u64 = GIB;
/// Messages in one page of a session that is read over HTTP.
pub const SESSION_PAGE_MESSAGES_MAX: usize = 1_000;
/// Bytes of messages in one page of a session that is read over HTTP; a page has one message at least.
pub const SESSION_PAGE_BYTES_MAX: u64 = 4 * MIB as u64;
/// Bytes that a server keeps free on the disk of the session file, at most a sixteenth of it, so that a full disk still
/// lets sessions be deleted.
pub const SESSIONS_DISK_RESERVE_BYTES: u64 = 16 * MIB as u64;
/// One tenant's part of the session file when nobody says otherwise: the file's bytes divided by this number.
pub const SESSIONS_TENANT_SHARE: u64 = 8;
/// Session requests of one tenant that read or write the file at a time; more wait.
pub const SESSION_WORK_PER_TENANT_MAX: usize = 4;
/// Period at which the server removes expired sessions.
pub const SESSIONS_SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Expired sessions (a number of table rows) removed in one transaction, so that writers wait no longer than for that.
pub const SESSIONS_SWEEP_BATCH: usize = 256;
/// Sessions in one page of a list: table rows read at once.
pub const SESSIONS_PAGE_MAX: usize = 100;
/// Connections that read sessions; each is an open file and serves one thread at a time.
pub const SESSION_READERS: usize = 4;
/// Time one statement waits for another process that writes to the same file.
pub const SESSIONS_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes the write-ahead log keeps on disk once what it holds is in the database.
pub const SESSIONS_LOG_BYTES: u64 = 4 * MIB as u64;
/// Bytes of a session's title.
pub const SESSION_TITLE_BYTES_MAX: usize = 256;
/// Bytes of one line of an exported session.
pub const SESSION_LINE_BYTES_MAX: usize = 8 * PROMPT_BYTES_MAX;
