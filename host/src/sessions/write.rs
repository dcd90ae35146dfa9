//! Writing sessions: each method is one transaction, and what it returned `Ok` for is on disk.

use std::time::Duration;

use firebox_contract::{Message, Role, TenantId, limits};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use ulid::Ulid;

use super::{NewSession, SYSTEM_SEQ, Session, SessionError, SessionStore, StoredMessage, absent, read, rows};

/// When trying again makes sense where no session ever expires by itself.
const NEVER: Duration = Duration::from_secs(24 * 3_600);

/// What a failed step inside a transaction is: the statement's failure, or our own word.
pub(super) enum Step {
    Sql(rusqlite::Error),
    Word(SessionError),
}

impl From<rusqlite::Error> for Step {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<SessionError> for Step {
    fn from(error: SessionError) -> Self {
        Self::Word(error)
    }
}

impl SessionStore {
    /// Begins a session. The tenant's expired sessions are removed first and do not count to its limit.
    ///
    /// # Errors
    /// `SessionError::TooMany` when the tenant has as many as the store allows, `SessionError::TooLarge` for a
    /// system message that does not fit.
    pub fn create(&self, tenant: &TenantId, new: NewSession) -> Result<Session, SessionError> {
        self.create_within(tenant, new, self.shared.limits.sessions_max)
    }

    /// As [`SessionStore::create`], for a tenant with a limit of its own.
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

    /// Adds messages at the end, all or none, and returns how many there are then. With `expected_len` only if
    /// there are that many before.
    ///
    /// # Errors
    /// `SessionError::Conflict` when there are not, `SessionError::TooLarge` when they do not fit,
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
    /// `SessionError::TooLarge` when it does not fit, `SessionError::NotFound`.
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

    /// Names a session.
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

    /// A new session that begins with the first `at` messages of this one (all of them without it) and its system
    /// message.
    ///
    /// # Errors
    /// `SessionError::Invalid` when that would separate a tool's result from its call, and as
    /// [`SessionStore::create`].
    pub fn fork(&self, tenant: &TenantId, id: &str, at: Option<u64>) -> Result<Session, SessionError> {
        self.fork_within(tenant, id, at, self.shared.limits.sessions_max)
    }

