//! Conversations that outlive the process: one SQLite file, every statement keyed by tenant.
//!
//! What a method returned `Ok` for is on disk: the write-ahead log is synced at every commit, so that neither a
//! killed process nor a lost machine takes it back. All methods block; async callers put them on a blocking thread.

mod clock;
mod error;
mod fit;
mod open;
mod read;
mod rows;
mod share;
mod transfer;
mod watch;
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

use clock::Running;
pub use clock::{Clocks, RunningClock, WallClock};
pub use error::SessionError;
pub use fit::fit;
pub(crate) use fit::fit_quickly;
pub use open::set_aside;
use watch::Watch;

/// The number of a session's system message. It is not counted: the first message has number 1.
pub const SYSTEM_SEQ: u64 = 0;

/// Within what sessions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLimits {
    /// Live sessions of one tenant.
    pub sessions_max: usize,
    /// Messages of one session, the system message aside.
    pub messages_max: usize,
    /// Bytes of all messages of one session.
    pub bytes_max: u64,
    /// Bytes of the database file.
    pub file_bytes_max: u64,
    /// Bytes of all sessions of one tenant for which [`SessionStore::share`] says nothing else.
    pub tenant_bytes_max: u64,
    /// Time without use after which a session is gone, counted while a store is open; `None` keeps it.
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

/// What a session begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewSession {
    /// A name for people.
    pub title: Option<String>,
    /// The model it is held with.
    pub model: String,
    /// Instructions for the model.
    pub system: Option<String>,
}

/// A session, without its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// A ULID, unique in the store.
    pub id: String,
    /// A name for people.
    pub title: Option<String>,
    /// The model it is held with.
    pub model: String,
    /// The session this one was forked from, which may be gone.
    pub parent: Option<String>,
    /// When it began.
    pub created: SystemTime,
    /// When it was last written to.
    pub used: SystemTime,
    /// Messages it has, which is also the number of the last one. The system message is not counted.
    pub length: u64,
    /// Bytes of all its messages.
    pub bytes: u64,
}

/// A message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number in the session: [`SYSTEM_SEQ`] for the system message, then 1, 2, 3, …
    pub seq: u64,
    /// The message.
    pub message: Message,
    /// Whether it stays when older turns are dropped to make room.
    pub pinned: bool,
    /// When it was stored.
    pub created: SystemTime,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Sessions at most, cut to [`limits::SESSIONS_PAGE_MAX`].
    pub limit: usize,
    /// Go on after this session; `None` begins with the newest.
    pub after: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: limits::SESSIONS_PAGE_MAX, after: None }
    }
}

/// One page of a list, newest sessions first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// What `Page::after` must be for the next page; `None` on the last.
    pub next: Option<String>,
}

/// All sessions of all tenants. Cheap to clone; the clones share one writing and a few reading connections.
#[derive(Clone)]
pub struct SessionStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    limits: SessionLimits,
    clocks: Clocks,
    running: Running,
    /// Bytes of all sessions of a tenant, where its operator said so.
    shares: RwLock<HashMap<TenantId, u64>>,
    writer: Mutex<Connection>,
    /// Empty for a store in memory, which only its writer can see.
    readers: Vec<Mutex<Connection>>,
    turn: AtomicUsize,
    /// Dropped after the connections, since it holds a handle of their file.
    watch: Watch,
}

impl SessionStore {
    /// Opens the file at `path`, and makes it, for its owner alone, where there is none. `:memory:` keeps nothing.
    /// Other stores may be open on it, but no server's.
    ///
    /// # Errors
    /// `SessionError::Damaged` for a file that is not a whole database, which is left as it is;
    /// `SessionError::Foreign` for one that another program or a newer Firebox wrote; `SessionError::InUse` where a
    /// server has it; `SessionError::Full` and `SessionError::Storage` when the system does not let it be opened or
    /// written.
    pub fn open(path: &Path, limits: SessionLimits) -> Result<Self, SessionError> {
        Self::open_with_clocks(path, limits, Clocks::default())
    }

