//! What can be read of a call from outside while it runs, and by it where the call belongs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::limits;

use crate::account::Account;

/// Where a call computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Rank {
    /// Where it began, at the caller's own priority.
    Quick,
    /// On threads of low priority.
    Slow,
    /// On threads that run when nobody else wants the processor.
    Idle,
}

/// One for all calls of an instance, which never overlap.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Whose the guest is, if anybody has to share the processor with it.
    account: Option<Arc<Account>>,
    /// Ticks of the clock for which the guest computed in the call that runs.
    ticks: AtomicU32,
    /// The rank at which it does.
    rank: AtomicU8,
    fuel_left: AtomicU64,
    memory_peak_bytes: AtomicU64,
}

impl Gauge {
    /// For guests on `account`.
    pub(crate) fn of(account: Option<Arc<Account>>) -> Self {
        Self { account, ..Self::default() }
    }

    /// A call begins with so much fuel.
    pub(crate) fn rearm(&self, fuel: u64) {
        self.ticks.store(0, Ordering::Relaxed);
        self.fuel_left.store(fuel, Ordering::Relaxed);
    }

    /// The call goes on at `rank`.
    pub(crate) fn enter(&self, rank: Rank) {
        self.rank.store(rank as u8, Ordering::Relaxed);
    }

    /// The guest computed for one more tick. What nobody else wanted costs nothing.
    pub(crate) fn tick(&self, now: Instant) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
        let Some(account) = &self.account else { return };
        if self.rank.load(Ordering::Relaxed) != Rank::Idle as u8 {
            account.charge(limits::EPOCH_TICK, now);
        }
        if self.computed() >= limits::PLUGIN_QUICK_TIME {
            account.note_long(now);
        }
    }

    /// The least rank at which the call may go on at `now`.
    pub(crate) fn rank(&self, now: Instant) -> Rank {
        let computed = self.computed();
        let account = self.account.as_ref();
        let left = account.map_or(1.0, |account| account.left(now));
        // Where calls were long, the next may be, and what it computes here others wait for. Else each call has one tick,
        // so that quick calls are quick for everybody.
        let quick = match account.is_some_and(|account| account.was_long(now)) {
            true => Duration::ZERO,
            false => limits::PLUGIN_QUICK_TIME.mul_f64(left).max(limits::EPOCH_TICK),
        };
        match (computed < quick, left > 0.0 || computed < limits::EPOCH_TICK) {
            (true, _) => Rank::Quick,
            (false, true) => Rank::Slow,
            (false, false) => Rank::Idle,
        }
    }

    fn computed(&self) -> Duration {
        limits::EPOCH_TICK.saturating_mul(self.ticks.load(Ordering::Relaxed))
    }

    /// What it has left and had, as far as the engine knows.
    pub(crate) fn note(&self, fuel_left: u64, memory_peak_bytes: u64) {
        self.fuel_left.store(fuel_left, Ordering::Relaxed);
        self.memory_peak_bytes.store(memory_peak_bytes, Ordering::Relaxed);
    }

    pub(crate) fn fuel_left(&self) -> u64 {
        self.fuel_left.load(Ordering::Relaxed)
    }

    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak_bytes.load(Ordering::Relaxed)
    }

    /// As after this long in one call.
    #[cfg(test)]
    pub(crate) fn after(self, computed: std::time::Duration, now: Instant) -> Arc<Self> {
        (0..computed.as_millis() / limits::EPOCH_TICK.as_millis()).for_each(|_| self.tick(now));
        Arc::new(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_has_its_quick_time_and_then_low_priority() {
        let now = Instant::now();
        let rank = |computed| Gauge::default().after(computed, now).rank(now);
        assert_eq!(rank(Duration::ZERO), Rank::Quick);
        assert_eq!(rank(limits::PLUGIN_QUICK_TIME - limits::EPOCH_TICK), Rank::Quick);
        assert_eq!(rank(limits::PLUGIN_QUICK_TIME), Rank::Slow);
        assert_eq!(rank(Duration::from_secs(10)), Rank::Slow);
    }

    #[test]
    fn who_used_its_share_has_a_tick_and_then_what_nobody_wants() {
        let now = Instant::now();
        let account = Arc::new(Account::default());
        let fresh = || Gauge::of(Some(Arc::clone(&account)));
        assert_eq!(fresh().rank(now), Rank::Quick);
        assert_eq!(fresh().after(Duration::from_secs(10), now).rank(now), Rank::Idle);
        let next = fresh();
        assert_eq!(next.rank(now), Rank::Slow, "the next call may be as long, and still has a tick");
        next.tick(now);
        assert_eq!(next.rank(now), Rank::Idle);
        let later = now + limits::PLUGIN_SHARE_MEMORY.saturating_mul(10);
        assert_eq!(next.rank(later), Rank::Quick, "it is forgotten");
    }

    #[test]
    fn many_quick_calls_use_the_share_up_and_stay_quick() {
        let now = Instant::now();
        let account = Arc::new(Account::default());
        let fresh = || Gauge::of(Some(Arc::clone(&account)));
        (0..1_000).for_each(|_| fresh().tick(now));
        assert_eq!(account.left(now), 0.0);
        assert_eq!(fresh().rank(now), Rank::Quick);
    }

    #[test]
    fn what_nobody_wanted_is_not_charged() {
        let now = Instant::now();
        let account = Arc::new(Account::default());
        let gauge = Gauge::of(Some(Arc::clone(&account)));
        gauge.enter(Rank::Idle);
        gauge.tick(now);
        assert_eq!(account.left(now), 1.0);
        gauge.enter(Rank::Slow);
        gauge.tick(now);
        assert!(account.left(now) < 1.0);
    }
}
