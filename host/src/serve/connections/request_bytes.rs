//! The budget of request bytes: the server's memory for the bodies of requests, both their bytes and their parsed values.
//!
//! A tenant can reserve at most its share, and never more than the part of the budget that stays free. So neither one tenant
//! nor several together can fill the budget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebox_contract::{Error, TenantId, limits};

use crate::config::ServerConfig;
use crate::system::memory_limit::memory_limit;

/// The budget of a server. Clones share it.
#[derive(Debug, Clone)]
pub struct RequestByteBudget(Arc<ByteBudgetInner>);

#[derive(Debug)]
struct ByteBudgetInner {
    total: usize,
    /// The share of one tenant.
    per_tenant: usize,
    reserved: Mutex<ReservedTotals>,
}

#[derive(Debug, Default)]
struct ReservedTotals {
    all: usize,
    tenants: HashMap<TenantId, usize>,
}

/// The bytes that one request has reserved. They are released on drop.
#[derive(Debug)]
pub struct ReservedBytes {
    budget: RequestByteBudget,
    tenant: TenantId,
    bytes: usize,
}

impl RequestByteBudget {
    /// The budget of the configuration. The default depends on the memory that this process may use.
    #[must_use]
    pub fn of(config: &ServerConfig) -> Self {
        let total = config.request_bytes_max.unwrap_or_else(|| default_bytes(memory_limit(), config.body_bytes_max));
        let share = config.tenant_request_bytes_max.unwrap_or(total / limits::TENANT_REQUEST_BYTES_DIVISOR);
        Self::new(total, share)
    }

    fn new(total: usize, per_tenant: usize) -> Self {
        Self(Arc::new(ByteBudgetInner { total, per_tenant: per_tenant.min(total).max(1), reserved: Mutex::default() }))
    }

    /// The maximum bytes of a body: its bytes and its parsed values must fit into a tenant's share.
    #[must_use]
    pub fn longest_body(&self) -> usize {
        self.0.per_tenant / 2
    }

    /// A request that has reserved nothing.
    #[must_use]
    pub fn begin(&self, tenant: &TenantId) -> ReservedBytes {
        ReservedBytes { budget: self.clone(), tenant: tenant.clone(), bytes: 0 }
    }

    fn reserved(&self) -> MutexGuard<'_, ReservedTotals> {
        // No change under the lock can panic half way.
        self.0.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, tenant: &TenantId, more: usize) -> Result<(), Error> {
        let mut used = self.reserved();
        let own = used.tenants.get(tenant).copied().unwrap_or(0).saturating_add(more);
        let all = used.all.saturating_add(more);
        if own > self.0.per_tenant {
            let max = self.0.per_tenant;
            return Err(Error::Limited {
                message: format!(
                    "the requests of tenant \"{tenant}\" may use {max} bytes of memory together; send fewer at the same time"
                ),
                retry_after: Duration::from_secs(1),
            });
        }
        if all > self.0.total || own > self.0.total - all {
            return Err(Error::Unavailable("the server's memory for requests is used up; retry soon".to_owned()));
        }
        used.all = all;
        used.tenants.insert(tenant.clone(), own);
        Ok(())
    }

    fn release(&self, tenant: &TenantId, bytes: usize) {
        let mut used = self.reserved();
        used.all -= bytes;
        if let Some(own) = used.tenants.get_mut(tenant) {
            *own -= bytes;
            if *own == 0 {
                used.tenants.remove(tenant);
            }
        }
    }
}

/// The default: a fraction of the memory, and no more than a few bodies need.
fn default_bytes(memory: Option<u64>, body: usize) -> usize {
    let fraction = memory.map_or(u64::MAX, |memory| memory / limits::REQUEST_BYTES_MEMORY_DIVISOR);
    let fraction = usize::try_from(fraction).unwrap_or(usize::MAX);
    fraction.clamp(limits::REQUEST_BYTES_MIN, limits::REQUEST_BYTES_DEFAULT.max(2 * limits::FULL_BODIES_DEFAULT * body))
}

impl ReservedBytes {
    /// Reserves `more` bytes.
    ///
    /// # Errors
    /// `Error::Limited` if the tenant's share is used up, `Error::Unavailable` if the server's budget is.
    pub fn grow(&mut self, more: usize) -> Result<(), Error> {
        self.budget.reserve(&self.tenant, more)?;
        self.bytes += more;
        Ok(())
    }

    /// Releases all but `bytes` bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.budget.release(&self.tenant, excess);
        self.bytes -= excess;
    }
}

impl Drop for ReservedBytes {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_cannot_exceed_its_share_and_released_bytes_are_free_again() {
        let budget = RequestByteBudget::new(100, 40);
        let (one, two) = (TenantId::new("one"), TenantId::new("two"));
        let mut held = budget.begin(&one);
        assert!(held.grow(30).is_ok() && held.grow(10).is_ok());
        assert!(matches!(held.grow(1), Err(Error::Limited { .. })));
        assert!(
            matches!(budget.begin(&one).grow(1), Err(Error::Limited { .. })),
            "the share is for all its requests together"
        );
        let mut other = budget.begin(&two);
        assert!(other.grow(10).is_ok(), "another tenant has its own share");
        held.shrink_to(5);
        assert!(budget.begin(&one).grow(35).is_ok());
        drop((held, other));
        let used = budget.reserved();
        assert!(used.all == 0 && used.tenants.is_empty(), "{used:?}");
    }

    #[test]
    fn a_new_tenant_finds_room_when_others_have_filled_the_budget() {
        let budget = RequestByteBudget::new(1_000, 500);
        let mut all: Vec<ReservedBytes> = (0..9).map(|n| budget.begin(&TenantId::new(&format!("t{n}")))).collect();
        for _ in 0..1_000 {
            for held in &mut all {
                // Each takes what it gets.
                let _refused = held.grow(1);
            }
        }
        assert!(budget.reserved().all > 800);
        let mut late = budget.begin(&TenantId::new("late"));
        assert!(late.grow(40).is_ok());
        assert!(matches!(late.grow(200), Err(Error::Unavailable(_))));
    }

    #[test]
    fn the_default_depends_on_the_memory_of_the_machine() {
        let body = limits::BODY_BYTES_DEFAULT;
        assert_eq!(default_bytes(None, body), limits::REQUEST_BYTES_DEFAULT);
        assert_eq!(default_bytes(Some(256 << 30), 1), limits::REQUEST_BYTES_DEFAULT);
        assert_eq!(default_bytes(Some(256 << 30), 2 * body), 2 * limits::REQUEST_BYTES_DEFAULT);
        assert_eq!(default_bytes(Some(512 << 20), body), 64 << 20);
        assert_eq!(default_bytes(Some(1), body), limits::REQUEST_BYTES_MIN);
        let config = ServerConfig { request_bytes_max: Some(12 << 20), ..ServerConfig::default() };
        assert_eq!(RequestByteBudget::of(&config).longest_body(), 2 << 20);
        let whole = RequestByteBudget::new(
            limits::REQUEST_BYTES_DEFAULT,
            limits::REQUEST_BYTES_DEFAULT / limits::FULL_BODIES_DEFAULT,
        );
        assert_eq!(whole.longest_body(), body);
    }
}
