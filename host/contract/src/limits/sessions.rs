//! Limits of stored sessions.

use std::time::Duration;

use super::{GIB, MIB, PROMPT_BYTES_MAX};

// ---- Sessions -------------------------------------------------------------------------------------------------

/// Default of `tenant.limits.sessions_max`: sessions of one tenant.
pub const SESSIONS_PER_TENANT_DEFAULT: usize = 1_000;
/// Maximum of `tenant.limits.sessions_max`.
pub const SESSIONS_PER_TENANT_MAX: usize = 1_000_000;
/// Default of `sessions.idle_timeout`: time after its last use at which a session is deleted.
pub const SESSION_IDLE_DEFAULT: Duration = Duration::from_secs(86_400);
/// Maximum of `sessions.idle_timeout`.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Default of `sessions.bytes_max`: bytes of all messages of one session.
pub const SESSION_BYTES_MAX_DEFAULT: u64 = 2 * PROMPT_BYTES_MAX as u64;
/// Maximum of `sessions.bytes_max`.
pub const SESSION_BYTES_MAX: u64 = GIB;
/// Default of `sessions.file_bytes_max`: bytes of the session database.
pub const SESSIONS_FILE_BYTES_MAX_DEFAULT: u64 = 16 * GIB;
/// Minimum of `sessions.file_bytes_max`.
pub const SESSIONS_FILE_BYTES_MIN: u64 = MIB as u64;
/// Maximum of `sessions.file_bytes_max` and of `tenant.limits.sessions_bytes_max`.
pub const SESSIONS_FILE_BYTES_MAX: u64 = 1 << 44;
/// Default of `tenant.limits.sessions_bytes_max`: this fraction of `sessions.file_bytes_max`.
pub const SESSIONS_TENANT_DIVISOR: u64 = 8;
/// Bytes of the title of one session.
pub const SESSION_TITLE_BYTES_MAX: usize = 256;
/// Sessions in one page of the session list.
pub const SESSIONS_PAGE_MAX: usize = 100;
/// Messages in one page of a session that is read over HTTP.
pub const SESSION_PAGE_MESSAGES_MAX: usize = 1_000;
/// Bytes of messages in one page of a session that is read over HTTP. A page has at least one message.
pub const SESSION_PAGE_BYTES_MAX: u64 = 4 * MIB as u64;
/// Bytes of one line of an exported session.
pub const SESSION_LINE_BYTES_MAX: usize = 8 * PROMPT_BYTES_MAX;

// ---- Session database -----------------------------------------------------------------------------------------

/// Reads and writes of the session database that run for one tenant at the same time. Further ones wait.
pub const SESSION_OPERATIONS_PER_TENANT_MAX: usize = 4;
/// Database connections that read sessions. Each one is an open file and serves one thread at a time.
pub const SESSION_READERS_MAX: usize = 4;
/// Time that one statement waits for another process that writes to the session database.
pub const SESSIONS_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the write-ahead log that stay on disk after its content is in the database.
pub const SESSIONS_LOG_BYTES: u64 = 4 * MIB as u64;
/// Bytes that a server keeps free on the disk of the session database, but at most a sixteenth of the disk. A full disk must
/// not prevent the deletion of sessions.
pub const SESSIONS_DISK_RESERVE_BYTES: u64 = 16 * MIB as u64;
/// Period at which expired sessions are deleted.
pub const SESSIONS_SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Table rows of expired sessions that one transaction deletes. A larger transaction would block writers for longer.
pub const SESSIONS_SWEEP_ROWS: usize = 256;
