//! What each tenant used of the device. Use is forgotten exponentially (decay-usage scheduling, Epema 1998), so that
//! who was modest lately goes first, and who took a lot has its share back in a bounded time.

use std::collections::HashMap;
use std::time::Duration;

use firebox_contract::TenantId;
use firebox_contract::limits::{SHARE_KEPT_TIME, SHARE_MEMORY, SHARE_REST_TIME, SHARE_SLACK};

/// The accounts of all who had something to do lately.
#[derive(Debug, Default)]
pub(super) struct Shares {
    tenants: HashMap<TenantId, Share>,
}

#[derive(Debug)]
struct Share {
    /// Seconds of the device, for its weight, as of `at`.
    used: f64,
    at: Duration,
    /// When it last had something to do.
    seen: Duration,
    /// Since when it rests, if it does.
    rests: Option<Duration>,
}

impl Share {
    /// What counts of its use at `now`.
    fn level(&self, now: Duration) -> f64 {
        let past = now.saturating_sub(self.at).as_secs_f64();
        self.used * (-past / SHARE_MEMORY.as_secs_f64()).exp()
    }
}

impl Shares {
    /// Takes in who has something to do at `now` and forgets who had nothing for long.
    pub(super) fn open<'a>(&mut self, tenants: impl Iterator<Item = &'a TenantId>, now: Duration) {
        for tenant in tenants {
            match self.tenants.get_mut(tenant) {
                Some(share) => share.seen = now,
                None => drop(self.tenants.insert(tenant.clone(), Share { used: 0.0, at: now, seen: now, rests: None })),
            }
        }
        self.tenants.retain(|_, share| share.seen + SHARE_KEPT_TIME > now);
    }

    /// How many tenants had something to do lately.
    pub(super) fn known(&self) -> usize {
        self.tenants.len()
    }

    /// Seconds of the device that count as used by `tenant`, for its weight.
    pub(super) fn level(&self, tenant: &TenantId, now: Duration) -> f64 {
        self.tenants.get(tenant).map_or(0.0, |share| share.level(now))
    }

    /// `tenant` has a turn.
    pub(super) fn has_turn(&mut self, tenant: &TenantId) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            share.rests = None;
        }
    }

    /// `tenant` rests at `now`. Whether it has done so for long enough to have a little of the turns of others.
    pub(super) fn rests_long(&mut self, tenant: &TenantId, now: Duration) -> bool {
        let since = self.tenants.get_mut(tenant).map(|share| *share.rests.get_or_insert(now));
        since.is_some_and(|since| now.saturating_sub(since) >= SHARE_REST_TIME)
    }

    /// Charges `tenant` for `seconds` of the device.
    pub(super) fn charge(&mut self, tenant: &TenantId, weight: u32, seconds: f64, now: Duration) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            share.used = share.level(now) + seconds / f64::from(weight.max(1));
            (share.at, share.seen) = (now, now);
        }
    }
}

/// Whether one at `level` is so far ahead of the one with least that it rests.
pub(super) fn is_ahead(level: f64, least: f64) -> bool {
    level > least + SHARE_SLACK.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn use_is_forgotten_and_so_are_those_who_left() {
        let [a, b] = ["a", "b"].map(TenantId::new);
        let mut shares = Shares::default();
        shares.open([&a, &b].into_iter(), Duration::ZERO);
        shares.charge(&a, 1, 4.0, Duration::ZERO);
        shares.charge(&b, 2, 4.0, Duration::ZERO);
        let level = |shares: &Shares, tenant, at| (shares.level(tenant, at) * 1_000.0).round();
        assert_eq!(level(&shares, &a, Duration::ZERO), 4_000.0);
        assert_eq!(level(&shares, &b, Duration::ZERO), 2_000.0, "for its weight");
        assert_eq!(level(&shares, &a, SHARE_MEMORY), (4_000.0 / std::f64::consts::E).round());
        shares.charge(&a, 1, 1.0, SHARE_MEMORY);
        assert_eq!(level(&shares, &a, SHARE_MEMORY), (4_000.0 / std::f64::consts::E).round() + 1_000.0);
        shares.open([&a].into_iter(), SHARE_KEPT_TIME - SECOND);
        assert_eq!(shares.tenants.len(), 2, "still known");
        shares.open([&a].into_iter(), SHARE_KEPT_TIME + SECOND);
        assert_eq!(shares.tenants.len(), 1);
        assert_eq!(shares.level(&b, SHARE_KEPT_TIME), 0.0);
    }
}
