//! Writing sessions. Each method is one transaction, which is on disk when the method returns `Ok`.

use std::time::Duration;

use firebox_contract::{Message, Role, TenantId, limits};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use ulid::Ulid;

use super::{NewSession, SYSTEM_SEQ, Session, SessionError, SessionStore, StoredMessage, absent, read, rows};

/// The time until a retry, for a store in which no session expires.
const NO_EXPIRY_RETRY: Duration = Duration::from_secs(24 * 3_600);

/// An error inside a transaction: of a statement, or of the store's own checks.
pub(super) enum ChangeError {
    Sql(rusqlite::Error),
    Refused(SessionError),
}

impl From<rusqlite::Error> for ChangeError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<SessionError> for ChangeError {
    fn from(error: SessionError) -> Self {
        Self::Refused(error)
    }
}

impl SessionStore {
    /// Creates a session. The tenant's expired sessions are deleted first and do not count.
    ///
    /// # Errors
    /// `SessionError::TooMany` if the tenant has its maximum of sessions, `SessionError::TooLarge` for a system message that
    /// does not fit.
    pub fn create(&self, tenant: &TenantId, new: NewSession) -> Result<Session, SessionError> {
        self.create_within(tenant, new, self.shared.limits.sessions_max)
    }

    /// As [`SessionStore::create`], with the tenant's own maximum of sessions.
    ///
    /// # Errors
    /// As [`SessionStore::create`].
    pub fn create_within(
        &self,
        tenant: &TenantId,
        new: NewSession,
        sessions_max: usize,
    ) -> Result<Session, SessionError> {
        check_title(new.title.as_deref())?;
        self.change(|change| {
            let session = self.insert(change, tenant, &new, None, sessions_max)?;
            if let Some(system) = new.system.as_deref().filter(|system| !system.is_empty()) {
                self.put_system(change, tenant, &session, system)?;
            }
            self.found(change, tenant, &session.id)
        })
    }

    /// Appends all messages or none, and returns the new number of messages. `expected_len` is the number of messages that
    /// the caller expects before.
    ///
    /// # Errors
    /// `SessionError::Conflict` for another number of messages, `SessionError::TooLarge` if they do not fit,
    /// `SessionError::NotFound`.
    pub fn append(
        &self,
        tenant: &TenantId,
        id: &str,
        expected_len: Option<u64>,
        messages: &[Message],
    ) -> Result<u64, SessionError> {
        self.change(|change| {
            let session = self.found(change, tenant, id)?;
            if let Some(expected) = expected_len.filter(|expected| *expected != session.length) {
                return Err(SessionError::Conflict { expected, found: session.length }.into());
            }
            let now = self.now();
            let numbered = messages.iter().zip(session.length + 1..);
            let stored: Vec<StoredMessage> = numbered
                .map(|(message, seq)| StoredMessage { seq, message: message.clone(), pinned: false, created: now })
                .collect();
            self.add(change, tenant, &session, &stored)
        })
    }

    /// Sets or removes the system message.
    ///
    /// # Errors
    /// `SessionError::TooLarge` if it does not fit, `SessionError::NotFound`.
    pub fn set_system(&self, tenant: &TenantId, id: &str, system: Option<&str>) -> Result<(), SessionError> {
        self.change(|change| {
            let session = self.found(change, tenant, id)?;
            let seq = rows::column(SYSTEM_SEQ);
            let query = "DELETE FROM messages WHERE tenant = ?1 AND session = ?2 AND seq = ?3 RETURNING bytes";
            let freed: Option<i64> =
                change.query_row(query, params![tenant.as_str(), id, seq], |row| row.get(0)).optional()?;
            let freed = rows::count(freed.unwrap_or(0));
            let session = Session { bytes: session.bytes.saturating_sub(freed), ..session };
            self.set_size(change, tenant, &session)?;
            match system.filter(|system| !system.is_empty()) {
                Some(system) => self.put_system(change, tenant, &session, system),
                None => Ok(()),
            }
        })
    }

