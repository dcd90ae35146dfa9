//! The share of the session file that each tenant may use.

use std::collections::HashMap;
use std::sync::PoisonError;

use firebox_contract::TenantId;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::write::ChangeError;
use super::{SessionError, SessionStore, rows};

impl SessionStore {
    /// Replaces the tenants' maximum bytes of all sessions. Other tenants have
    /// [`super::SessionLimits::tenant_bytes_max`]. A tenant above its maximum keeps its sessions and cannot add to them.
    pub fn share(&self, shares: HashMap<TenantId, u64>) {
        *self.shared.shares.write().unwrap_or_else(PoisonError::into_inner) = shares;
    }

    /// The bytes of all sessions of `tenant`, including a fixed overhead for each session and message.
    ///
    /// # Errors
    /// An error of the file.
    pub fn bytes(&self, tenant: &TenantId) -> Result<u64, SessionError> {
        self.change_freeing(|change| Ok(bytes(change, tenant)?))
    }

    /// Checks the tenant's share after a change that adds to its sessions. An error rolls the change back.
    pub(super) fn check_share(&self, change: &Transaction<'_>, tenant: &TenantId) -> Result<(), ChangeError> {
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
