//! How many of something there are, in all and for one tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::TenantId;
use tokio::sync::watch;

/// A bounded number of places, shared fairly enough: no tenant has more than it may.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: Mutex<HashMap<TenantId, usize>>,
    total: watch::Sender<usize>,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    tenant: TenantId,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default(), total: watch::Sender::new(0) })
    }

    /// A place for `tenant`, which may have `tenant_max` of them; `None` where all are taken.
    pub(super) fn take(self: &Arc<Self>, tenant: &TenantId, tenant_max: usize) -> Option<Place> {
        let mut taken = self.lock();
        let own = taken.get(tenant).copied().unwrap_or(0);
        if own >= tenant_max || *self.total.borrow() >= self.max {
            return None;
        }
        taken.insert(tenant.clone(), own + 1);
        self.total.send_modify(|total| *total += 1);
        Some(Place { places: Arc::clone(self), tenant: tenant.clone() })
    }

    /// Whether [`Places::take`] has one for `tenant` now.
    pub(super) fn has_room(&self, tenant: &TenantId, tenant_max: usize) -> bool {
        let taken = self.lock();
        taken.get(tenant).is_none_or(|own| *own < tenant_max) && *self.total.borrow() < self.max
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        *self.total.borrow()
    }

    /// Ends when none is taken.
    pub(super) async fn free(&self) {
        let mut total = self.total.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _free = total.wait_for(|total| *total == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        // A panic while the lock was held leaves whole numbers.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whose it is.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(own) = taken.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.tenant);
            }
        }
        self.places.total.send_modify(|total| *total -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_cannot_take_what_is_anothers() {
        let places = Places::new(3);
        let (flood, quiet) = (TenantId::new("flood"), TenantId::new("quiet"));
        let held: Vec<Place> = (0..5).filter_map(|_| places.take(&flood, 2)).collect();
        assert_eq!((held.len(), places.taken()), (2, 2));
        let own = places.take(&quiet, 2).expect("one is left");
        assert!(places.take(&quiet, 2).is_none(), "all three are taken");
        drop((held, own));
        places.free().await;
        assert!(places.lock().is_empty(), "nothing is remembered about tenants that hold nothing");
    }
}