    /// Sets or removes the title.
    ///
    /// # Errors
    /// `SessionError::Invalid` for a title that is too long, `SessionError::NotFound`.
    pub fn set_title(&self, tenant: &TenantId, id: &str, title: Option<&str>) -> Result<(), SessionError> {
        check_title(title)?;
        self.change(|change| {
            self.found(change, tenant, id)?;
            let query = "UPDATE sessions SET title = ?3 WHERE tenant = ?1 AND id = ?2";
            change.execute(query, params![tenant.as_str(), id, title])?;
            Ok(())
        })
    }

    /// Creates a session with the system message and the first `at` messages of this one (all if `None`).
    ///
    /// # Errors
    /// `SessionError::Invalid` if that would separate a tool call from its result, and as [`SessionStore::create`].
    pub fn fork(&self, tenant: &TenantId, id: &str, at: Option<u64>) -> Result<Session, SessionError> {
        self.fork_within(tenant, id, at, self.shared.limits.sessions_max)
    }

    /// As [`SessionStore::fork`], with the tenant's own maximum of sessions.
    ///
    /// # Errors
    /// As [`SessionStore::fork`].
    pub fn fork_within(
        &self,
        tenant: &TenantId,
        id: &str,
        at: Option<u64>,
        sessions_max: usize,
    ) -> Result<Session, SessionError> {
        self.change(|change| {
            let from = self.found(change, tenant, id)?;
            let at = at.unwrap_or(from.length);
            check_cut(change, tenant, &from, at)?;
            let new = NewSession { title: from.title.clone(), model: from.model.clone(), system: None };
            let fork = self.insert(change, tenant, &new, Some(id), sessions_max)?;
            change.execute(
                "INSERT INTO messages SELECT tenant, ?3, seq, role, content, tool_calls, tool_call_id, name, pinned, \
                 bytes, created FROM messages WHERE tenant = ?1 AND session = ?2 AND seq <= ?4",
                params![tenant.as_str(), id, fork.id, rows::column(at)],
            )?;
            self.recompute_size(change, tenant, &fork.id, at)?;
            self.check_share(change, tenant)?;
            self.found(change, tenant, &fork.id)
        })
    }

    /// Deletes all messages after the first `length`.
    ///
    /// # Errors
    /// `SessionError::Invalid` if that would separate a tool call from its result, `SessionError::NotFound`.
    pub fn truncate(&self, tenant: &TenantId, id: &str, length: u64) -> Result<(), SessionError> {
        self.change(|change| {
            let session = self.found(change, tenant, id)?;
            check_cut(change, tenant, &session, length)?;
            let query = "DELETE FROM messages WHERE tenant = ?1 AND session = ?2 AND seq > ?3";
            change.execute(query, params![tenant.as_str(), id, rows::column(length)])?;
            self.recompute_size(change, tenant, id, length)
        })
    }

    /// Pins a message, so that [`super::fit`] never drops it, or unpins it.
    ///
    /// # Errors
    /// `SessionError::NotFound` if there is no such session or message.
    pub fn pin(&self, tenant: &TenantId, id: &str, seq: u64, pinned: bool) -> Result<(), SessionError> {
        self.change(|change| {
            let session = self.found(change, tenant, id)?;
            let query = "UPDATE messages SET pinned = ?4 WHERE tenant = ?1 AND session = ?2 AND seq = ?3";
            let changed = change.execute(query, params![tenant.as_str(), id, rows::column(seq), pinned])?;
            if changed == 0 {
                let length = session.length;
                let message = format!("there is no message \"{seq}\"; use 1 to {length}");
                return Err(SessionError::NotFound(message).into());
            }
            Ok(())
        })
    }

