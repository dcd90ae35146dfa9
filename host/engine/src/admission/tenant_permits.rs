//! Permits for work that occupies a thread, such as tokenizing a long prompt. A tenant holds one permit at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use firebox_contract::{Error, TenantId};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::status::lock;

/// Permits for one kind of work. A tenant holds at most one of them, so a tenant that floods waits behind itself.
pub struct TenantPermits {
    all: Arc<Semaphore>,
    tenants: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
    threads: Handle,
}

/// Held while the work runs. Dropping it gives it back.
pub struct TenantPermit {
    _all: OwnedSemaphorePermit,
    _slot: TenantSlot,
}

/// A tenant's only slot. The tenant is forgotten when its last waiting request is gone.
struct TenantSlot {
    permit: Option<OwnedSemaphorePermit>,
    tenant: TenantId,
    tenants: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
}

impl TenantPermits {
    /// `permits` permits, for work on the blocking threads of `threads`.
    #[must_use]
    pub fn new(permits: usize, threads: Handle) -> Self {
        Self { all: Arc::new(Semaphore::new(permits.max(1))), tenants: Arc::default(), threads }
    }

    /// Waits for a permit. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// `Error::Internal` if the semaphore was closed, which never happens.
    pub async fn acquire(&self, tenant: &TenantId) -> Result<TenantPermit, Error> {
        let closed = |_| Error::Internal("the permits were closed".to_owned());
        let own = Arc::clone(lock(&self.tenants).entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))));
        // Dropping the slot forgets the tenant, even if this future is dropped while it waits.
        let mut slot = TenantSlot { permit: None, tenant: tenant.clone(), tenants: Arc::clone(&self.tenants) };
        slot.permit = Some(own.acquire_owned().await.map_err(closed)?);
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(closed)?;
        Ok(TenantPermit { _all: all, _slot: slot })
    }

    /// Runs `work` on a blocking thread. The permit is held until `work` has ended.
    ///
    /// # Errors
    /// `Error::Internal` if `work` panics.
    pub async fn run<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.acquire(tenant).await?;
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        let done = self.threads.spawn_blocking(work).await;
        done.map_err(|error| Error::Internal(format!("work on a request stopped: {error}")))
    }
}

impl Drop for TenantSlot {
    fn drop(&mut self) {
        let mut tenants = lock(&self.tenants);
        self.permit = None;
        // Waiting requests hold a clone of the entry. If only the table holds it, no request waits.
        if tenants.get(&self.tenant).is_some_and(|own| Arc::strong_count(own) == 1) {
            tenants.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_tenant_that_floods_waits_behind_itself() {
        let permits = Arc::new(TenantPermits::new(2, Handle::current()));
        let (flood, other) = (TenantId::new("flood"), TenantId::new("other"));
        let held = permits.acquire(&flood).await.expect("open");
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let (permits, flood) = (Arc::clone(&permits), flood.clone());
                tokio::spawn(async move { permits.acquire(&flood).await.map(drop) })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        let quick = tokio::time::timeout(Duration::from_secs(10), permits.run(&other, || 7)).await;
        assert_eq!(quick.expect("no other tenant is before it"), Ok(7));
        drop(held);
        for waiting in waiting {
            waiting.await.expect("no panic").expect("open");
        }
        assert!(lock(&permits.tenants).is_empty(), "all tenants are forgotten");
    }

    #[tokio::test]
    async fn a_dropped_wait_is_forgotten_and_a_panic_gives_the_permit_back() {
        let permits = TenantPermits::new(1, Handle::current());
        let tenant = TenantId::new("a");
        let held = permits.acquire(&tenant).await.expect("open");
        let left = tokio::time::timeout(Duration::from_millis(5), permits.acquire(&tenant)).await;
        assert!(left.is_err(), "it waits");
        drop(held);
        assert!(lock(&permits.tenants).is_empty());
        let broken: Result<(), Error> = permits.run(&tenant, || panic!("asked for")).await;
        assert!(matches!(broken, Err(Error::Internal(_))));
        assert_eq!(permits.run(&tenant, || 1).await, Ok(1));
    }
}
