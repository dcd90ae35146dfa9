//! Reading sessions.

use firebox_contract::{TenantId, limits};
use rusqlite::{Connection, OptionalExtension, params};

use super::{PageRequest, Session, SessionError, SessionPage, SessionStore, StoredMessage, absent, rows};

impl SessionStore {
    /// The session `id` of this tenant.
    ///
    /// # Errors
    /// `SessionError::NotFound` if the tenant has no such session.
    pub fn get(&self, tenant: &TenantId, id: &str) -> Result<Session, SessionError> {
        let reader = self.checked_reader()?;
        let found = find(&reader, tenant, id, self.horizon()).map_err(|error| self.failed(error))?;
        found.ok_or_else(|| absent(tenant, id))
    }

    /// A page of this tenant's sessions, newest first.
    ///
    /// # Errors
    /// An error of the file.
    pub fn list(&self, tenant: &TenantId, page: &PageRequest) -> Result<SessionPage, SessionError> {
        let limit = page.limit.clamp(1, limits::SESSIONS_PAGE_MAX);
        // One row more than the limit shows whether there is a next page. Ids sort by their time of creation, and "~" sorts
        // after all of them.
        let query = format!(
            "SELECT {} FROM sessions WHERE tenant = ?1 AND id < ?2 AND active >= ?3 ORDER BY id DESC LIMIT ?4",
            rows::SESSION
        );
        let after = page.after.as_deref().unwrap_or("~");
        let reader = self.checked_reader()?;
        let read = || -> rusqlite::Result<Vec<Session>> {
            let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
            let mut statement = reader.prepare_cached(&query)?;
            let found = statement.query_map(params![tenant.as_str(), after, self.horizon(), rows], rows::session)?;
            found.collect()
        };
        let mut sessions = read().map_err(|error| self.failed(error))?;
        let more = sessions.len() > limit;
        sessions.truncate(limit);
        let next = if more { sessions.last().map(|session| session.id.clone()) } else { None };
        Ok(SessionPage { sessions, next })
    }

    /// The session that this tenant changed last; `None` if it has none.
    ///
    /// # Errors
    /// An error of the file.
    pub fn latest(&self, tenant: &TenantId) -> Result<Option<Session>, SessionError> {
        let query = format!(
            "SELECT {} FROM sessions WHERE tenant = ?1 AND active >= ?2 ORDER BY used DESC, id DESC LIMIT 1",
            rows::SESSION
        );
        let reader = self.checked_reader()?;
        let found = reader.query_row(&query, params![tenant.as_str(), self.horizon()], rows::session).optional();
        found.map_err(|error| self.failed(error))
    }

    /// The reports that [`SessionStore::store_usage`] stored, of all tenants.
    ///
    /// # Errors
    /// An error of the file.
    pub fn stored_usage(&self) -> Result<Vec<(TenantId, String)>, SessionError> {
        let reader = self.checked_reader()?;
        let read = || -> rusqlite::Result<Vec<(TenantId, String)>> {
            let mut statement = reader.prepare("SELECT tenant, report FROM usage ORDER BY tenant")?;
            let rows = statement.query_map([], |row| {
                let tenant: String = row.get(0)?;
                Ok((TenantId::new(&tenant), row.get(1)?))
            })?;
            rows.collect()
        };
        read().map_err(|error| self.failed(error))
    }

    /// The number of this tenant's sessions.
    ///
    /// # Errors
    /// An error of the file.
    pub fn count(&self, tenant: &TenantId) -> Result<usize, SessionError> {
        let reader = self.checked_reader()?;
        count(&reader, tenant, self.horizon()).map_err(|error| self.failed(error))
    }

    /// All messages of a session in order, with the system message first if it has one.
    ///
    /// # Errors
    /// `SessionError::NotFound` if the tenant has no such session.
    pub fn messages(&self, tenant: &TenantId, id: &str) -> Result<Vec<StoredMessage>, SessionError> {
        let mut reader = self.checked_reader()?;
        // One transaction, so that session and messages are consistent.
        let read = |reader: &mut Connection| -> rusqlite::Result<Option<Vec<StoredMessage>>> {
            let snapshot = reader.transaction()?;
            if find(&snapshot, tenant, id, self.horizon())?.is_none() {
                return Ok(None);
            }
            messages(&snapshot, tenant, id).map(Some)
        };
        let found = read(&mut reader).map_err(|error| self.failed(error))?;
        found.ok_or_else(|| absent(tenant, id))
    }

