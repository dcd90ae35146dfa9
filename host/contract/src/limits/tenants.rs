//! Limits of the configuration file, of tenants, of their usage and of the audit log.

use std::time::Duration;

use super::{CONNECTIONS_MAX, KIB, MIB};

// ---- Configuration --------------------------------------------------------------------------------------------

/// Bytes of one configuration file.
pub const CONFIG_BYTES_MAX: u64 = 64 * MIB as u64;
/// Bytes of `firebox.lock`.
pub const LOCK_FILE_BYTES_MAX: u64 = 64 * MIB as u64;
/// Bytes of the signature of a plugin.
pub const SIGNATURE_FILE_BYTES_MAX: u64 = 4 * KIB as u64;
/// Bytes of the file of a private key.
pub const SIGNING_KEY_BYTES_MAX: u64 = 16 * KIB as u64;
/// Characters of each line that `firebox lock` prints about a difference.
pub const LOCK_DIFF_CHARACTERS_MAX: usize = 16_384;
/// Bytes of the name of a model, plugin, tenant or MCP server.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of one secret file.
pub const SECRET_BYTES_MAX: u64 = 64 * KIB as u64;
/// Time that a change of the tenants file waits for another change.
pub const TENANTS_LOCK_WAIT: Duration = Duration::from_secs(10);

// ---- Tenants --------------------------------------------------------------------------------------------------

/// Tenants of one configuration.
pub const TENANTS_MAX: usize = 100_000;
/// Keys of one tenant.
pub const KEYS_PER_TENANT_MAX: usize = 64;
/// Maximum of `tenant.weight`.
pub const TENANT_WEIGHT_MAX: u32 = 1_000;
/// Default of `tenant.limits.streams_max`: streaming answers of one tenant at the same time.
pub const STREAMS_PER_TENANT_DEFAULT: usize = 128;
/// Sliding window of every limit per minute.
pub const RATE_WINDOW: Duration = Duration::from_secs(60);
/// Resolution of the sliding window of every limit per minute. A window is longer than a minute by at most this time.
pub const RATE_SLOT: Duration = Duration::from_millis(250);
/// Days of usage that `GET /v1/usage` shows one by one. Earlier days count only in the total.
pub const USAGE_DAYS_MAX: usize = 32;
/// Period at which the usage of tenants is stored. A crash of the host loses at most the usage of one period.
pub const USAGE_SAVE_PERIOD: Duration = Duration::from_secs(10);
/// Longest time between two checks whether the key of a running request has expired.
pub const KEY_EXPIRY_CHECK_PERIOD: Duration = Duration::from_millis(500);
/// Shortest time between two checks whether the key of a running request has expired.
pub const KEY_EXPIRY_CHECK_PERIOD_MIN: Duration = Duration::from_millis(5);

// ---- Audit log ------------------------------------------------------------------------------------------------

/// Audit lines that wait to be written. When the queue is full, new work is refused.
pub const AUDIT_LINES_WAITING_MAX: usize = 8_192;
/// Audit lines of running work that can wait in addition to `AUDIT_LINES_WAITING_MAX`. Further lines are lost and counted.
pub const AUDIT_LINES_RESERVED: usize = 2_048;
/// Bytes of audit lines that wait to be written.
pub const AUDIT_BYTES_WAITING_MAX: usize = 64 * MIB;
/// The waiting audit lines of one tenant use at most this fraction of the free queue. Beyond it, new work of the tenant is
/// refused.
pub const AUDIT_TENANT_DIVISOR: usize = 4;
/// Bytes of one prompt or of the arguments of one call in the audit log with `audit.prompts = true`. The rest is cut.
pub const AUDIT_TEXT_BYTES_MAX: usize = 64 * KIB;
/// Period at which the audit log is flushed to disk with `fsync`.
pub const AUDIT_SYNC_PERIOD: Duration = Duration::from_secs(1);
/// Time between two attempts to write to an audit log that cannot be written.
pub const AUDIT_RETRY_PERIOD: Duration = Duration::from_millis(500);
/// Time to write the waiting audit lines at shutdown.
pub const AUDIT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that an audit line waits for another process that writes to the same log.
pub const AUDIT_LOCK_WAIT: Duration = Duration::from_secs(2);
/// Bytes of one line that `firebox audit verify` reads, and of the end of the log that is read at a start.
pub const AUDIT_LINE_BYTES_MAX: usize = 2 * MIB;
/// Requests in progress whose client address and client request id are known to the audit log.
pub const AUDIT_ORIGINS_MAX: usize = CONNECTIONS_MAX;
/// Bytes of the `x-request-id` of a client.
pub const CLIENT_REQUEST_ID_BYTES_MAX: usize = 128;
/// Period in which refusals of the same kind become one log line and one audit line with a count.
pub const REFUSALS_PERIOD: Duration = Duration::from_secs(1);
/// Kinds of refusals (tenant, key, address and reason) that are counted separately. Further kinds are counted together.
pub const REFUSAL_KINDS_MAX: usize = 1_024;
/// Kinds of refusals without a valid key that are counted separately. Further kinds are counted together.
pub const REFUSAL_KINDS_UNKNOWN_MAX: usize = 256;
