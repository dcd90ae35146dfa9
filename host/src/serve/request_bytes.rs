//! The budget of request bytes: what bodies, as they came and as they were read, hold of the server's memory at a time.
//!
//! A tenant holds its share at most, and never more than what is left free. So one tenant alone never fills the budget, and
//! neither do several together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebox_contract::{Error, TenantId, limits};

use crate::config::ServerConfig;
use crate::system::memory_limit::memory_limit;

/// The budget of a server. Cheap to clone: clones share it.
#[derive(Debug, Clone)]
pub struct RequestBytes(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    all: usize,
    each: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    tenants: HashMap<TenantId, usize>,
}

/// Bytes that one request holds; given back when it is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    budget: RequestBytes,
    tenant: TenantId,
    bytes: usize,
}

impl RequestBytes {
    /// As the configuration says; where it says nothing, by the memory this process may have.
    #[must_use]
    pub fn of(config: &ServerConfig) -> Self {
        let all = config.request_bytes_max.unwrap_or_else(|| default_bytes(memory_limit(), config.body_bytes_max));
        let share = config.tenant_request_bytes_max.unwrap_or(all / limits::TENANT_REQUEST_BYTES_DIVISOR);
        Self::new(all, share)
    }

    fn new(all: usize, each: usize) -> Self {
        Self(Arc::new(Budget { all, each: each.min(all).max(1), used: Mutex::default() }))
    }

    /// Bytes of the longest body there can ever be room for: it is held as it came and as it was read.
    #[must_use]
    pub fn longest_body(&self) -> usize {
        self.0.each / 2
    }

    /// Begins with nothing held.
    #[must_use]
    pub fn begin(&self, tenant: &TenantId) -> HeldBytes {
        HeldBytes { budget: self.clone(), tenant: tenant.clone(), bytes: 0 }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // A sum is changed in one step; what a panic elsewhere leaves is whole.
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, tenant: &TenantId, more: usize) -> Result<(), Error> {
        let mut used = self.used();
        let own = used.tenants.get(tenant).copied().unwrap_or(0).saturating_add(more);
        let all = used.all.saturating_add(more);
        if own > self.0.each {
            let max = self.0.each;
            return Err(Error::Limited {
                message: format!(
                    "the requests of tenant \"{tenant}\" hold {max} bytes, which is its limit; send fewer at a time"
                ),
                retry_after: Duration::from_secs(1),
            });
        }
        if all > self.0.all || own > self.0.all - all {
            return Err(Error::Unavailable(
                "the server holds as many bytes of requests as it may; try again soon".to_owned(),
            ));
        }
        used.all = all;
        used.tenants.insert(tenant.clone(), own);
        Ok(())
    }

    fn give_back(&self, tenant: &TenantId, bytes: usize) {
        let mut used = self.used();
        used.all -= bytes;
        if let Some(own) = used.tenants.get_mut(tenant) {
            *own -= bytes;
            if *own == 0 {
                used.tenants.remove(tenant);
            }
        }
    }
}

/// A part of the memory there is, and no more than a few bodies need.
fn default_bytes(memory: Option<u64>, body: usize) -> usize {
    let part = memory.map_or(u64::MAX, |memory| memory / limits::REQUEST_BYTES_MEMORY_DIVISOR);
    let part = usize::try_from(part).unwrap_or(usize::MAX);
    part.clamp(limits::REQUEST_BYTES_MIN, limits::REQUEST_BYTES_DEFAULT.max(2 * limits::FULL_BODIES_DEFAULT * body))
}

impl HeldBytes {
    /// Holds so many more.
    ///
    /// # Errors
    /// `Error::Limited` when the tenant's share is used up, `Error::Unavailable` when the server has no room.
    pub fn grow(&mut self, more: usize) -> Result<(), Error> {
        self.budget.take(&self.tenant, more)?;
        self.bytes += more;
        Ok(())
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.budget.give_back(&self.tenant, back);
        self.bytes -= back;
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_share_and_gets_it_back() {
        let budget = RequestBytes::new(100, 40);
        let (one, two) = (TenantId::new("one"), TenantId::new("two"));
        let mut held = budget.begin(&one);
        assert!(held.grow(30).is_ok() && held.grow(10).is_ok());
        assert!(matches!(held.grow(1), Err(Error::Limited { .. })));
        assert!(matches!(budget.begin(&one).grow(1), Err(Error::Limited { .. })), "of all its requests together");
        let mut other = budget.begin(&two);
        assert!(other.grow(10).is_ok(), "nobody else's");
        held.shrink_to(5);
        assert!(budget.begin(&one).grow(35).is_ok());
        drop((held, other));
        let used = budget.used();
        assert!(used.all == 0 && used.tenants.is_empty(), "{used:?}");
    }

    #[test]
    fn whoever_is_new_finds_room_however_many_fill_it() {
        let budget = RequestBytes::new(1_000, 500);
        let mut all: Vec<HeldBytes> = (0..9).map(|n| budget.begin(&TenantId::new(&format!("t{n}")))).collect();
        for _ in 0..1_000 {
            for held in &mut all {
                // Each takes what it gets.
                let _refused = held.grow(1);
            }
        }
        assert!(budget.used().all > 800);
        let mut late = budget.begin(&TenantId::new("late"));
        assert!(late.grow(40).is_ok());
        assert!(matches!(late.grow(200), Err(Error::Unavailable(_))));
    }

    #[test]
    fn the_default_follows_the_memory_there_is() {
        let body = limits::BODY_BYTES_DEFAULT;
        assert_eq!(default_bytes(None, body), limits::REQUEST_BYTES_DEFAULT);
        assert_eq!(default_bytes(Some(256 << 30), 1), limits::REQUEST_BYTES_DEFAULT);
        assert_eq!(default_bytes(Some(256 << 30), 2 * body), 2 * limits::REQUEST_BYTES_DEFAULT);
        assert_eq!(default_bytes(Some(512 << 20), body), 64 << 20);
        assert_eq!(default_bytes(Some(1), body), limits::REQUEST_BYTES_MIN);
        let config = ServerConfig { request_bytes_max: Some(12 << 20), ..ServerConfig::default() };
        assert_eq!(RequestBytes::of(&config).longest_body(), 2 << 20);
        let whole = RequestBytes::new(
            limits::REQUEST_BYTES_DEFAULT,
            limits::REQUEST_BYTES_DEFAULT / limits::FULL_BODIES_DEFAULT,
        );
        assert_eq!(whole.longest_body(), body);
    }
}
