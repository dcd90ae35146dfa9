//! The open requests and streams of each tenant, so that no tenant can take all connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebox_contract::{Error, TenantId, limits};

use super::counters::{ConnectionCounters, Refusal};
use crate::tenancy::Tenant;

/// The open requests of all tenants. Clones share the counts.
#[derive(Debug, Clone)]
pub struct OpenRequests {
    open: Arc<Mutex<HashMap<TenantId, OpenCounts>>>,
    /// The maximum of a tenant without `connections_max`.
    requests_max: usize,
    counters: ConnectionCounters,
}

#[derive(Debug, Default)]
struct OpenCounts {
    requests: usize,
    streams: usize,
}

/// An open request of a tenant, counted until it is dropped.
#[derive(Debug)]
pub struct OpenRequest {
    requests: OpenRequests,
    tenant: TenantId,
    streams_max: usize,
    is_stream: AtomicBool,
}

impl OpenRequests {
    /// For a server with `connections_max` connections.
    #[must_use]
    pub fn new(connections_max: usize, counters: ConnectionCounters) -> Self {
        let requests_max = connections_max.div_ceil(limits::TENANT_CONNECTIONS_DIVISOR);
        Self { open: Arc::default(), requests_max, counters }
    }

    /// Counts a request of `tenant`.
    ///
    /// # Errors
    /// `Error::Limited` if the tenant has its maximum of open requests.
    pub fn open(&self, tenant: &Tenant) -> Result<OpenRequest, Error> {
        let limits = &tenant.config.limits;
        let max = limits.connections_max.unwrap_or(self.requests_max);
        let mut all = self.lock();
        let open = all.entry(tenant.id.clone()).or_default();
        if open.requests >= max {
            self.counters.refused(Refusal::Tenant);
            return Err(limited(&tenant.id, max, "requests", "connections_max"));
        }
        open.requests += 1;
        let (tenant, streams_max) = (tenant.id.clone(), limits.streams_max);
        Ok(OpenRequest { requests: self.clone(), tenant, streams_max, is_stream: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, OpenCounts>> {
        // No change under the lock can panic half way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenRequest {
    /// Counts the request as a stream from now on.
    ///
    /// # Errors
    /// `Error::Limited` if the tenant has its maximum of open streams.
    pub fn begin_stream(&self) -> Result<(), Error> {
        let mut all = self.requests.lock();
        let open = all.entry(self.tenant.clone()).or_default();
        if self.is_stream.load(Ordering::Relaxed) {
            return Ok(());
        }
        if open.streams >= self.streams_max {
            self.requests.counters.refused(Refusal::Streams);
            return Err(limited(&self.tenant, self.streams_max, "streams", "streams_max"));
        }
        open.streams += 1;
        self.is_stream.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut all = self.requests.lock();
        let Some(open) = all.get_mut(&self.tenant) else { return };
        open.requests = open.requests.saturating_sub(1);
        open.streams = open.streams.saturating_sub(usize::from(*self.is_stream.get_mut()));
        if open.requests == 0 {
            all.remove(&self.tenant);
        }
    }
}

fn limited(tenant: &TenantId, max: usize, what: &str, key: &str) -> Error {
    let message = format!(
        "tenant \"{tenant}\" has {max} {what} open, which is its limit; end one first, or ask the operator to raise {key}"
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
    fn a_tenant_cannot_exceed_its_open_requests_and_streams() {
        let requests = OpenRequests::new(8, ConnectionCounters::default());
        let (greedy, other) = (tenant("greedy", None, 1), tenant("other", Some(3), 9));
        let held: Vec<OpenRequest> = (0..2).map(|_| requests.open(&greedy).expect("a quarter")).collect();
        let error = requests.open(&greedy).expect_err("no more").to_string();
        assert!(error.contains("\"greedy\" has 2 requests") && error.contains("connections_max"), "{error}");
        let _others: Vec<OpenRequest> = (0..3).map(|_| requests.open(&other).expect("its own share")).collect();
        assert!(requests.open(&other).is_err());
        held[0].begin_stream().expect("one");
        held[0].begin_stream().expect("the same one");
        let error = held[1].begin_stream().expect_err("no second").to_string();
        assert!(error.contains("1 streams") && error.contains("streams_max"), "{error}");
        drop(held);
        let again = requests.open(&greedy).expect("given back");
        again.begin_stream().expect("given back");
        drop(again);
        assert!(!requests.lock().contains_key(&greedy.id), "a tenant without open requests has no entry");
    }
}
