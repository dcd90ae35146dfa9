//! Opening the file: readable by its owner only, checked before any change, and migrated to the newest schema.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use firebox_contract::limits;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::error::SessionError;
use super::file_monitor::FileMonitor;
use super::{SessionLimits, rows};

/// Marks a SQLite file as a session store ("FBXS"), in its `application_id`.
const APPLICATION_ID: i64 = 0x4642_5853;

/// The migrations, oldest first. Each brings a file from the version before to the next one.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE sessions (
        tenant   TEXT NOT NULL,
        id       TEXT NOT NULL,
        title    TEXT,
        model    TEXT NOT NULL,
        parent   TEXT,
        created  INTEGER NOT NULL,
        used     INTEGER NOT NULL,
        length   INTEGER NOT NULL DEFAULT 0,
        bytes    INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (tenant, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_by_use ON sessions (tenant, used);
    CREATE INDEX sessions_by_age ON sessions (used);
    CREATE TABLE messages (
        tenant       TEXT NOT NULL,
        session      TEXT NOT NULL,
        seq          INTEGER NOT NULL,
        role         TEXT NOT NULL,
        content      TEXT NOT NULL,
        tool_calls   TEXT,
        tool_call_id TEXT,
        name         TEXT,
        pinned       INTEGER NOT NULL DEFAULT 0,
        bytes        INTEGER NOT NULL,
        created      INTEGER NOT NULL,
        PRIMARY KEY (tenant, session, seq),
        FOREIGN KEY (tenant, session) REFERENCES sessions (tenant, id) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE usage (
        tenant TEXT NOT NULL PRIMARY KEY,
        report TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    // Idle time is counted in running time from here on, starting at zero for every session. The size of a session is its
    // bytes, 128 for each message and 512 for itself.
    "
    ALTER TABLE sessions ADD COLUMN active INTEGER NOT NULL DEFAULT 0;
    DROP INDEX sessions_by_age;
    CREATE INDEX sessions_by_activity ON sessions (active);
    CREATE INDEX sessions_of_tenant_by_activity ON sessions (tenant, active);
    CREATE TABLE running (
        id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        millis INTEGER NOT NULL
    ) STRICT;
    INSERT INTO running VALUES (1, 0);
    CREATE TABLE totals (
        tenant TEXT NOT NULL PRIMARY KEY,
        bytes  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO totals SELECT tenant, sum(bytes + 128 * length + 512) FROM sessions GROUP BY tenant;
    CREATE TRIGGER session_added AFTER INSERT ON sessions BEGIN
        INSERT INTO totals VALUES (NEW.tenant, NEW.bytes + 128 * NEW.length + 512)
            ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER session_changed AFTER UPDATE OF bytes, length ON sessions BEGIN
        UPDATE totals SET bytes = bytes + (NEW.bytes + 128 * NEW.length) - (OLD.bytes + 128 * OLD.length)
            WHERE tenant = NEW.tenant;
    END;
    CREATE TRIGGER session_removed AFTER DELETE ON sessions BEGIN
        UPDATE totals SET bytes = bytes - (OLD.bytes + 128 * OLD.length + 512) WHERE tenant = OLD.tenant;
        DELETE FROM totals WHERE tenant = OLD.tenant AND bytes <= 0;
    END;
",
];

pub(super) struct OpenedFile {
    pub(super) writer: Connection,
    pub(super) readers: Vec<Connection>,
    pub(super) file_monitor: FileMonitor,
    /// The running time so far, in milliseconds.
    pub(super) running: i64,
}

pub(super) fn open(
    path: &Path,
    limits: &SessionLimits,
    now: SystemTime,
    alone: bool,
) -> Result<OpenedFile, SessionError> {
    let failed = |error| SessionError::of(error, path);
    if path == Path::new(":memory:") {
        let mut writer = Connection::open_in_memory().map_err(failed)?;
        prepare(&mut writer, path, limits, now)?;
        return Ok(OpenedFile { writer, readers: Vec::new(), file_monitor: FileMonitor::of_memory(), running: 0 });
    }
    make_private(path).map_err(|error| SessionError::io(&error, path))?;
    let mut file_monitor = FileMonitor::lock(path, alone)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut writer = Connection::open_with_flags(path, flags).map_err(failed)?;
    prepare(&mut writer, path, limits, now)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = || {
        let reader = Connection::open_with_flags(path, flags)?;
        reader.busy_timeout(limits::SESSIONS_BUSY_TIMEOUT)?;
        reader.pragma_update(None, "trusted_schema", false)?;
        Ok(reader)
    };
    let readers = (0..limits::SESSION_READERS_MAX).map(|_| reader()).collect::<Result<_, _>>().map_err(failed)?;
    let running = running(&writer).map_err(failed)?;
    file_monitor.begin();
    Ok(OpenedFile { writer, readers, file_monitor, running })
}

/// The running time in the file: the stored one, or the last use of a session, which is later after a crash.
fn running(connection: &Connection) -> rusqlite::Result<i64> {
    let query =
        "SELECT max(coalesce((SELECT millis FROM running), 0), coalesce((SELECT max(active) FROM sessions), 0))";
    connection.query_row(query, [], |row| row.get(0))
}

/// Creates a missing file and its folder, readable by their owner only. Removes the permissions of other users from an
/// existing file.
fn make_private(path: &Path) -> io::Result<()> {
    let mut folder = DirBuilder::new();
    folder.recursive(true);
    let mut file = OpenOptions::new();
    file.read(true).write(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        folder.create(parent)?;
    }
    let file = file.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = file.metadata()?.permissions();
        if file.metadata()?.is_file() && permissions.mode() & 0o077 != 0 {
            permissions.set_mode(permissions.mode() & 0o700);
            file.set_permissions(permissions)?;
        }
    }
    drop(file);
    Ok(())
}

fn prepare(
    connection: &mut Connection,
    path: &Path,
    limits: &SessionLimits,
    now: SystemTime,
) -> Result<(), SessionError> {
    let failed = |error| SessionError::of(error, path);
    connection.busy_timeout(limits::SESSIONS_BUSY_TIMEOUT).map_err(failed)?;
    // First the owner of the file: the database of another program must not even change its journal mode.
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if application != APPLICATION_ID && tables > 0 {
        let reason = "is the database of another program; use a different path".to_owned();
        return Err(SessionError::Foreign { path: path.to_owned(), reason });
    }
    settings(connection, limits).map_err(failed)?;
    let version = migrate(connection, now).map_err(failed)?;
    if version > MIGRATIONS.len() {
        let (newest, path) = (MIGRATIONS.len(), path.to_owned());
        let reason = format!(
            "has schema version {version}, and this Firebox supports at most {newest}; use the newer Firebox that wrote it"
        );
        return Err(SessionError::Foreign { path, reason });
    }
    Ok(())
}

fn settings(connection: &Connection, limits: &SessionLimits) -> rusqlite::Result<()> {
    // A store in memory stays in journal mode "memory".
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Deleted text is overwritten instead of left in free pages.
    connection.pragma_update(None, "secure_delete", true)?;
    let log = i64::try_from(limits::SESSIONS_LOG_BYTES).unwrap_or(i64::MAX);
    connection.pragma_update(None, "journal_size_limit", log)?;
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = i64::try_from(limits.file_bytes_max).unwrap_or(i64::MAX) / page.max(1);
    connection.pragma_update(None, "max_page_count", pages.max(1))
}

/// Applies the missing migrations in one transaction. Returns the version of the file.
fn migrate(connection: &mut Connection, now: SystemTime) -> rusqlite::Result<usize> {
    // An immediate transaction: if two processes open a new file, one waits and then finds nothing to do.
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT",
    )?;
    let found: i64 = change.query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        change.execute_batch(migration)?;
        let version = i64::try_from(index + 1).unwrap_or(i64::MAX);
        change.execute("INSERT INTO migrations VALUES (?1, ?2)", params![version, rows::millis(now)])?;
    }
    if found == 0 {
        change.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    change.commit()?;
    Ok(found.max(MIGRATIONS.len()))
}

/// Renames a damaged file and its log, so that a new file can be created. Returns the new path.
///
/// # Errors
/// The error of renaming.
pub fn set_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let named = |path: &Path, end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = named(path, &format!(".damaged-{}", rows::millis(now)));
    // The database last, so that a second try repeats everything.
    for end in ["-wal", "-shm", ""] {
        match std::fs::rename(named(path, end), named(&aside, end)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
    }
    Ok(aside)
}