    /// A session, the messages after number `after` (all if `None`), and whether more follow. Returns at least one message if
    /// there is one, at most `limit`, and at most `limits::SESSION_PAGE_BYTES_MAX` bytes of them.
    ///
    /// # Errors
    /// `SessionError::NotFound` if the tenant has no such session.
    pub fn page(
        &self,
        tenant: &TenantId,
        id: &str,
        after: Option<u64>,
        limit: usize,
    ) -> Result<(Session, Vec<StoredMessage>, bool), SessionError> {
        let mut reader = self.checked_reader()?;
        let limit = limit.clamp(1, limits::SESSION_PAGE_MESSAGES_MAX);
        let read = |reader: &mut Connection| -> rusqlite::Result<Option<(Session, Vec<StoredMessage>, bool)>> {
            let snapshot = reader.transaction()?;
            let Some(session) = find(&snapshot, tenant, id, self.horizon())? else { return Ok(None) };
            let (messages, more) = page(&snapshot, tenant, id, after, limit)?;
            Ok(Some((session, messages, more)))
        };
        let found = read(&mut reader).map_err(|error| self.failed(error))?;
        found.ok_or_else(|| absent(tenant, id))
    }

    /// Reads the whole file and checks its integrity.
    ///
    /// # Errors
    /// `SessionError::Damaged` with the first problem.
    pub fn check(&self) -> Result<(), SessionError> {
        let reader = self.checked_reader()?;
        let result: String =
            reader.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(|error| self.failed(error))?;
        if result == "ok" {
            return Ok(());
        }
        Err(SessionError::Damaged { path: self.path().to_owned(), reason: result })
    }
}

pub(super) fn find(
    connection: &Connection,
    tenant: &TenantId,
    id: &str,
    horizon: i64,
) -> rusqlite::Result<Option<Session>> {
    let query = format!("SELECT {} FROM sessions WHERE tenant = ?1 AND id = ?2 AND active >= ?3", rows::SESSION);
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_row(params![tenant.as_str(), id, horizon], rows::session).optional()
}

pub(super) fn count(connection: &Connection, tenant: &TenantId, horizon: i64) -> rusqlite::Result<usize> {
    let query = "SELECT count(*) FROM sessions WHERE tenant = ?1 AND active >= ?2";
    let mut statement = connection.prepare_cached(query)?;
    let found: i64 = statement.query_row(params![tenant.as_str(), horizon], |row| row.get(0))?;
    Ok(usize::try_from(found).unwrap_or(usize::MAX))
}

fn page(
    connection: &Connection,
    tenant: &TenantId,
    id: &str,
    after: Option<u64>,
    limit: usize,
) -> rusqlite::Result<(Vec<StoredMessage>, bool)> {
    let query = format!(
        "SELECT {}, bytes FROM messages WHERE tenant = ?1 AND session = ?2 AND seq > ?3 ORDER BY seq",
        rows::MESSAGE
    );
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query(params![tenant.as_str(), id, after.map_or(-1, rows::column)])?;
    let (mut messages, mut bytes) = (Vec::new(), 0_u64);
    while let Some(row) = rows.next()? {
        bytes = bytes.saturating_add(rows::count(row.get(rows::MESSAGE_COLUMNS)?));
        let full = messages.len() >= limit || bytes > limits::SESSION_PAGE_BYTES_MAX;
        if full && !messages.is_empty() {
            return Ok((messages, true));
        }
        messages.push(rows::message(row)?);
    }
    Ok((messages, false))
}

pub(super) fn messages(connection: &Connection, tenant: &TenantId, id: &str) -> rusqlite::Result<Vec<StoredMessage>> {
    let query = format!("SELECT {} FROM messages WHERE tenant = ?1 AND session = ?2 ORDER BY seq", rows::MESSAGE);
    let mut statement = connection.prepare_cached(&query)?;
    let found = statement.query_map(params![tenant.as_str(), id], rows::message)?;
    found.collect()
}