    /// As [`SessionStore::fork`], for a tenant with a limit of its own.
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
            self.measure(change, tenant, &fork.id, at)?;
            self.check_share(change, tenant)?;
            self.found(change, tenant, &fork.id)
        })
    }

    /// Removes all messages after the first `length`.
    ///
    /// # Errors
    /// `SessionError::Invalid` when that would separate a tool's result from its call, `SessionError::NotFound`.
    pub fn truncate(&self, tenant: &TenantId, id: &str, length: u64) -> Result<(), SessionError> {
        self.change(|change| {
            let session = self.found(change, tenant, id)?;
            check_cut(change, tenant, &session, length)?;
            let query = "DELETE FROM messages WHERE tenant = ?1 AND session = ?2 AND seq > ?3";
            change.execute(query, params![tenant.as_str(), id, rows::column(length)])?;
            self.measure(change, tenant, id, length)
        })
    }

    /// Pins a message, so that [`super::fit`] never drops it, or lets it go.
    ///
    /// # Errors
    /// `SessionError::NotFound` where there is no such session or message.
    pub fn pin(&self, tenant: &TenantId, id: &str, seq: u64, pinned: bool) -> Result<(), SessionError> {
        self.change(|change| {
            let session = self.found(change, tenant, id)?;
            let query = "UPDATE messages SET pinned = ?4 WHERE tenant = ?1 AND session = ?2 AND seq = ?3";
            let changed = change.execute(query, params![tenant.as_str(), id, rows::column(seq), pinned])?;
            if changed == 0 {
                let length = session.length;
                let message =
                    format!("there is no message \"{seq}\" in a session of {length}; give one of 1 to {length}");
                return Err(SessionError::NotFound(message).into());
            }
            Ok(())
        })
    }

    /// Removes a session with its messages.
    ///
    /// # Errors
    /// `SessionError::NotFound` where the tenant has none.
    pub fn delete(&self, tenant: &TenantId, id: &str) -> Result<(), SessionError> {
        let delete = |change: &Transaction<'_>| -> Result<(), Step> {
            self.found(change, tenant, id)?;
            change.execute("DELETE FROM sessions WHERE tenant = ?1 AND id = ?2", params![tenant.as_str(), id])?;
            Ok(())
        };
        match self.change_freeing(delete) {
            Err(SessionError::Full { .. }) => {
                self.shared.watch.use_room();
                self.unzeroed(|| self.change_freeing(delete))
            }
            done => done,
        }
    }

    /// Runs `work` while what is deleted is freed and not overwritten, which needs next to no room in the log. The text
    /// is overwritten when its pages are used again.
    pub(super) fn unzeroed<T>(&self, work: impl FnOnce() -> Result<T, SessionError>) -> Result<T, SessionError> {
        let set = |on: bool| self.writer().pragma_update(None, "secure_delete", on).map_err(|error| self.failed(error));
        set(false)?;
        let done = work();
        set(true)?;
        done
    }

    /// Removes expired sessions of all tenants and says how many there were. The server calls it every
    /// [`limits::SESSIONS_SWEEP_PERIOD`]; nothing depends on that, since expired sessions are not found anyway.
    ///
    /// # Errors
    /// What the file cannot be written for.
    pub fn sweep(&self) -> Result<usize, SessionError> {
        if self.shared.limits.idle.is_none() {
            return Ok(0);
        }
        self.note_running()?;
        let batch = i64::try_from(limits::SESSIONS_SWEEP_ROWS).unwrap_or(i64::MAX);
        let mut removed = 0;
        loop {
            // The one statement that is not about one tenant: time passes for all.
            let query = "DELETE FROM sessions WHERE (tenant, id) IN \
                         (SELECT tenant, id FROM sessions WHERE active < ?1 ORDER BY active LIMIT ?2)";
            let gone = self.change_freeing(|change| Ok(change.execute(query, params![self.horizon(), batch])?))?;
            removed += gone;
            if gone < limits::SESSIONS_SWEEP_ROWS {
                return Ok(removed);
            }
        }
    }

    /// Notes how long stores of this file were open.
    pub(super) fn note_running(&self) -> Result<(), SessionError> {
        self.change_freeing(|change| {
            let query = "UPDATE running SET millis = max(millis, ?1)";
            change.execute(query, params![self.shared.running.millis()])?;
            Ok(())
        })
    }

    /// Keeps a text about the usage of each of these tenants, in the place of the one before; all of them or none.
    ///
    /// # Errors
    /// What the file cannot be written for.
    pub fn keep_usage(&self, reports: &[(TenantId, String)]) -> Result<(), SessionError> {
        self.change_freeing(|change| {
            let mut statement =
                change.prepare_cached("INSERT OR REPLACE INTO usage (tenant, report) VALUES (?1, ?2)")?;
            for (tenant, report) in reports {
                statement.execute(params![tenant.as_str(), report])?;
            }
            Ok(())
        })
    }

    /// Moves what the log holds into the database itself, so that the file alone is the whole store.
    ///
    /// # Errors
    /// What the file cannot be written for.
    pub fn flush(&self) -> Result<(), SessionError> {
        self.shared.watch.check()?;
        if self.shared.limits.idle.is_some() {
            self.note_running()?;
        }
        let writer = self.writer();
        let done = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        done.map_err(|error| self.failed(error))
    }

    /// Runs `work` in one transaction and commits it; any error undoes all of it.
    fn change<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Step>) -> Result<T, SessionError> {
        self.shared.watch.check()?;
        self.check_room()?;
        self.change_freeing(work)
    }

    /// Whether there is room for more: on the disk, or in pages of the file that deleted sessions left.
    pub(super) fn check_room(&self) -> Result<(), SessionError> {
        self.shared.watch.check_room(|| {
            let writer = self.writer();
            let count = |name: &str| writer.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let bytes = count("freelist_count").and_then(|pages| Ok(pages.saturating_mul(count("page_size")?)));
            // What cannot be known is no room.
            bytes.map_or(0, rows::count)
        })
    }

    /// As [`SessionStore::change`], for what takes no room to speak of: a full disk does not keep it from being tried.
    pub(super) fn change_freeing<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Step>,
    ) -> Result<T, SessionError> {
        self.shared.watch.check()?;
        let mut writer = self.writer();
        let run = || -> Result<T, Step> {
            let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&change)?;
            change.commit()?;
            Ok(done)
        };
        let done = run().map_err(|step| match step {
            Step::Sql(error) => self.failed(error),
            Step::Word(error) => error,
        });
        self.shared.watch.ended(done.as_ref().map(|_| ()));
        done
    }

    fn found(&self, change: &Transaction<'_>, tenant: &TenantId, id: &str) -> Result<Session, Step> {
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
    ) -> Result<Session, Step> {
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

    /// How long until this tenant's least used session expires.
    pub(super) fn first_expiry(&self, change: &Transaction<'_>, tenant: &TenantId) -> Result<Duration, Step> {
        let Some(idle) = self.shared.limits.idle else { return Ok(NEVER) };
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
    ) -> Result<(), Step> {
        let message = Message::text(Role::System, system);
        let stored = StoredMessage { seq: SYSTEM_SEQ, message, pinned: true, created: self.now() };
        self.add(change, tenant, session, &[stored]).map(drop)
    }

    /// Stores messages whose numbers are decided, and returns the session's length then.
    fn add(
        &self,
        change: &Transaction<'_>,
        tenant: &TenantId,
        session: &Session,
        messages: &[StoredMessage],
    ) -> Result<u64, Step> {
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
            let message = format!("a session has {messages_max} messages at most; fork it earlier, or begin a new one");
            return Err(SessionError::TooLarge(message));
        }
        if session.bytes > limits.bytes_max {
            let bytes_max = limits.bytes_max;
            let message = format!("a session has {bytes_max} bytes at most; fork it earlier, or begin a new one");
            return Err(SessionError::TooLarge(message));
        }
        Ok(())
    }

    /// Writes the session's length and bytes, and that it was used.
    fn set_size(&self, change: &Transaction<'_>, tenant: &TenantId, session: &Session) -> Result<(), Step> {
        let query = "UPDATE sessions SET length = ?3, bytes = ?4, used = max(used, ?5), active = max(active, ?6) \
                     WHERE tenant = ?1 AND id = ?2";
        let (length, bytes) = (rows::column(session.length), rows::column(session.bytes));
        let (now, running) = (self.now_millis(), self.shared.running.millis());
        change.execute(query, params![tenant.as_str(), session.id, length, bytes, now, running])?;
        Ok(())
    }

    /// Sets the length to what it is now and sums the bytes up again.
    fn measure(&self, change: &Transaction<'_>, tenant: &TenantId, id: &str, length: u64) -> Result<(), Step> {
        let query = "UPDATE sessions SET length = ?3, used = max(used, ?4), active = max(active, ?5), \
                     bytes = (SELECT coalesce(sum(bytes), 0) FROM messages WHERE tenant = ?1 AND session = ?2) \
                     WHERE tenant = ?1 AND id = ?2";
        let (now, running) = (self.now_millis(), self.shared.running.millis());
        change.execute(query, params![tenant.as_str(), id, rows::column(length), now, running])?;
        Ok(())
    }

    /// A session made of these messages, whose numbers are decided, in one transaction.
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

