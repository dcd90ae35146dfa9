//! Stored conversations: one SQLite file, with the tenant in the key of every table and every statement.
//!
//! When a method returns `Ok`, its change is on disk: the write-ahead log is synced at every commit, so that neither a killed
//! process nor a power failure loses it. All methods block. Async callers run them on a thread for blocking work.

mod clock;
mod error;
mod file_monitor;
mod fit;
mod open;
mod read;
mod rows;
mod share;
mod transfer;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use firebox_contract::{Message, TenantId, limits};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use clock::RunningTime;
pub use clock::{Clocks, RunningClock, WallClock};
pub use error::SessionError;
use file_monitor::FileMonitor;
pub use fit::fit;
pub(crate) use fit::fit_quickly;
pub use open::set_aside;

/// The number of a session's system message. It is not counted: the first message has number 1.
pub const SYSTEM_SEQ: u64 = 0;

/// The limits of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLimits {
    /// The maximum number of sessions of a tenant.
    pub sessions_max: usize,
    /// The maximum number of messages of a session, without the system message.
    pub messages_max: usize,
    /// The maximum bytes of all messages of a session.
    pub bytes_max: u64,
    /// The maximum bytes of the database file.
    pub file_bytes_max: u64,
    /// The maximum bytes of all sessions of a tenant without a value in [`SessionStore::share`].
    pub tenant_bytes_max: u64,
    /// The time without use after which a session expires, counted while a store is open; `None` for never.
    pub idle: Option<Duration>,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions_max: limits::SESSIONS_PER_TENANT_DEFAULT,
            messages_max: limits::CHAT_SESSION_MESSAGES_MAX,
            bytes_max: limits::SESSION_BYTES_MAX_DEFAULT,
            file_bytes_max: limits::SESSIONS_FILE_BYTES_MAX_DEFAULT,
            tenant_bytes_max: limits::SESSIONS_FILE_BYTES_MAX_DEFAULT,
            idle: Some(limits::SESSION_IDLE_DEFAULT),
        }
    }
}

/// A new session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewSession {
    /// A title for people.
    pub title: Option<String>,
    /// The model of the session.
    pub model: String,
    /// The system message.
    pub system: Option<String>,
}

/// A session, without its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// A ULID, unique in the store.
    pub id: String,
    /// A title for people.
    pub title: Option<String>,
    /// The model of the session.
    pub model: String,
    /// The session that this one was forked from. It may be deleted.
    pub parent: Option<String>,
    /// The time of creation.
    pub created: SystemTime,
    /// The time of the last change.
    pub used: SystemTime,
    /// The number of messages without the system message, which is also the number of the last one.
    pub length: u64,
    /// The bytes of all messages.
    pub bytes: u64,
}

/// A message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The number in the session: [`SYSTEM_SEQ`] for the system message, then 1, 2, 3, …
    pub seq: u64,
    /// The message.
    pub message: Message,
    /// Whether [`fit`] keeps it when it drops older turns.
    pub pinned: bool,
    /// The time at which it was stored.
    pub created: SystemTime,
}

/// The page of a list to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// The maximum number of sessions, at most [`limits::SESSIONS_PAGE_MAX`].
    pub limit: usize,
    /// The session before the page; `None` for the first page.
    pub after: Option<String>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: limits::SESSIONS_PAGE_MAX, after: None }
    }
}

/// A page of a list, newest sessions first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// The value of `PageRequest::after` for the next page; `None` on the last page.
    pub next: Option<String>,
}

/// The sessions of all tenants. Clones share one connection for writing and a few for reading.
#[derive(Clone)]
pub struct SessionStore {
    shared: Arc<StoreInner>,
}

struct StoreInner {
    path: PathBuf,
    limits: SessionLimits,
    clocks: Clocks,
    running: RunningTime,
    /// The maximum bytes of all sessions of a tenant, where it differs from the default.
    shares: RwLock<HashMap<TenantId, u64>>,
    writer: Mutex<Connection>,
    /// Empty for a store in memory, which only the writer can read.
    readers: Vec<Mutex<Connection>>,
    /// The number of reads, to use the readers in rotation.
    reads: AtomicUsize,
    /// Dropped after the connections, since it has a handle of their file.
    file_monitor: FileMonitor,
}

impl SessionStore {
    /// Opens the file at `path`. Creates it, readable by its owner only, if it does not exist. `:memory:` stores nothing on
    /// disk. Other stores may use the file at the same time, but no server.
    ///
    /// # Errors
    /// `SessionError::Damaged` for a file that is not an intact database, which stays unchanged; `SessionError::Foreign` for
    /// one of another program or of a newer Firebox; `SessionError::InUse` if a server uses it; `SessionError::Full` and
    /// `SessionError::Storage` if the system cannot open or write it.
    pub fn open(path: &Path, limits: SessionLimits) -> Result<Self, SessionError> {
        Self::open_with_clocks(path, limits, Clocks::default())
    }

