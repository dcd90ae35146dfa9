//! Each tenant's share of the file.

use std::collections::HashMap;
use std::sync::PoisonError;

use firebox_contract::TenantId;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::write::Step;
use super::{SessionError, SessionStore, rows};

impl SessionStore {
    /// Bytes that all sessions of each of these tenants may have, in place of what was said before; others have
    /// [`super::SessionLimits::tenant_bytes_max`]. A tenant that has more keeps it, and adds nothing.
    pub fn share(&self, shares: HashMap<TenantId, u64>) {
        *self.shared.shares.write().unwrap_or_else(PoisonError::into_inner) = shares;
    }

    /// Bytes of all sessions of `tenant`, with what each message and session takes beside its text.
    ///
    /// # Errors
    /// What the file cannot be read for.
    pub fn bytes(&self, tenant: &TenantId) -> Result<u64, SessionError> {
        self.change_freeing(|change| Ok(bytes(change, tenant)?))
    }

    /// Asked after a change that adds: the tenant's sessions stay within its share, or the change is undone.
    pub(super) fn check_share(&self, change: &Transaction<'_>, tenant: &TenantId) -> Result<(), Step> {
        let shares = self.shared.shares.read().unwrap_or_else(PoisonError::into_inner);
        let limit = shares.get(tenant).copied().unwrap_or(self.shared.limits.tenant_bytes_max);
        drop(shares);
        let bytes = bytes(change, tenant)?;
        if bytes <= limit {
            return Ok(());
        }
        let retry_after = self.first_expiry(change, tenant)?;
        Err(SessionError::ShareFull { bytes, limit, retry_after }.into())
    }
}

fn bytes(change: &Transaction<'_>, tenant: &TenantId) -> rusqlite::Result<u64> {
    let query = "SELECT bytes FROM totals WHERE tenant = ?1";
    let mut statement = change.prepare_cached(query)?;
    let bytes = statement.query_row(params![tenant.as_str()], |row| row.get(0)).optional()?;
    Ok(rows::count(bytes.unwrap_or(0)))
}
