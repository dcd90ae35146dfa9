//! How many requests and streams each tenant has open, so that no tenant has all connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebox_contract::{Error, TenantId, limits};

use super::counters::{ConnectionCounters, Refusal};
use crate::tenancy::Tenant;

/// Open requests of all tenants. Cheap to clone: clones share the counts.
#[derive(Debug, Clone)]
pub struct TenantShares {
    open: Arc<Mutex<HashMap<TenantId, Open>>>,
    /// Open requests of a tenant whose limits do not say.
    requests_max: usize,
    counters: ConnectionCounters,
}

#[derive(Debug, Default)]
struct Open {
    requests: usize,
    streams: usize,
}

/// One open request of a tenant, counted until it is dropped.
#[derive(Debug)]
pub struct TenantRequest {
    shares: TenantShares,
    tenant: TenantId,
    streams_max: usize,
    is_stream: AtomicBool,
}

impl TenantShares {
    /// For a server that has `connections_max` connections.
    #[must_use]
    pub fn new(connections_max: usize, counters: ConnectionCounters) -> Self {
        let requests_max = connections_max.div_ceil(limits::TENANT_CONNECTIONS_DIVISOR);
        Self { open: Arc::default(), requests_max, counters }
    }

    /// Counts a request of `tenant`.
    ///
    /// # Errors
    /// `Error::Limited` where the tenant has as many open as it may.
    pub fn open(&self, tenant: &Tenant) -> Result<TenantRequest, Error> {
        let limits = &tenant.config.limits;
        let most = limits.connections_max.unwrap_or(self.requests_max);
        let mut all = self.lock();
        let open = all.entry(tenant.id.clone()).or_default();
        if open.requests >= most {
            self.counters.refused(Refusal::Tenant);
            return Err(limited(&tenant.id, most, "requests", "connections_max"));
        }
        open.requests += 1;
        let (tenant, streams_max) = (tenant.id.clone(), limits.streams_max);
        Ok(TenantRequest { shares: self.clone(), tenant, streams_max, is_stream: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Open>> {
        // A panic while the lock was held leaves whole numbers.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TenantRequest {
    /// Counts it as a stream from here on.
    ///
    /// # Errors
    /// `Error::Limited` where the tenant has as many streams as it may.
    pub fn begin_stream(&self) -> Result<(), Error> {
        let mut all = self.shares.lock();
        let open = all.entry(self.tenant.clone()).or_default();
        if self.is_stream.load(Ordering::Relaxed) {
            return Ok(());
        }
        if open.streams >= self.streams_max {
            self.shares.counters.refused(Refusal::Streams);
            return Err(limited(&self.tenant, self.streams_max, "streams", "streams_max"));
        }
        open.streams += 1;
        self.is_stream.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for TenantRequest {
    fn drop(&mut self) {
        let mut all = self.shares.lock();
        let Some(open) = all.get_mut(&self.tenant) else { return };
        open.requests = open.requests.saturating_sub(1);
        open.streams = open.streams.saturating_sub(usize::from(*self.is_stream.get_mut()));
        if open.requests == 0 {
            all.remove(&self.tenant);
        }
    }
}

fn limited(tenant: &TenantId, most: usize, what: &str, key: &str) -> Error {
    let message = format!(
        "tenant \"{tenant}\" has {most} {what} open, which is its limit; end one of them first, or ask the operator for \
         a larger {key}"
    );
    Error::Limited { message, retry_after: Duration::from_secs(1) }
}

#[cfg(test)]
mod tests {
    use firebox_contract::Caller;

    use super::*;
    use crate::config::TenantConfig;

    fn tenant(name: &str, connections_max: Option<usize>, streams_max: usize) -> Tenant {
        let mut config = TenantConfig::local(name, Vec::new());
        (config.limits.connections_max, config.limits.streams_max) = (connections_max, streams_max);
        let id = TenantId::new(name);
        let caller = Caller::of(id.clone());
        Tenant { id, caller, config: Arc::new(config), scopes: Arc::from([]), key_id: Arc::from("") }
    }

    #[test]
    fn a_tenant_has_its_share_and_leaves_others_theirs() {
        let shares = TenantShares::new(8, ConnectionCounters::default());
        let (greedy, other) = (tenant("greedy", None, 1), tenant("other", Some(3), 9));
        let held: Vec<TenantRequest> = (0..2).map(|_| shares.open(&greedy).expect("a quarter")).collect();
        let error = shares.open(&greedy).expect_err("no more").to_string();
        assert!(error.contains("\"greedy\" has 2 requests") && error.contains("connections_max"), "{error}");
        let _others: Vec<TenantRequest> = (0..3).map(|_| shares.open(&other).expect("its own share")).collect();
        assert!(shares.open(&other).is_err());
        held[0].begin_stream().expect("one");
        held[0].begin_stream().expect("the same one");
        let error = held[1].begin_stream().expect_err("no second").to_string();
        assert!(error.contains("1 streams") && error.contains("streams_max"), "{error}");
        drop(held);
        let again = shares.open(&greedy).expect("given back");
        again.begin_stream().expect("given back");
        drop(again);
        assert!(!shares.lock().contains_key(&greedy.id), "nothing stays of a tenant that has nothing open");
    }
}
