//! What can be read of a call from outside while it runs, and by it where the call belongs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::limits;
use tokio::sync::Semaphore;

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
    /// Ticks of the clock in the call that runs while it was quick. They count the time that the thread waited for its
    /// core, too.
    ticks: AtomicU32,
    /// Time of the processor that the call had since: microseconds, measured, since the system lets it wait for long.
    slow_us: AtomicU32,
    /// The rank at which it computes.
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
        self.slow_us.store(0, Ordering::Relaxed);
        self.fuel_left.store(fuel, Ordering::Relaxed);
    }

    /// The call goes on at `rank`.
    pub(crate) fn enter(&self, rank: Rank) {
        self.rank.store(rank as u8, Ordering::Relaxed);
    }

    /// Ticks for which the clock goes on after the call had a turn.
    pub(crate) fn linger(&self) -> u32 {
        // Quick calls follow one another, and waking the clock would cost each of them. The others wait for their turns.
        if self.rank.load(Ordering::Relaxed) == Rank::Quick as u8 { limits::EPOCH_IDLE_TICKS } else { 0 }
    }

    /// The clock ticked while the guest computed, or waited to.
    pub(crate) fn tick(&self, now: Instant) {
        if self.rank.load(Ordering::Relaxed) != Rank::Quick as u8 {
            return;
        }
        self.ticks.fetch_add(1, Ordering::Relaxed);
        if let Some(account) = &self.account {
            account.charge_quick(limits::EPOCH_TICK, now);
        }
    }

    /// At low priority it had the processor for `time`. What nobody else wanted costs nothing.
    pub(crate) fn had(&self, time: Duration, now: Instant) {
        let us = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let slow = self.slow_us.load(Ordering::Relaxed).saturating_add(us);
        self.slow_us.store(slow, Ordering::Relaxed);
        let Some(account) = &self.account else { return };
        if self.rank.load(Ordering::Relaxed) != Rank::Idle as u8 {
            account.charge(time, now);
        }
        if !is_short(slow) {
            account.note_long(now);
        }
    }

    /// What is left of its owner's share at `now`: all of it is 1, none is 0.
    pub(crate) fn left(&self, now: Instant) -> f64 {
        self.account.as_ref().map_or(1.0, |account| account.left(now))
    }

    /// Whether its owner's calls were long lately.
    pub(crate) fn was_long(&self, now: Instant) -> bool {
        self.account.as_ref().is_some_and(|account| account.was_long(now))
    }

    /// Whether it had a turn at low priority.
    pub(crate) fn was_slow(&self) -> bool {
        self.slow_us.load(Ordering::Relaxed) > 0
    }

    /// Where the calls of its owner at `rank` wait for each other, if it has one.
    pub(crate) fn queue(&self, rank: Rank) -> Option<&Semaphore> {
        self.account.as_ref().map(|account| account.queue(rank < Rank::Idle))
    }

    /// The least rank at which the call may go on at `now`.
    pub(crate) fn rank(&self, now: Instant) -> Rank {
        let (left, long) = (self.left(now), self.was_long(now));
        if !self.was_slow() && self.is_quick(left, long, now) {
            return Rank::Quick;
        }
        // Below, the system may let a call wait for as long as others compute. Whose calls are all short never comes there.
        let kept = if long { !self.was_slow() } else { is_short(self.slow_us.load(Ordering::Relaxed)) };
        if left > 0.0 || kept { Rank::Slow } else { Rank::Idle }
    }

    /// Whether it may compute where others wait for it. Each call has one tick, so that quick calls are quick for everybody,
    /// and more of it what its owner's calls have together. Where calls were long, the next may be, and has nothing.
    fn is_quick(&self, left: f64, long: bool, now: Instant) -> bool {
        let ticks = self.ticks.load(Ordering::Relaxed);
        let had = || match &self.account {
            Some(account) => account.quick(now),
            None => limits::EPOCH_TICK.saturating_mul(ticks),
        };
        !long && (ticks == 0 || had() < limits::PLUGIN_QUICK_TIME.mul_f64(left))
    }

    /// It was stopped before its end. At low priority it may not have had the turns that would have shown how long it is.
    pub(crate) fn note_stopped(&self, now: Instant) {
        if let Some(account) = self.account.as_ref().filter(|_| self.rank.load(Ordering::Relaxed) != Rank::Quick as u8)
        {
            account.note_long(now);
        }
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
    pub(crate) fn after(self, computed: Duration, now: Instant) -> Arc<Self> {
        let quick = computed.min(limits::PLUGIN_QUICK_TIME);
        (0..quick.as_millis() / limits::EPOCH_TICK.as_millis()).for_each(|_| self.tick(now));
        if computed > quick {
            self.enter(Rank::Slow);
            self.had(computed - quick, now);
        }
        Arc::new(self)
    }
}

