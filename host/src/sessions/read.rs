//! Reading sessions.

use firebox_contract::{TenantId, limits};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Page, Session, SessionError, SessionPage, SessionStore, StoredMessage, absent, rows};

impl SessionStore {
    /// The session `id` of this tenant.
    ///
    /// # Errors
    /// `SessionError::NotFound` where the tenant has none.
    pub fn get(&self, tenant: &TenantId, id: &str) -> Result<Session, SessionError> {
        let reader = self.reader();
        let found = find(&reader, tenant, id, self.horizon()).map_err(|error| self.failed(error))?;
        found.ok_or_else(|| absent(tenant, id))
    }

    /// This tenant's sessions, newest first, a page at a time.
    ///
    /// # Errors
    /// What the file cannot be read for.
    pub fn list(&self, tenant: &TenantId, page: &Page) -> Result<SessionPage, SessionError> {
        let limit = page.limit.clamp(1, limits::SESSIONS_PAGE_MAX);
        // One more than asked for tells whether there is a next page. Ids sort by the time they were made at, and
        // "~" sorts after all of them.
        let query = format!(
            "SELECT {} FROM sessions WHERE tenant = ?1 AND id < ?2 AND used >= ?3 ORDER BY id DESC LIMIT ?4",
            rows::SESSION
        );
        let after = page.after.as_deref().unwrap_or("~");
        let reader = self.reader();
        let read = || -> rusqlite::Result<Vec<Session>> {
            let asked = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
            let mut statement = reader.prepare_cached(&query)?;
            let found = statement.query_map(params![tenant.as_str(), after, self.horizon(), asked], rows::session)?;
            found.collect()
        };
        let mut sessions = read().map_err(|error| self.failed(error))?;
        let more = sessions.len() > limit;
        sessions.truncate(limit);
        let next = if more { sessions.last().map(|session| session.id.clone()) } else { None };
        Ok(SessionPage { sessions, next })
    }

    /// The session this tenant used last; `None` where it has none.
    ///
    /// # Errors
    /// What the file cannot be read for.
    pub fn latest(&self, tenant: &TenantId) -> Result<Option<Session>, SessionError> {
        let query = format!(
            "SELECT {} FROM sessions WHERE tenant = ?1 AND used >= ?2 ORDER BY used DESC, id DESC LIMIT 1",
            rows::SESSION
        );
        let reader = self.reader();
        let found = reader.query_row(&query, params![tenant.as_str(), self.horizon()], rows::session).optional();
        found.map_err(|error| self.failed(error))
    }

    /// What [`SessionStore::keep_usage`] keeps, of all tenants.
    ///
    /// # Errors
    /// What the file cannot be read for.
    pub fn kept_usage(&self) -> Result<Vec<(TenantId, String)>, SessionError> {
        let reader = self.reader();
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

    /// How many live sessions this tenant has.
    ///
    /// # Errors
    /// What the file cannot be read for.
    pub fn count(&self, tenant: &TenantId) -> Result<usize, SessionError> {
        count(&self.reader(), tenant, self.horizon()).map_err(|error| self.failed(error))
    }

    /// All messages of a session in order, the system message first where it has one.
    ///
    /// # Errors
    /// `SessionError::NotFound` where the tenant has no such session.
    pub fn messages(&self, tenant: &TenantId, id: &str) -> Result<Vec<StoredMessage>, SessionError> {
        let mut reader = self.reader();
        // One transaction: session and messages are of one moment.
        let read = |reader: &mut Connection| -> rusqlite::Result<Option<Vec<StoredMessage>>> {
            let moment = reader.transaction()?;
            if find(&moment, tenant, id, self.horizon())?.is_none() {
                return Ok(None);
            }
            messages(&moment, tenant, id).map(Some)
        };
        let found = read(&mut reader).map_err(|error| self.failed(error))?;
        found.ok_or_else(|| absent(tenant, id))
    }

    /// Reads the whole file and says whether it is sound. Takes as long as reading it does.
    ///
    /// # Errors
    /// `SessionError::Damaged` with what is wrong.
    pub fn check(&self) -> Result<(), SessionError> {
        let reader = self.reader();
        let said: String =
            reader.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(|error| self.failed(error))?;
        if said == "ok" {
            return Ok(());
        }
        Err(SessionError::Damaged { path: self.path().to_owned(), reason: said })
    }
}

pub(super) fn find(
    connection: &Connection,
    tenant: &TenantId,
    id: &str,
    horizon: i64,
) -> rusqlite::Result<Option<Session>> {
    let query = format!("SELECT {} FROM sessions WHERE tenant = ?1 AND id = ?2 AND used >= ?3", rows::SESSION);
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_row(params![tenant.as_str(), id, horizon], rows::session).optional()
}

pub(super) fn count(connection: &Connection, tenant: &TenantId, horizon: i64) -> rusqlite::Result<usize> {
    let query = "SELECT count(*) FROM sessions WHERE tenant = ?1 AND used >= ?2";
    let mut statement = connection.prepare_cached(query)?;
    let found: i64 = statement.query_row(params![tenant.as_str(), horizon], |row| row.get(0))?;
    Ok(usize::try_from(found).unwrap_or(usize::MAX))
}

pub(super) fn messages(connection: &Connection, tenant: &TenantId, id: &str) -> rusqlite::Result<Vec<StoredMessage>> {
    let query = format!("SELECT {} FROM messages WHERE tenant = ?1 AND session = ?2 ORDER BY seq", rows::MESSAGE);
    let mut statement = connection.prepare_cached(&query)?;
    let found = statement.query_map(params![tenant.as_str(), id], rows::message)?;
    found.collect()
}
