//! The device time that each tenant used recently. Use decays exponentially (decay-usage scheduling, Epema 1998): a
//! tenant that used little recently goes first, and a tenant that used much gets its share again after a bounded time.

use std::collections::HashMap;
use std::time::Duration;

use firebox_contract::limits::{SHARE_DECAY, SHARE_FORGET_TIME, SHARE_LEAD_MAX, SHORT_JOB_TIME_MAX, THROTTLE_TIME};
use firebox_contract::{DecayingSum, TenantId};

/// The shares of all tenants that had work within `SHARE_FORGET_TIME`.
#[derive(Debug, Default)]
pub(super) struct TenantShares {
    tenants: HashMap<TenantId, TenantShare>,
    /// Sum of the weights of the tenants that had work within `SHARE_DECAY`.
    recent_weights: u64,
}

/// The recent use of one tenant.
#[derive(Debug)]
struct TenantShare {
    /// Device time in seconds that it used, per weight.
    used: DecayingSum,
    /// Time in seconds that it waited for short work of others.
    waited: DecayingSum,
    /// Device time, per weight, that it used in its current burst. A burst begins with the first step of a tenant whose
    /// recent use is within its fair share, and ends when the tenant has no work.
    burst: Option<f64>,
    weight: u32,
    /// When it had work last.
    last_active: Duration,
    /// Since when it is throttled or deferred, if it is.
    throttled_since: Option<Duration>,
}

impl Default for TenantShare {
    fn default() -> Self {
        let sum = DecayingSum::new(SHARE_DECAY);
        let (last_active, throttled_since) = (Duration::ZERO, None);
        Self { used: sum, waited: sum, burst: None, weight: 0, last_active, throttled_since }
    }
}

impl TenantShare {
    fn is_recent(&self, now: Duration) -> bool {
        self.last_active + SHARE_DECAY > now
    }
}

impl TenantShares {
    /// Records which tenants have work at `now`, with their weights, and forgets those that had none for
    /// `SHARE_FORGET_TIME`.
    pub(super) fn update<'a>(&mut self, tenants: impl Iterator<Item = (&'a TenantId, u32)>, now: Duration) {
        for (tenant, weight) in tenants {
            let share = match self.tenants.get_mut(tenant) {
                Some(share) => share,
                None => self.tenants.entry(tenant.clone()).or_default(),
            };
            (share.last_active, share.weight) = (now, weight);
        }
        self.tenants.retain(|_, share| share.last_active + SHARE_FORGET_TIME > now);
        self.tenants.values_mut().filter(|share| share.last_active < now).for_each(|share| share.burst = None);
        let recent = self.tenants.values().filter(|share| share.is_recent(now));
        self.recent_weights = recent.map(|share| u64::from(share.weight.max(1))).sum();
    }

    /// The number of tenants that had work within `SHARE_FORGET_TIME`.
    pub(super) fn count(&self) -> usize {
        self.tenants.len()
    }

    /// Seconds of device time that `tenant` used recently, per weight.
    pub(super) fn recent_use(&self, tenant: &TenantId, now: Duration) -> f64 {
        self.tenants.get(tenant).map_or(0.0, |share| share.used.at(now))
    }

    /// Seconds that `tenant` waited recently for short work of others.
    pub(super) fn recent_wait(&self, tenant: &TenantId, now: Duration) -> f64 {
        self.tenants.get(tenant).map_or(0.0, |share| share.waited.at(now))
    }

    /// Records that `tenant` waited `seconds` for short work of others.
    pub(super) fn add_wait(&mut self, tenant: &TenantId, seconds: f64, now: Duration) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            share.waited.add(seconds, now);
        }
    }

    /// Whether `tenant` had work within `SHARE_DECAY`.
    pub(super) fn is_recent(&self, tenant: &TenantId, now: Duration) -> bool {
        self.tenants.get(tenant).is_some_and(|share| share.is_recent(now))
    }

    /// The fair share: the recent use per weight that each tenant reaches if all recently active tenants, and one more
    /// with weight `added`, want as much as they can get.
    pub(super) fn fair_use(&self, added: Option<u32>) -> f64 {
        let added = added.map_or(0, |weight| u64::from(weight.max(1)));
        SHARE_DECAY.as_secs_f64() / (self.recent_weights + added).max(1) as f64
    }

    /// Whether `tenant` is in a burst of less than `SHORT_JOB_TIME_MAX`. It is not throttled then, because its work may
    /// be short.
    pub(super) fn in_free_burst(&self, tenant: &TenantId) -> bool {
        let burst = self.tenants.get(tenant).and_then(|share| share.burst);
        burst.is_some_and(|used| used < SHORT_JOB_TIME_MAX.as_secs_f64())
    }

    /// Records that `tenant` takes part in a step at `now`.
    pub(super) fn mark_scheduled(&mut self, tenant: &TenantId, now: Duration) {
        // Another tenant with the same weight is assumed; a tenant alone could never exceed its share.
        let fair_use = self.fair_use(self.tenants.get(tenant).map(|share| share.weight));
        if let Some(share) = self.tenants.get_mut(tenant) {
            share.throttled_since = None;
            if share.burst.is_none() && share.used.at(now) <= fair_use {
                share.burst = Some(0.0);
            }
        }
    }

    /// Records that `tenant` is throttled or deferred at `now`. Returns whether that has lasted for `THROTTLE_TIME`, so
    /// that the tenant gets a small part of the steps.
    pub(super) fn is_throttled_long(&mut self, tenant: &TenantId, now: Duration) -> bool {
        let since = self.tenants.get_mut(tenant).map(|share| *share.throttled_since.get_or_insert(now));
        since.is_some_and(|since| now.saturating_sub(since) >= THROTTLE_TIME)
    }

    /// Charges `tenant` for `seconds` of work beside the steps, also before its first step.
    pub(super) fn charge_beside(&mut self, tenant: &TenantId, weight: u32, seconds: f64, now: Duration) {
        if !self.tenants.contains_key(tenant) {
            let share = TenantShare { weight, last_active: now, ..TenantShare::default() };
            self.tenants.insert(tenant.clone(), share);
        }
        self.charge(tenant, weight, seconds, now);
    }

    /// Charges `tenant` for `seconds` of device time.
    pub(super) fn charge(&mut self, tenant: &TenantId, weight: u32, seconds: f64, now: Duration) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            let seconds = seconds / f64::from(weight.max(1));
            share.used.add(seconds, now);
            share.burst = share.burst.map(|used| used + seconds);
        }
    }
}

