//! Each tenant's share of the threads that are at the session file: so that one that reads a lot keeps nobody waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::{TenantId, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of all tenants. Cheap to clone: clones share them. Only who has a request at the file has an entry.
#[derive(Debug, Clone, Default)]
pub struct StoreShares(Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>);

/// One of a tenant's places, until it is dropped.
#[derive(Debug)]
pub(super) struct StorePermit {
    shares: StoreShares,
    tenant: TenantId,
    permit: Option<OwnedSemaphorePermit>,
}

impl StoreShares {
    fn table(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one of the tenant's places; dropping the future ends the wait.
    pub(super) async fn take(&self, tenant: &TenantId) -> StorePermit {
        let permits = {
            let mut table = self.table();
            let made = || Arc::new(Semaphore::new(limits::SESSION_OPERATIONS_PER_TENANT_MAX));
            Arc::clone(table.entry(tenant.clone()).or_insert_with(made))
        };
        // Made first, so that the entry goes away when the wait is given up.
        let mut taken = StorePermit { shares: self.clone(), tenant: tenant.clone(), permit: None };
        // Nobody closes it.
        taken.permit = permits.acquire_owned().await.ok();
        taken
    }
}

impl Drop for StorePermit {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut table = self.shares.table();
        if table.get(&self.tenant).is_some_and(|permits| Arc::strong_count(permits) == 1) {
            table.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_has_so_many_places_and_takes_none_of_another() {
        let shares = StoreShares::default();
        let (a, b) = (TenantId::new("a"), TenantId::new("b"));
        let mut taken = Vec::new();
        for _ in 0..limits::SESSION_OPERATIONS_PER_TENANT_MAX {
            taken.push(shares.take(&a).await);
        }
        let more = tokio::spawn({
            let (shares, a) = (shares.clone(), a.clone());
            async move { drop(shares.take(&a).await) }
        });
        tokio::task::yield_now().await;
        assert!(!more.is_finished(), "it waits");
        let other = shares.take(&b).await;
        drop(taken);
        more.await.expect("it has its turn");
        drop(other);
        assert!(shares.table().is_empty(), "nothing is left behind");
    }
}