/// A cut may not separate a tool's result from its call.
fn check_cut(change: &Transaction<'_>, tenant: &TenantId, session: &Session, at: u64) -> Result<(), Step> {
    if at > session.length {
        let length = session.length;
        return Err(SessionError::Invalid(format!("there is no message \"{at}\" in a session of {length}")).into());
    }
    let query = "SELECT role FROM messages WHERE tenant = ?1 AND session = ?2 AND seq = ?3";
    let next = params![tenant.as_str(), session.id, rows::column(at + 1)];
    let role: Option<String> = change.query_row(query, next, |row| row.get(0)).optional()?;
    if role.as_deref() == Some(Role::Tool.as_str()) {
        let message =
            format!("message \"{at}\" is between a tool call and its result; choose one before or after both");
        return Err(SessionError::Invalid(message).into());
    }
    Ok(())
}

fn check_title(title: Option<&str>) -> Result<(), SessionError> {
    let (length, max) = (title.map_or(0, str::len), limits::SESSION_TITLE_BYTES_MAX);
    if length > max {
        return Err(SessionError::Invalid(format!("a title of {length} bytes is too long; use {max} at most")));
    }
    Ok(())
}

/// Bytes a message counts to its session's limit.
fn size(message: &Message, calls: Option<&str>) -> u64 {
    let parts = [
        message.content.len(),
        calls.map_or(0, str::len),
        message.tool_call_id.as_ref().map_or(0, String::len),
        message.name.as_ref().map_or(0, String::len),
    ];
    parts.into_iter().map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX)).sum()
}