    /// As [`SessionStore::open`], with another idea of the time.
    ///
    /// # Errors
    /// As [`SessionStore::open`].
    pub fn open_with_clocks(path: &Path, limits: SessionLimits, clocks: Clocks) -> Result<Self, SessionError> {
        Self::open_as(path, limits, clocks, false)
    }

    /// As [`SessionStore::open`], for a server: nobody else can open the file meanwhile, and room is kept on its disk
    /// for deleting.
    ///
    /// # Errors
    /// As [`SessionStore::open`]; `SessionError::InUse` names the process that has it.
    pub fn open_alone(path: &Path, limits: SessionLimits) -> Result<Self, SessionError> {
        Self::open_as(path, limits, Clocks::default(), true)
    }

    fn open_as(path: &Path, limits: SessionLimits, clocks: Clocks, alone: bool) -> Result<Self, SessionError> {
        let opened = open::open(path, &limits, (clocks.wall)(), alone)?;
        let shared = Shared {
            path: path.to_owned(),
            limits,
            running: Running::new(opened.running, Arc::clone(&clocks.running)),
            clocks,
            shares: RwLock::default(),
            writer: Mutex::new(opened.writer),
            readers: opened.readers.into_iter().map(Mutex::new).collect(),
            turn: AtomicUsize::new(0),
            watch: opened.watch,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What keeps the store from being read and written, if anything: the file is not what it was, or the last change
    /// failed.
    #[must_use]
    pub fn trouble(&self) -> Option<SessionError> {
        self.shared.watch.trouble()
    }

    /// Looks whether the file is what it was and can be written, so that [`SessionStore::trouble`] knows before
    /// somebody needs it.
    ///
    /// # Errors
    /// What it found.
    pub fn probe(&self) -> Result<(), SessionError> {
        let failing = self.trouble().is_some();
        let found = self.shared.watch.probe().and_then(|()| self.check_room());
        self.shared.watch.ended(found.as_ref().map(|_| ()));
        found?;
        // What failed last is tried; what did not is no reason to write every few seconds.
        if failing { self.note_running() } else { Ok(()) }
    }

    /// Where it is kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Within what it keeps sessions.
    #[must_use]
    pub fn limits(&self) -> &SessionLimits {
        &self.shared.limits
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic left open was rolled back when it was dropped: the connection is good.
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        let readers = &self.shared.readers;
        if readers.is_empty() {
            return self.writer();
        }
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed) % readers.len();
        readers[turn].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to read with, once it is clear that the file is what it was.
    fn checked_reader(&self) -> Result<MutexGuard<'_, Connection>, SessionError> {
        self.shared.watch.check()?;
        Ok(self.reader())
    }

    fn now(&self) -> SystemTime {
        (self.shared.clocks.wall)()
    }

    fn now_millis(&self) -> i64 {
        rows::millis(self.now())
    }

    /// Sessions last used before this moment are gone, in milliseconds of running time.
    fn horizon(&self) -> i64 {
        let idle = self.shared.limits.idle.map(|idle| i64::try_from(idle.as_millis()).unwrap_or(i64::MAX));
        idle.map_or(i64::MIN, |idle| self.shared.running.millis().saturating_sub(idle))
    }

    /// What a failed statement means. Damage that is met ends all use of the file.
    fn failed(&self, error: rusqlite::Error) -> SessionError {
        let error = SessionError::of(error, &self.shared.path);
        match error {
            SessionError::Damaged { .. } => self.shared.watch.lost(error),
            error => error,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.watch.check().is_ok() {
            return;
        }
        // Closing would move the log into a file that is not what it was, and remove the log.
        let connections = std::iter::once(&mut self.writer).chain(&mut self.readers);
        for connection in connections {
            let connection = connection.get_mut().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
                tracing::error!(%error, "the session file may be written to once more as it is closed");
            }
        }
    }
}

/// A session of this tenant, or the answer that there is none.
fn absent(tenant: &TenantId, id: &str) -> SessionError {
    let shown: String = id.chars().take(64).collect();
    SessionError::NotFound(format!("there is no session \"{shown}\" for tenant \"{tenant}\"; list them to see which"))
}
