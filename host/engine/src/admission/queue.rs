//! The state of an admission queue: the waiting requests in fair order, and the counts of each tenant.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use firebox_contract::limits::RETRY_AFTER_MAX;
use firebox_contract::{Caller, Error, TenantId};
use tokio::sync::oneshot;

use super::fair_clock::FairClock;
use super::{AdmissionLimits, AdmissionPermit, closing};

/// Shortest time that a refused client is asked to wait before it retries.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// The load of one waiting request at weight 1, in the unit of load comparisons.
const LOAD_UNIT: u64 = 1 << 32;

/// The result of an admission.
pub(super) type Admitted = Result<AdmissionPermit, Error>;

/// The order of waiting requests: the start on the fair clock, then the number of arrival.
pub(super) type QueueKey = (u64, u64);

#[derive(Default)]
pub(super) struct QueueState {
    pub(super) closed: bool,
    pub(super) running: usize,
    pub(super) waiting: BTreeMap<QueueKey, WaitingRequest>,
    /// The order between tenants that wait.
    fair: FairClock,
    arrivals: u64,
    /// Tenants with running or waiting requests.
    tenants: HashMap<TenantId, TenantRequests>,
    /// Moving average of the time that a permit is held.
    mean_hold: Duration,
}

/// The requests of one tenant.
#[derive(Default)]
pub(super) struct TenantRequests {
    pub(super) running: usize,
    pub(super) waiting: usize,
    weight: u32,
}

pub(super) struct WaitingRequest {
    pub(super) tenant: TenantId,
    pub(super) arrived: Duration,
    pub(super) reply: oneshot::Sender<Admitted>,
}

impl QueueState {
    /// Refuses a request of a tenant that has its maximum of requests, or of any tenant while the engine closes.
    pub(super) fn check(&self, caller: &Caller, running_max: usize) -> Result<(), Error> {
        if self.closed {
            return Err(closing());
        }
        let used = self.tenants.get(&caller.tenant).map_or(0, |tenant| tenant.running + tenant.waiting);
        if used < caller.in_flight_max {
            return Ok(());
        }
        let message = format!(
            "tenant \"{}\" already has {used} requests at this model, which is its limit; retry when one has ended",
            caller.tenant
        );
        let rate = u32::try_from(used.clamp(1, running_max.max(1))).unwrap_or(u32::MAX);
        Err(Error::Limited { message, retry_after: clamp(self.mean_hold / rate) })
    }

    /// Adds a request to the queue.
    pub(super) fn insert(&mut self, caller: &Caller, now: Duration, reply: oneshot::Sender<Admitted>) -> QueueKey {
        let tenant = self.tenants.entry(caller.tenant.clone()).or_default();
        tenant.weight = caller.weight.max(1);
        tenant.waiting += 1;
        let start = self.fair.enter(&caller.tenant, caller.weight, 1);
        self.arrivals += 1;
        let key = (start, self.arrivals);
        self.waiting.insert(key, WaitingRequest { tenant: caller.tenant.clone(), arrived: now, reply });
        key
    }

    /// Takes the next request out of the queue and counts it as running, if there is a permit for it.
    pub(super) fn admit_next(&mut self, limits: &AdmissionLimits) -> Option<WaitingRequest> {
        let key = self.next(limits)?;
        let waiting = self.waiting.remove(&key)?;
        self.fair.begin(key.0);
        self.running += 1;
        let tenant = self.tenants.entry(waiting.tenant.clone()).or_default();
        tenant.waiting -= 1;
        tenant.running += 1;
        Some(waiting)
    }

    fn next(&self, limits: &AdmissionLimits) -> Option<QueueKey> {
        if self.running < limits.running_max {
            return self.waiting.keys().next().copied();
        }
        if self.running >= limits.running_max + limits.reserved {
            return None;
        }
        let idle = |tenant| self.tenants.get(tenant).is_none_or(|requests: &TenantRequests| requests.running == 0);
        self.waiting.iter().find(|(_, waiting)| idle(&waiting.tenant)).map(|(key, _)| *key)
    }

    /// Counts a running request of `tenant` as ended. It held its permit for `hold`.
    pub(super) fn release(&mut self, tenant: &TenantId, hold: Duration) {
        self.running -= 1;
        self.update_tenant(tenant, |tenant| tenant.running -= 1);
        self.mean_hold = (self.mean_hold * 7 + hold) / 8;
    }

    /// Removes the newest request of the tenant with the most waiting requests for its weight.
    pub(super) fn remove_newest_of_heaviest(&mut self) -> Option<oneshot::Sender<Admitted>> {
        let load = |tenant: &TenantRequests| (tenant.waiting as u64) * LOAD_UNIT / u64::from(tenant.weight.max(1));
        let heaviest = self.tenants.iter().max_by_key(|(_, tenant)| load(tenant))?.0.clone();
        let key = *self.waiting.iter().rev().find(|(_, waiting)| waiting.tenant == heaviest)?.0;
        let waiting = self.waiting.remove(&key)?;
        self.update_tenant(&heaviest, |tenant| tenant.waiting -= 1);
        Some(waiting.reply)
    }

    /// Changes the counts of a tenant. A tenant without requests is forgotten, so its next request starts at once.
    pub(super) fn update_tenant(&mut self, tenant: &TenantId, change: impl FnOnce(&mut TenantRequests)) {
        if let Some(requests) = self.tenants.get_mut(tenant) {
            change(requests);
            if requests.running + requests.waiting == 0 {
                self.tenants.remove(tenant);
                self.fair.forget(tenant);
            }
        }
    }

    /// The time after which a permit is likely to be free: the waiting requests times the mean time between two permits.
    pub(super) fn retry_after(&self, limits: &AdmissionLimits) -> Duration {
        let permits = u32::try_from(limits.running_max.max(1)).unwrap_or(u32::MAX);
        let before = u32::try_from(self.waiting.len() + 1).unwrap_or(u32::MAX);
        clamp((self.mean_hold / permits).saturating_mul(before))
    }
}

fn clamp(time: Duration) -> Duration {
    time.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}
