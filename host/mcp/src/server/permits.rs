//! A pool of permits with a maximum in total and for each tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::TenantId;
use tokio::sync::watch;

/// A limited number of permits. A tenant may hold at most as many as the caller of `take` says.
#[derive(Debug)]
pub(super) struct PermitPool {
    max: usize,
    taken: Mutex<HashMap<TenantId, usize>>,
    total: watch::Sender<usize>,
}

/// One permit. Dropping it returns it to the pool.
#[derive(Debug)]
pub(super) struct Permit {
    pool: Arc<PermitPool>,
    tenant: TenantId,
}

impl PermitPool {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default(), total: watch::Sender::new(0) })
    }

    /// A permit for `tenant`, which may hold `tenant_max` permits. `None` if the tenant or the pool has reached its maximum.
    pub(super) fn take(self: &Arc<Self>, tenant: &TenantId, tenant_max: usize) -> Option<Permit> {
        let mut taken = self.lock();
        let own = taken.get(tenant).copied().unwrap_or(0);
        if own >= tenant_max || *self.total.borrow() >= self.max {
            return None;
        }
        taken.insert(tenant.clone(), own + 1);
        self.total.send_modify(|total| *total += 1);
        Some(Permit { pool: Arc::clone(self), tenant: tenant.clone() })
    }

    /// Whether [`PermitPool::take`] would return a permit for `tenant` now.
    pub(super) fn has_room(&self, tenant: &TenantId, tenant_max: usize) -> bool {
        let taken = self.lock();
        taken.get(tenant).is_none_or(|own| *own < tenant_max) && *self.total.borrow() < self.max
    }

    /// The number of permits that are held.
    pub(super) fn taken(&self) -> usize {
        *self.total.borrow()
    }

    /// Waits until no permit is held.
    pub(super) async fn free(&self) {
        let mut total = self.total.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _free = total.wait_for(|total| *total == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        // A panic under the lock leaves valid counts.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The tenant that holds the permit.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.pool.lock();
        if let Some(own) = taken.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.tenant);
            }
        }
        self.pool.total.send_modify(|total| *total -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_gets_at_most_its_own_maximum_of_permits() {
        let pool = PermitPool::new(3);
        let (flood, quiet) = (TenantId::new("flood"), TenantId::new("quiet"));
        let held: Vec<Permit> = (0..5).filter_map(|_| pool.take(&flood, 2)).collect();
        assert_eq!((held.len(), pool.taken()), (2, 2));
        let own = pool.take(&quiet, 2).expect("one is left");
        assert!(pool.take(&quiet, 2).is_none(), "all three are held");
        drop((held, own));
        pool.free().await;
        assert!(pool.lock().is_empty(), "tenants that hold nothing are removed");
    }
}