    /// As [`SessionStore::open`], with other clocks.
    ///
    /// # Errors
    /// As [`SessionStore::open`].
    pub fn open_with_clocks(path: &Path, limits: SessionLimits, clocks: Clocks) -> Result<Self, SessionError> {
        Self::open_as(path, limits, clocks, false)
    }

    /// As [`SessionStore::open`], for a server: no other process can open the file at the same time, and some disk space is
    /// reserved for deleting.
    ///
    /// # Errors
    /// As [`SessionStore::open`]. `SessionError::InUse` names the process that uses it.
    pub fn open_alone(path: &Path, limits: SessionLimits) -> Result<Self, SessionError> {
        Self::open_as(path, limits, Clocks::default(), true)
    }

    fn open_as(path: &Path, limits: SessionLimits, clocks: Clocks, alone: bool) -> Result<Self, SessionError> {
        let opened = open::open(path, &limits, (clocks.wall)(), alone)?;
        let shared = StoreInner {
            path: path.to_owned(),
            limits,
            running: RunningTime::new(opened.running, Arc::clone(&clocks.running)),
            clocks,
            shares: RwLock::default(),
            writer: Mutex::new(opened.writer),
            readers: opened.readers.into_iter().map(Mutex::new).collect(),
            reads: AtomicUsize::new(0),
            file_monitor: opened.file_monitor,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The reason why the store cannot be used now, if any: the file was replaced or damaged, or the last change failed.
    #[must_use]
    pub fn trouble(&self) -> Option<SessionError> {
        self.shared.file_monitor.trouble()
    }

    /// Checks that the file was not replaced and can be written. [`SessionStore::trouble`] then returns a problem before a
    /// request meets it.
    ///
    /// # Errors
    /// The problem.
    pub fn probe(&self) -> Result<(), SessionError> {
        let failing = self.trouble().is_some();
        let found = self.shared.file_monitor.probe().and_then(|()| self.check_room());
        self.shared.file_monitor.ended(found.as_ref().map(|_| ()));
        found?;
        // Only after a failure is a write tried, so that a healthy file is not written every few seconds.
        if failing { self.store_running_time() } else { Ok(()) }
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The limits of the store.
    #[must_use]
    pub fn limits(&self) -> &SessionLimits {
        &self.shared.limits
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // A panic rolls back its open transaction, so the connection stays valid.
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        let readers = &self.shared.readers;
        if readers.is_empty() {
            return self.writer();
        }
        let index = self.shared.reads.fetch_add(1, Ordering::Relaxed) % readers.len();
        readers[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for reading, after a check that the file was not replaced.
    fn checked_reader(&self) -> Result<MutexGuard<'_, Connection>, SessionError> {
        self.shared.file_monitor.check()?;
        Ok(self.reader())
    }

    fn now(&self) -> SystemTime {
        (self.shared.clocks.wall)()
    }

    fn now_millis(&self) -> i64 {
        rows::millis(self.now())
    }

    /// Sessions that were last used before this time are expired. In milliseconds of running time.
    fn horizon(&self) -> i64 {
        let idle = self.shared.limits.idle.map(|idle| i64::try_from(idle.as_millis()).unwrap_or(i64::MAX));
        idle.map_or(i64::MIN, |idle| self.shared.running.millis().saturating_sub(idle))
    }

    /// The error of a failed statement. If the file is damaged, the store is not used any more.
    fn failed(&self, error: rusqlite::Error) -> SessionError {
        let error = SessionError::of(error, &self.shared.path);
        match error {
            SessionError::Damaged { .. } => self.shared.file_monitor.lost(error),
            error => error,
        }
    }
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        if self.file_monitor.check().is_ok() {
            return;
        }
        // Otherwise closing would copy the log into a file that was replaced or damaged, and delete the log.
        let connections = std::iter::once(&mut self.writer).chain(&mut self.readers);
        for connection in connections {
            let connection = connection.get_mut().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
                tracing::error!(%error, "the session file may be written when it is closed");
            }
        }
    }
}

/// The error for a session that the tenant does not have.
fn absent(tenant: &TenantId, id: &str) -> SessionError {
    let shown: String = id.chars().take(64).collect();
    SessionError::NotFound(format!(
        "there is no session \"{shown}\" for tenant \"{tenant}\"; list the sessions to see their ids"
    ))
}
