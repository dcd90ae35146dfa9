//! Limits of the client that downloads models from a hub, and of its cache.

use std::time::Duration;

use super::super::{GIB, KIB, MIB};

// ---- Model hub ------------------------------------------------------------------------------------------------

/// Bytes of the organisation or of the name of a model on a hub.
pub const HUB_NAME_BYTES_MAX: usize = 96;
/// Bytes of a revision on a hub.
pub const HUB_REVISION_BYTES_MAX: usize = 255;
/// Bytes of the path of a file in a model on a hub.
pub const HUB_PATH_BYTES_MAX: usize = KIB;
/// Bytes of a hub's token.
pub const HUB_TOKEN_BYTES_MAX: usize = 4 * KIB;
/// Bytes of a hub's description of one model.
pub const HUB_LISTING_BYTES_MAX: usize = 32 * MIB;
/// Files of one model on a hub.
pub const HUB_FILES_MAX: usize = 16_384;
/// Bytes of one file of a hub.
pub const HUB_FILE_BYTES_MAX: u64 = 2_048 * GIB;
/// Bytes of the body of a hub's refusal that are read.
pub const HUB_REFUSAL_BYTES_MAX: usize = 4 * KIB;
/// Characters of a text from a hub in one message.
pub const HUB_SHOWN_CHARACTERS_MAX: usize = 200;
/// Redirects of one request to a hub.
pub const HUB_REDIRECTS_MAX: usize = 5;
/// Time to connect to a hub.
pub const HUB_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without a byte from a hub, after which the connection counts as broken.
pub const HUB_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Time over which the speed of a download is measured.
pub const HUB_SPEED_WINDOW: Duration = Duration::from_secs(60);
/// Bytes that a download has to bring in that time, or the connection counts as broken.
pub const HUB_SPEED_BYTES_MIN: u64 = 64 * KIB as u64;
/// Attempts at one request that bring nothing before a download fails.
pub const HUB_ATTEMPTS_MAX: u32 = 6;
/// Bytes that a broken attempt must have brought so that it does not count as one that brings nothing.
pub const HUB_ATTEMPT_BYTES_MIN: u64 = MIB as u64;
/// Wait before the second attempt. Each further wait is twice as long.
pub const HUB_BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Wait before any attempt, if the hub names none.
pub const HUB_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Wait that a hub may ask for. If it asks for more, the download fails.
pub const HUB_RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Bytes of one read of a file that is hashed.
pub const HUB_HASH_BUFFER_BYTES: usize = MIB;
/// Bytes of disk space that a download leaves free.
pub const HUB_DISK_RESERVE_BYTES: u64 = 256 * MIB as u64;
/// Period at which a process looks whether another one has finished the download of a file.
pub const HUB_LOCK_PERIOD: Duration = Duration::from_millis(100);
/// Time without progress after which a process no longer waits for the download of another one.
pub const HUB_LOCK_IDLE_MAX: Duration = Duration::from_secs(600);
/// Period at which a download that has no terminal prints its progress.
pub const HUB_PROGRESS_PERIOD: Duration = Duration::from_secs(10);

// ---- Model cache ----------------------------------------------------------------------------------------------

/// Maximum of `hub.cache_bytes_max`.
pub const HUB_CACHE_BYTES_MAX: u64 = 1_048_576 * GIB;
/// Files of the model cache that are read.
pub const HUB_CACHE_FILES_MAX: usize = 262_144;
/// Levels of folders of one model in the cache.
pub const HUB_CACHE_DEPTH_MAX: usize = 8;
/// Age of an incomplete download after which the cache limit removes it.
pub const HUB_INCOMPLETE_AGE: Duration = Duration::from_secs(86_400);