/// Whether a tenant with `recent_use` is throttled for one with `least_use`: it is more than `SHARE_LEAD_MAX` ahead and
/// over its fair share.
pub(super) fn is_over_share(recent_use: f64, least_use: f64, fair_use: f64) -> bool {
    recent_use > fair_use.max(least_use + SHARE_LEAD_MAX.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn use_decays_and_inactive_tenants_are_forgotten() {
        let [a, b] = ["a", "b"].map(TenantId::new);
        let mut shares = TenantShares::default();
        shares.update([(&a, 1), (&b, 2)].into_iter(), Duration::ZERO);
        shares.charge(&a, 1, 4.0, Duration::ZERO);
        shares.charge(&b, 2, 4.0, Duration::ZERO);
        let recent_ms = |shares: &TenantShares, tenant, at| (shares.recent_use(tenant, at) * 1_000.0).round();
        assert_eq!(recent_ms(&shares, &a, Duration::ZERO), 4_000.0);
        assert_eq!(recent_ms(&shares, &b, Duration::ZERO), 2_000.0, "per weight");
        assert_eq!(recent_ms(&shares, &a, SHARE_DECAY), (4_000.0 / std::f64::consts::E).round());
        shares.charge(&a, 1, 1.0, SHARE_DECAY);
        assert_eq!(recent_ms(&shares, &a, SHARE_DECAY), (4_000.0 / std::f64::consts::E).round() + 1_000.0);
        shares.update([(&a, 1)].into_iter(), SHARE_FORGET_TIME - SECOND);
        assert_eq!(shares.tenants.len(), 2, "still known");
        shares.update([(&a, 1)].into_iter(), SHARE_FORGET_TIME + SECOND);
        assert_eq!(shares.tenants.len(), 1);
        assert_eq!(shares.recent_use(&b, SHARE_FORGET_TIME), 0.0);
    }
}
