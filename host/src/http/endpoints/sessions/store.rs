//! Access to the session file: on a thread for blocking work, with a permit of the tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::{Caller, Error, TenantId, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::Failure;
use crate::serve::App;
use crate::sessions::{SessionError, SessionStore};

/// Runs `work` on the store for `caller`, on a thread for blocking work, once one of the tenant's permits is free.
///
/// # Errors
/// 401 if the caller's key is revoked or expired by then, 409 for a conflict with another request, 503 if the session file
/// cannot be used, and the other errors of `work`.
pub(super) async fn with_store<T: Send + 'static>(
    app: &App,
    caller: &Caller,
    work: impl FnOnce(&SessionStore) -> Result<T, SessionError> + Send + 'static,
) -> Result<T, Failure> {
    let permit = app.store_permits.acquire(&caller.tenant).await;
    let (store, liveness) = (app.sessions.clone(), caller.liveness.clone());
    let done = tokio::task::spawn_blocking(move || {
        // The permit belongs to the work, which goes on when the request is dropped.
        let _permit = permit;
        // Checked on this thread, after the wait for it.
        liveness.check()?;
        work(&store).map_err(failure)
    });
    done.await.map_err(|error| Error::Internal(format!("an operation on the session store panicked: {error}")))?
}

/// The answer to an error of the store. Problems of the file are logged by the store and shown by `/readyz`; the answer has
/// no details.
fn failure(error: SessionError) -> Failure {
    if error.is_of_the_store() {
        let message = "sessions cannot be read or written now; ask the operator to check the session file";
        return Failure::from(Error::Unavailable(message.to_owned())).with_code("sessions_unavailable");
    }
    match error {
        SessionError::Conflict { .. } => Failure::conflict(error.to_string()),
        error => Error::from(error).into(),
    }
}

/// Permits to use the session file, a fixed number for each tenant, so that one tenant cannot occupy all threads. Clones
/// share them. Only tenants that use the file have an entry.
#[derive(Debug, Clone, Default)]
pub struct StorePermits(Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>);

/// A permit to use the session file, released on drop.
#[derive(Debug)]
struct StorePermit {
    permits: StorePermits,
    tenant: TenantId,
    permit: Option<OwnedSemaphorePermit>,
}

impl StorePermits {
    fn table(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one of the tenant's permits. Dropping the future ends the wait.
    async fn acquire(&self, tenant: &TenantId) -> StorePermit {
        let semaphore = {
            let mut table = self.table();
            let new = || Arc::new(Semaphore::new(limits::SESSION_OPERATIONS_PER_TENANT_MAX));
            Arc::clone(table.entry(tenant.clone()).or_insert_with(new))
        };
        // Created before the wait, so that a cancelled wait removes the entry.
        let mut taken = StorePermit { permits: self.clone(), tenant: tenant.clone(), permit: None };
        // The semaphore is never closed.
        taken.permit = semaphore.acquire_owned().await.ok();
        taken
    }
}

impl Drop for StorePermit {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut table = self.permits.table();
        if table.get(&self.tenant).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            table.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_has_a_fixed_number_of_permits_and_takes_none_of_another() {
        let permits = StorePermits::default();
        let (a, b) = (TenantId::new("a"), TenantId::new("b"));
        let mut taken = Vec::new();
        for _ in 0..limits::SESSION_OPERATIONS_PER_TENANT_MAX {
            taken.push(permits.acquire(&a).await);
        }
        let more = tokio::spawn({
            let (permits, a) = (permits.clone(), a.clone());
            async move { drop(permits.acquire(&a).await) }
        });
        tokio::task::yield_now().await;
        assert!(!more.is_finished(), "it waits");
        let other = permits.acquire(&b).await;
        drop(taken);
        more.await.expect("it gets a permit");
        drop(other);
        assert!(permits.table().is_empty(), "no entry is left");
    }
}
