//! What each tenant used of the device. Use is forgotten exponentially (decay-usage scheduling, Epema 1998), so that
//! who was modest lately goes first, and who took a lot has its share back in a bounded time.

use std::collections::HashMap;
use std::time::Duration;

use firebox_contract::limits::{SHARE_DECAY, SHARE_FORGET_TIME, SHARE_LEAD_MAX, SHORT_JOB_TIME_MAX, THROTTLE_TIME};
use firebox_contract::{DecayingSum, TenantId};

/// The accounts of all who had something to do lately.
#[derive(Debug, Default)]
pub(super) struct Shares {
    tenants: HashMap<TenantId, Share>,
    /// Of those who had something to do within `SHARE_DECAY`.
    weights: u64,
}

#[derive(Debug)]
struct Share {
    /// What it used of the device, for its weight.
    used: DecayingSum,
    /// How long it waited for short jobs of others.
    waited: DecayingSum,
    /// What it used, for its weight, since it began after it had nothing to do and had been modest; else `None`.
    stint: Option<f64>,
    weight: u32,
    /// When it last had something to do.
    seen: Duration,
    /// Since when it rests, if it does.
    rests: Option<Duration>,
}

impl Default for Share {
    fn default() -> Self {
        let sum = DecayingSum::new(SHARE_DECAY);
        Self { used: sum, waited: sum, stint: None, weight: 0, seen: Duration::ZERO, rests: None }
    }
}

impl Share {
    fn is_recent(&self, now: Duration) -> bool {
        self.seen + SHARE_DECAY > now
    }
}

impl Shares {
    /// Takes in who has something to do at `now` and forgets who had nothing for long.
    pub(super) fn open<'a>(&mut self, tenants: impl Iterator<Item = (&'a TenantId, u32)>, now: Duration) {
        for (tenant, weight) in tenants {
            let share = match self.tenants.get_mut(tenant) {
                Some(share) => share,
                None => self.tenants.entry(tenant.clone()).or_default(),
            };
            (share.seen, share.weight) = (now, weight);
        }
        self.tenants.retain(|_, share| share.seen + SHARE_FORGET_TIME > now);
        self.tenants.values_mut().filter(|share| share.seen < now).for_each(|share| share.stint = None);
        let recent = self.tenants.values().filter(|share| share.is_recent(now));
        self.weights = recent.map(|share| u64::from(share.weight.max(1))).sum();
    }

    /// How many tenants had something to do lately.
    pub(super) fn known(&self) -> usize {
        self.tenants.len()
    }

    /// Seconds of the device that count as used by `tenant`, for its weight.
    pub(super) fn level(&self, tenant: &TenantId, now: Duration) -> f64 {
        self.tenants.get(tenant).map_or(0.0, |share| share.used.at(now))
    }

    /// Seconds for which `tenant` waited lately for short jobs of others.
    pub(super) fn waited(&self, tenant: &TenantId, now: Duration) -> f64 {
        self.tenants.get(tenant).map_or(0.0, |share| share.waited.at(now))
    }

    /// `tenant` waited for such for `seconds`.
    pub(super) fn add_wait(&mut self, tenant: &TenantId, seconds: f64, now: Duration) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            share.waited.add(seconds, now);
        }
    }

    /// Whether `tenant` had something to do within `SHARE_DECAY`.
    pub(super) fn is_recent(&self, tenant: &TenantId, now: Duration) -> bool {
        self.tenants.get(tenant).is_some_and(|share| share.is_recent(now))
    }

    /// What the level of each comes to where all who were there lately, and one more with a weight of `more`, want as much
    /// as they can have.
    pub(super) fn fair(&self, more: Option<u32>) -> f64 {
        let more = more.map_or(0, |weight| u64::from(weight.max(1)));
        SHARE_DECAY.as_secs_f64() / (self.weights + more).max(1) as f64
    }

    /// Whether `tenant` had been modest when it began, and has used little since: it is soon done, and does not rest in the
    /// middle of that.
    pub(super) fn goes_on(&self, tenant: &TenantId) -> bool {
        let stint = self.tenants.get(tenant).and_then(|share| share.stint);
        stint.is_some_and(|used| used < SHORT_JOB_TIME_MAX.as_secs_f64())
    }

    /// `tenant` has a turn at `now`.
    pub(super) fn has_turn(&mut self, tenant: &TenantId, now: Duration) {
        // As if somebody else came: alone nobody has more than its share.
        let fair = self.fair(self.tenants.get(tenant).map(|share| share.weight));
        if let Some(share) = self.tenants.get_mut(tenant) {
            share.rests = None;
            if share.stint.is_none() && share.used.at(now) <= fair {
                share.stint = Some(0.0);
            }
        }
    }

    /// `tenant` rests at `now`. Whether it has done so for long enough to have a little of the turns of others.
    pub(super) fn rests_long(&mut self, tenant: &TenantId, now: Duration) -> bool {
        let since = self.tenants.get_mut(tenant).map(|share| *share.rests.get_or_insert(now));
        since.is_some_and(|since| now.saturating_sub(since) >= THROTTLE_TIME)
    }

    /// Charges `tenant` for `seconds` of the device.
    pub(super) fn charge(&mut self, tenant: &TenantId, weight: u32, seconds: f64, now: Duration) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            let seconds = seconds / f64::from(weight.max(1));
            share.used.add(seconds, now);
            share.stint = share.stint.map(|used| used + seconds);
        }
    }
}

/// Whether one at `level` rests for one at `least`: it is well ahead, and had more than its `fair` share lately.
pub(super) fn is_ahead(level: f64, least: f64, fair: f64) -> bool {
    level > fair.max(least + SHARE_LEAD_MAX.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn use_is_forgotten_and_so_are_those_who_left() {
        let [a, b] = ["a", "b"].map(TenantId::new);
        let mut shares = Shares::default();
        shares.open([(&a, 1), (&b, 2)].into_iter(), Duration::ZERO);
        shares.charge(&a, 1, 4.0, Duration::ZERO);
        shares.charge(&b, 2, 4.0, Duration::ZERO);
        let level = |shares: &Shares, tenant, at| (shares.level(tenant, at) * 1_000.0).round();
        assert_eq!(level(&shares, &a, Duration::ZERO), 4_000.0);
        assert_eq!(level(&shares, &b, Duration::ZERO), 2_000.0, "for its weight");
        assert_eq!(level(&shares, &a, SHARE_DECAY), (4_000.0 / std::f64::consts::E).round());
        shares.charge(&a, 1, 1.0, SHARE_DECAY);
        assert_eq!(level(&shares, &a, SHARE_DECAY), (4_000.0 / std::f64::consts::E).round() + 1_000.0);
        shares.open([(&a, 1)].into_iter(), SHARE_FORGET_TIME - SECOND);
        assert_eq!(shares.tenants.len(), 2, "still known");
        shares.open([(&a, 1)].into_iter(), SHARE_FORGET_TIME + SECOND);
        assert_eq!(shares.tenants.len(), 1);
        assert_eq!(shares.level(&b, SHARE_FORGET_TIME), 0.0);
    }
}
