//! Ends requests, streams and waits when their key is revoked, expires, or loses its scope.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{BoxFuture, Caller, Error, Liveness, LivenessHandle, Permission, TenantId, limits};

use super::{ActiveKey, Tenancy, Tenant, TenantTable, invalid_key, state_in_doubt};
use crate::config::{Config, Scope};

/// The key of one request.
#[derive(Clone)]
struct KeyLiveness {
    tenancy: Tenancy,
    tenant: TenantId,
    key: Arc<str>,
    digest: [u8; 32],
    /// The key must keep one of these scopes. Empty if no scope is needed.
    scopes: &'static [Scope],
}

impl KeyLiveness {
    /// The key, if it is still valid and has one of the scopes.
    fn key(&self) -> Result<Arc<ActiveKey>, Error> {
        let table = self.tenancy.table()?;
        let same = |key: &&Arc<ActiveKey>| key.entry.id == self.tenant && key.digest == self.digest;
        let key = table.key_ids.get(&self.key).filter(same).filter(|key| self.tenancy.is_valid(key));
        let key = key.cloned().ok_or_else(invalid_key)?;
        match self.scopes.first() {
            Some(scope) if !self.scopes.iter().any(|scope| key.scopes.contains(scope)) => {
                Err(missing_scope(&self.key, *scope))
            }
            _ => Ok(key),
        }
    }
}

impl Tenancy {
    /// Revokes the keys that are missing or expired in `config`, before the rest of a reload, which may take long or fail.
    ///
    /// # Errors
    /// `Error::Usage` for a configuration that [`Config::load`] would refuse.
    pub fn revoke_missing(&self, config: &Config) -> Result<(), Error> {
        let old = self.table()?;
        let new = TenantTable::new(&config.tenants, &old, (self.0.wall)())?;
        let stays = |key: &Arc<ActiveKey>| {
            let same = new.keys.get(&key.digest).filter(|same| same.entry.id == key.entry.id);
            same.is_some_and(|same| self.is_valid(same))
        };
        if old.keys.values().all(stays) {
            return Ok(());
        }
        let keys = old.keys.iter().filter(|(_, key)| stays(key)).map(|(digest, key)| (*digest, Arc::clone(key)));
        let ids = old.key_ids.iter().filter(|(_, key)| stays(key)).map(|(id, key)| (Arc::clone(id), Arc::clone(key)));
        let narrowed = TenantTable { tenants: old.tenants.clone(), keys: keys.collect(), key_ids: ids.collect() };
        *self.0.table.write().map_err(|_poisoned| state_in_doubt())? = Arc::new(narrowed);
        self.0.changed.send_replace(());
        Ok(())
    }
}

impl Liveness for KeyLiveness {
    fn check(&self) -> Result<(), Error> {
        self.key().map(drop)
    }

    fn permission(&self, tool: &str) -> Permission {
        self.key().map_or(Permission::Deny, |key| key.entry.config.tools.permission(tool))
    }

    fn ended(&self) -> BoxFuture<'static, Error> {
        let this = self.clone();
        Box::pin(async move {
            // Subscribes before the first check, so that no change is missed.
            let mut changed = this.tenancy.0.changed.subscribe();
            loop {
                let expires = match this.key() {
                    Ok(key) => key.expires,
                    Err(error) => return error,
                };
                let left = expires.map(|expires| expires.duration_since((this.tenancy.0.wall)()).unwrap_or_default());
                tokio::select! {
                    // `this` holds the sender, so this ends only on a change.
                    _ = changed.changed() => {}
                    () = pause(left) => {}
                }
            }
        })
    }
}

/// Waits until a key may have expired. The wall clock can be set, so the wait is short.
async fn pause(left: Option<Duration>) {
    match left {
        Some(left) => {
            tokio::time::sleep(left.clamp(limits::KEY_EXPIRY_CHECK_PERIOD_MIN, limits::KEY_EXPIRY_CHECK_PERIOD)).await
        }
        None => std::future::pending().await,
    }
}

/// The error for a key without `scope`.
pub(super) fn missing_scope(key: &str, scope: Scope) -> Error {
    let scope = scope.as_str();
    Error::Denied(format!(
        "key \"{key}\" does not have the scope \"{scope}\"; ask the operator for a key with that scope"
    ))
}

impl Tenancy {
    /// `tenant` for a request that needs one of `scopes`. The request ends when its key loses all of them. A tenant without a key
    /// is returned unchanged.
    #[must_use]
    pub fn limited_to_scopes(&self, tenant: Tenant, scopes: &'static [Scope]) -> Tenant {
        let key = self.table().ok().and_then(|table| table.key_ids.get(&tenant.key_id).cloned());
        let Some(key) = key.filter(|_| tenant.caller.liveness.can_end()) else { return tenant };
        let liveness = self.liveness_of(&key, scopes);
        Tenant { caller: Caller { liveness, ..tenant.caller }, ..tenant }
    }

    pub(super) fn liveness_of(&self, key: &ActiveKey, scopes: &'static [Scope]) -> LivenessHandle {
        let (tenant, id) = (key.caller.tenant.clone(), Arc::clone(&key.caller.key));
        let liveness = KeyLiveness { tenancy: self.clone(), tenant, key: id, digest: key.digest, scopes };
        LivenessHandle::new(Arc::new(liveness))
    }
}