    /// Deletes a session with its messages.
    ///
    /// # Errors
    /// `SessionError::NotFound` if the tenant has no such session.
    pub fn delete(&self, tenant: &TenantId, id: &str) -> Result<(), SessionError> {
        let delete = |change: &Transaction<'_>| -> Result<(), ChangeError> {
            self.found(change, tenant, id)?;
            change.execute("DELETE FROM sessions WHERE tenant = ?1 AND id = ?2", params![tenant.as_str(), id])?;
            Ok(())
        };
        match self.change_freeing(delete) {
            Err(SessionError::Full { .. }) => {
                self.shared.file_monitor.release_reserve();
                self.without_overwriting(|| self.change_freeing(delete))
            }
            done => done,
        }
    }

    /// Runs `work` without overwriting deleted text, which needs almost no space in the log. The text is overwritten when its
    /// pages are used again.
    pub(super) fn without_overwriting<T>(
        &self,
        work: impl FnOnce() -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let set = |on: bool| self.writer().pragma_update(None, "secure_delete", on).map_err(|error| self.failed(error));
        set(false)?;
        let done = work();
        set(true)?;
        done
    }

    /// Deletes the expired sessions of all tenants and returns their number. The server calls it every
    /// [`limits::SESSIONS_SWEEP_PERIOD`]. Reads never return expired sessions, whether or not they were deleted.
    ///
    /// # Errors
    /// An error of the file.
    pub fn sweep(&self) -> Result<usize, SessionError> {
        if self.shared.limits.idle.is_none() {
            return Ok(0);
        }
        self.store_running_time()?;
        let batch = i64::try_from(limits::SESSIONS_SWEEP_ROWS).unwrap_or(i64::MAX);
        let mut removed = 0;
        loop {
            // The only statement about all tenants: sessions expire for all of them.
            let query = "DELETE FROM sessions WHERE (tenant, id) IN \
                         (SELECT tenant, id FROM sessions WHERE active < ?1 ORDER BY active LIMIT ?2)";
            let deleted = self.change_freeing(|change| Ok(change.execute(query, params![self.horizon(), batch])?))?;
            removed += deleted;
            if deleted < limits::SESSIONS_SWEEP_ROWS {
                return Ok(removed);
            }
        }
    }

    /// Stores the running time.
    pub(super) fn store_running_time(&self) -> Result<(), SessionError> {
        self.change_freeing(|change| {
            let query = "UPDATE running SET millis = max(millis, ?1)";
            change.execute(query, params![self.shared.running.millis()])?;
            Ok(())
        })
    }

    /// Replaces the stored usage reports of these tenants, all or none.
    ///
    /// # Errors
    /// An error of the file.
    pub fn store_usage(&self, reports: &[(TenantId, String)]) -> Result<(), SessionError> {
        self.change_freeing(|change| {
            let mut statement =
                change.prepare_cached("INSERT OR REPLACE INTO usage (tenant, report) VALUES (?1, ?2)")?;
            for (tenant, report) in reports {
                statement.execute(params![tenant.as_str(), report])?;
            }
            Ok(())
        })
    }

    /// Copies the write-ahead log into the database file, so that the file alone is complete.
    ///
    /// # Errors
    /// An error of the file.
    pub fn flush(&self) -> Result<(), SessionError> {
        self.shared.file_monitor.check()?;
        if self.shared.limits.idle.is_some() {
            self.store_running_time()?;
        }
        let writer = self.writer();
        let done = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        done.map_err(|error| self.failed(error))
    }

    /// Runs `work` in one transaction and commits it. An error rolls it back.
    fn change<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, ChangeError>) -> Result<T, SessionError> {
        self.shared.file_monitor.check()?;
        self.check_room()?;
        self.change_freeing(work)
    }

    /// Checks that there is space: on the disk, or in free pages of the file.
    ///
    /// # Errors
    /// `SessionError::Full`.
    pub(super) fn check_room(&self) -> Result<(), SessionError> {
        self.shared.file_monitor.check_room(|| {
            let writer = self.writer();
            let count = |name: &str| writer.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let bytes = count("freelist_count").and_then(|pages| Ok(pages.saturating_mul(count("page_size")?)));
            // An unknown number counts as no space.
            bytes.map_or(0, rows::count)
        })
    }

    /// As [`SessionStore::change`], for a change that needs almost no space, so that it is tried on a full disk too.
    pub(super) fn change_freeing<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, ChangeError>,
    ) -> Result<T, SessionError> {
        self.shared.file_monitor.check()?;
        let mut writer = self.writer();
        let run = || -> Result<T, ChangeError> {
            let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&change)?;
            change.commit()?;
            Ok(done)
        };
        let done = run().map_err(|step| match step {
            ChangeError::Sql(error) => self.failed(error),
            ChangeError::Refused(error) => error,
        });
        self.shared.file_monitor.ended(done.as_ref().map(|_| ()));
        done
    }

    /// The session that a change is about.
    fn found(&self, change: &Transaction<'_>, tenant: &TenantId, id: &str) -> Result<Session, ChangeError> {
        let found = read::find(change, tenant, id, self.horizon())?;
        found.ok_or_else(|| absent(tenant, id).into())
    }

    fn insert(
        &self,
        change: &Transaction<'_>,
        tenant: &TenantId,
        new: &NewSession,
        parent: Option<&str>,
        sessions_max: usize,
    ) -> Result<Session, ChangeError> {
        let horizon = self.horizon();
        change.execute("DELETE FROM sessions WHERE tenant = ?1 AND active < ?2", params![tenant.as_str(), horizon])?;
        if read::count(change, tenant, horizon)? >= sessions_max {
            let retry_after = self.first_expiry(change, tenant)?;
            return Err(SessionError::TooMany { limit: sessions_max, retry_after }.into());
        }
        let now = self.now();
        let id = Ulid::from_datetime(now).to_string();
        change.execute(
            "INSERT INTO sessions (tenant, id, title, model, parent, created, used, active) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)",
            params![tenant.as_str(), id, new.title, new.model, parent, rows::millis(now), self.shared.running.millis()],
        )?;
        self.check_share(change, tenant)?;
        self.found(change, tenant, &id)
    }

    /// The time until the first of this tenant's sessions expires.
    pub(super) fn first_expiry(&self, change: &Transaction<'_>, tenant: &TenantId) -> Result<Duration, ChangeError> {
        let Some(idle) = self.shared.limits.idle else { return Ok(NO_EXPIRY_RETRY) };
        let query = "SELECT min(active) FROM sessions WHERE tenant = ?1";
        let oldest: Option<i64> = change.query_row(query, params![tenant.as_str()], |row| row.get(0))?;
        let since = self.shared.running.millis().saturating_sub(oldest.unwrap_or(0));
        let since = Duration::from_millis(rows::count(since));
        Ok(idle.saturating_sub(since).max(Duration::from_secs(1)))
    }

    fn put_system(
        &self,
        change: &Transaction<'_>,
        tenant: &TenantId,
        session: &Session,
        system: &str,
    ) -> Result<(), ChangeError> {
        let message = Message::text(Role::System, system);
        let stored = StoredMessage { seq: SYSTEM_SEQ, message, pinned: true, created: self.now() };
        self.add(change, tenant, session, &[stored]).map(drop)
    }

    /// Stores numbered messages and returns the new length of the session.
    fn add(
        &self,
        change: &Transaction<'_>,
        tenant: &TenantId,
        session: &Session,
        messages: &[StoredMessage],
    ) -> Result<u64, ChangeError> {
        let mut after = Session { used: self.now(), ..session.clone() };
        let mut statement = change.prepare_cached(
            "INSERT INTO messages (tenant, session, seq, role, content, tool_calls, tool_call_id, name, pinned, \
             bytes, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        for StoredMessage { seq, message, pinned, created } in messages {
            let calls = rows::calls_text(message);
            let bytes = size(message, calls.as_deref());
            after.bytes = after.bytes.saturating_add(bytes);
            after.length = after.length.max(*seq);
            self.check_size(&after)?;
            let (seq, bytes, created) = (rows::column(*seq), rows::column(bytes), rows::millis(*created));
            let Message { role, content, tool_call_id, name, .. } = message;
            let role = role.as_str();
            statement.execute(params![
                tenant.as_str(),
                session.id,
                seq,
                role,
                content,
                calls,
                tool_call_id,
                name,
                pinned,
                bytes,
                created
            ])?;
        }
        self.set_size(change, tenant, &after)?;
        self.check_share(change, tenant)?;
        Ok(after.length)
    }

    fn check_size(&self, session: &Session) -> Result<(), SessionError> {
        let limits = &self.shared.limits;
        let messages_max = u64::try_from(limits.messages_max).unwrap_or(u64::MAX);
        if session.length > messages_max {
            let message = format!(
                "a session may have at most {messages_max} messages; fork it at an earlier message, or begin a new one"
            );
            return Err(SessionError::TooLarge(message));
        }
        if session.bytes > limits.bytes_max {
            let bytes_max = limits.bytes_max;
            let message = format!(
                "a session may have at most {bytes_max} bytes; fork it at an earlier message, or begin a new one"
            );
            return Err(SessionError::TooLarge(message));
        }
        Ok(())
    }

    /// Writes the session's length and bytes, and the time of its use.
    fn set_size(&self, change: &Transaction<'_>, tenant: &TenantId, session: &Session) -> Result<(), ChangeError> {
        let query = "UPDATE sessions SET length = ?3, bytes = ?4, used = max(used, ?5), active = max(active, ?6) \
                     WHERE tenant = ?1 AND id = ?2";
        let (length, bytes) = (rows::column(session.length), rows::column(session.bytes));
        let (now, running) = (self.now_millis(), self.shared.running.millis());
        change.execute(query, params![tenant.as_str(), session.id, length, bytes, now, running])?;
        Ok(())
    }

    /// Writes the session's length, and recomputes its bytes.
    fn recompute_size(
        &self,
        change: &Transaction<'_>,
        tenant: &TenantId,
        id: &str,
        length: u64,
    ) -> Result<(), ChangeError> {
        let query = "UPDATE sessions SET length = ?3, used = max(used, ?4), active = max(active, ?5), \
                     bytes = (SELECT coalesce(sum(bytes), 0) FROM messages WHERE tenant = ?1 AND session = ?2) \
                     WHERE tenant = ?1 AND id = ?2";
        let (now, running) = (self.now_millis(), self.shared.running.millis());
        change.execute(query, params![tenant.as_str(), id, rows::column(length), now, running])?;
        Ok(())
    }

    /// Creates a session with these numbered messages in one transaction.
    ///
    /// # Errors
    /// As [`SessionStore::create`].
    pub fn create_with(
        &self,
        tenant: &TenantId,
        new: &NewSession,
        messages: &[StoredMessage],
    ) -> Result<Session, SessionError> {
        check_title(new.title.as_deref())?;
        self.change(|change| {
            let session = self.insert(change, tenant, new, None, self.shared.limits.sessions_max)?;
            self.add(change, tenant, &session, messages)?;
            self.found(change, tenant, &session.id)
        })
    }
}