/// Whether a call that had so many microseconds at low priority is short for one that came there.
fn is_short(slow_us: u32) -> bool {
    Duration::from_micros(slow_us.into()) < limits::PLUGIN_QUICK_TIME
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
        assert_eq!(Gauge::default().linger(), limits::EPOCH_IDLE_TICKS, "the next quick call is soon");
        assert_eq!(Gauge::default().after(Duration::from_secs(10), now).linger(), 0);
    }

    #[test]
    fn who_used_its_share_on_long_calls_has_what_nobody_wants() {
        let now = Instant::now();
        let account = Arc::new(Account::default());
        let fresh = || Gauge::of(Some(Arc::clone(&account)));
        assert_eq!(fresh().rank(now), Rank::Quick);
        assert_eq!(fresh().after(Duration::from_secs(10), now).rank(now), Rank::Idle);
        let next = fresh();
        assert_eq!(next.rank(now), Rank::Slow, "the next call may be as long, and still has a turn");
        next.enter(Rank::Slow);
        next.had(limits::EPOCH_TICK, now);
        assert_eq!(next.rank(now), Rank::Idle);
        let soon = now + Duration::from_secs(60);
        assert_eq!(
            next.rank(soon),
            Rank::Slow,
            "it has a share again, though the call waits where nobody let it compute"
        );
        let later = now + limits::PLUGIN_SHARE_MEMORY.saturating_mul(10);
        assert_eq!(fresh().rank(later), Rank::Quick, "it is forgotten");
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
    fn calls_of_one_owner_at_the_same_time_have_the_quick_time_of_one_together() {
        let now = Instant::now();
        let account = Arc::new(Account::default());
        let fresh = || Gauge::of(Some(Arc::clone(&account)));
        let calls: Vec<_> = (0..16).map(|_| fresh()).collect();
        calls.iter().for_each(|call| call.tick(now));
        assert!(calls.iter().all(|call| call.rank(now) == Rank::Slow));
        assert_eq!(fresh().rank(now), Rank::Quick, "each has one tick");
        let soon = now + limits::PLUGIN_QUICK_MEMORY;
        let next = fresh();
        next.tick(soon);
        assert_eq!(next.rank(soon), Rank::Quick, "they came long ago");
    }

    #[test]
    fn short_calls_never_wait_for_an_idle_processor() {
        let now = Instant::now();
        let account = Arc::new(Account::default());
        account.charge(Duration::from_secs(10), now);
        let call = Gauge::of(Some(Arc::clone(&account)));
        call.tick(now);
        assert_eq!(call.rank(now), Rank::Slow, "a tick, and it stays above");
        call.enter(Rank::Slow);
        call.had(limits::PLUGIN_QUICK_TIME - limits::EPOCH_TICK, now);
        assert_eq!(call.rank(now), Rank::Slow);
        // However long it waits for its core.
        (0..1_000).for_each(|_| call.tick(now));
        assert_eq!(call.rank(now), Rank::Slow);
        assert!(!account.was_long(now));
        call.had(limits::EPOCH_TICK, now);
        assert_eq!(call.rank(now), Rank::Idle, "it was not short");
    }

    #[test]
    fn a_call_that_is_stopped_at_low_priority_was_long() {
        let now = Instant::now();
        let account = Arc::new(Account::default());
        let gauge = Gauge::of(Some(Arc::clone(&account)));
        gauge.note_stopped(now);
        assert!(!account.was_long(now), "it may have waited for somebody");
        gauge.enter(Rank::Slow);
        gauge.note_stopped(now);
        assert!(account.was_long(now));
        Gauge::default().note_stopped(now);
    }

    #[test]
    fn what_nobody_wanted_is_not_charged() {
        let now = Instant::now();
        let account = Arc::new(Account::default());
        let gauge = Gauge::of(Some(Arc::clone(&account)));
        gauge.enter(Rank::Idle);
        gauge.had(limits::EPOCH_TICK, now);
        assert_eq!(account.left(now), 1.0);
        gauge.enter(Rank::Slow);
        gauge.had(limits::EPOCH_TICK, now);
        assert!(account.left(now) < 1.0);
    }
}
