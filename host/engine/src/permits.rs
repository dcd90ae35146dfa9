//! Permits for work that takes a thread for a while, with a share for each tenant: one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use firebox_contract::{Error, TenantId};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::status::lock;

/// Permits of one kind of work. A tenant has one of them at most, so that whoever floods waits behind itself.
pub struct TenantPermits {
    all: Arc<Semaphore>,
    tenants: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
    threads: Handle,
}

/// Held while the work runs.
pub struct TenantPermit {
    _all: OwnedSemaphorePermit,
    _turn: Turn,
}

/// A tenant's own turn; the tenant is forgotten with the last one.
struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    tenant: TenantId,
    tenants: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
}

impl TenantPermits {
    /// As many permits as may be held at a time, for work on the threads for blocking work of `threads`.
    #[must_use]
    pub fn new(permits: usize, threads: Handle) -> Self {
        Self { all: Arc::new(Semaphore::new(permits.max(1))), tenants: Arc::default(), threads }
    }

    /// Waits for a permit; dropping the future leaves the queue.
    ///
    /// # Errors
    /// `Error::Internal` when the permits were closed, which nobody does.
    pub async fn acquire(&self, tenant: &TenantId) -> Result<TenantPermit, Error> {
        let closed = |_| Error::Internal("the permits were closed".to_owned());
        let own = Arc::clone(lock(&self.tenants).entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))));
        // From here on dropping it forgets the tenant, also where this waits in vain.
        let mut turn = Turn { permit: None, tenant: tenant.clone(), tenants: Arc::clone(&self.tenants) };
        turn.permit = Some(own.acquire_owned().await.map_err(closed)?);
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(closed)?;
        Ok(TenantPermit { _all: all, _turn: turn })
    }

    /// Runs `work` on a thread for blocking work, under a permit that it keeps to its end.
    ///
    /// # Errors
    /// `Error::Internal` when it panics.
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

impl Drop for Turn {
    fn drop(&mut self) {
        let mut tenants = lock(&self.tenants);
        self.permit = None;
        // Whoever waits holds a clone; an entry that only the table holds is nobody's.
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
    async fn a_flood_waits_behind_itself() {
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
        assert_eq!(quick.expect("nobody is before it"), Ok(7));
        drop(held);
        for waiting in waiting {
            waiting.await.expect("no panic").expect("open");
        }
        assert!(lock(&permits.tenants).is_empty(), "nobody is remembered");
    }

    #[tokio::test]
    async fn who_leaves_the_queue_is_forgotten_and_a_panic_gives_the_permit_back() {
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