/// Checks that a cut after message `at` does not separate a tool call from its result.
fn check_cut(change: &Transaction<'_>, tenant: &TenantId, session: &Session, at: u64) -> Result<(), ChangeError> {
    if at > session.length {
        let length = session.length;
        return Err(SessionError::Invalid(format!("there is no message \"{at}\"; the session has {length}")).into());
    }
    let query = "SELECT role FROM messages WHERE tenant = ?1 AND session = ?2 AND seq = ?3";
    let next = params![tenant.as_str(), session.id, rows::column(at + 1)];
    let role: Option<String> = change.query_row(query, next, |row| row.get(0)).optional()?;
    if role.as_deref() == Some(Role::Tool.as_str()) {
        let message =
            format!("message \"{at}\" is between a tool call and its result; choose a message before or after both");
        return Err(SessionError::Invalid(message).into());
    }
    Ok(())
}

fn check_title(title: Option<&str>) -> Result<(), SessionError> {
    let (length, max) = (title.map_or(0, str::len), limits::SESSION_TITLE_BYTES_MAX);
    if length > max {
        return Err(SessionError::Invalid(format!("a title of {length} bytes is too long; use at most {max} bytes")));
    }
    Ok(())
}

/// The bytes that a message adds to its session.
fn size(message: &Message, calls: Option<&str>) -> u64 {
    let parts = [
        message.content.len(),
        calls.map_or(0, str::len),
        message.tool_call_id.as_ref().map_or(0, String::len),
        message.name.as_ref().map_or(0, String::len),
    ];
    parts.into_iter().map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX)).sum()
}
