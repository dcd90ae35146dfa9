//! What the guests of one owner, such as a tenant, lately had of the processor. Use is forgotten exponentially, as the
//! engine does it for models. Who is beyond its share goes on only where the processor is idle.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::limits;
use firebox_cpu::cores;
use tokio::sync::Semaphore;

use crate::lane::workers;

/// The account of one owner, shared by all its chains.
///
/// Without a lock: one of its threads may wait for its turn for as long as others want the processor, and what it holds
/// meanwhile nobody may have to wait for.
#[derive(Debug)]
pub struct Account {
    /// Tells it from every other account of this process.
    id: u64,
    begun: Instant,
    /// What counts against the share.
    used: Level,
    /// What quick calls had a moment ago.
    quick: Level,
    /// Where calls at low priority wait for each other while models want every core, and those below.
    queues: [Semaphore; 2],
    /// When a call last computed for long: milliseconds after the account began, and one; 0 if none did.
    long: AtomicU32,
    share: Duration,
}

/// The id of the next account.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What was used, forgotten to 1/e in `memory`.
#[derive(Debug)]
struct Level {
    /// A [`Used`], packed.
    used: AtomicU64,
    memory: Duration,
}

/// What was used, as of a moment.
#[derive(Debug, Clone, Copy)]
struct Used {
    microseconds: u32,
    /// Milliseconds after the account began; they begin anew every seven weeks.
    at: u32,
}

impl Default for Account {
    fn default() -> Self {
        let rate = limits::PLUGIN_SHARE_RATE.saturating_mul(u32::try_from(cores::count()).unwrap_or(u32::MAX));
        // Who uses that much all the time stays at this level.
        let share = rate.mul_f64(limits::PLUGIN_SHARE_MEMORY.as_secs_f64());
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            begun: Instant::now(),
            used: Level::of(limits::PLUGIN_SHARE_MEMORY),
            quick: Level::of(limits::PLUGIN_QUICK_MEMORY),
            // A turn at a time on each thread of low priority is the share; below, one that looks is enough.
            queues: [Semaphore::new(workers()), Semaphore::new(1)],
            long: AtomicU32::new(0),
            share,
        }
    }
}

impl Level {
    fn of(memory: Duration) -> Self {
        Self { used: AtomicU64::new(0), memory }
    }

    /// Adds `time`, used until `at`.
    fn add(&self, time: Duration, at: u32) {
        let added = |packed| {
            let seconds = Used::unpack(packed).level(at, self.memory) + time.as_secs_f64();
            // What is beyond the number counts as the most.
            Some(Used { microseconds: (seconds * 1e6).round() as u32, at }.pack())
        };
        // The closure never refuses.
        let _before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
    }

    /// Seconds that count at `now`.
    fn at(&self, now: u32) -> f64 {
        Used::unpack(self.used.load(Ordering::Relaxed)).level(now, self.memory)
    }
}

impl Used {
    fn unpack(packed: u64) -> Self {
        Self { microseconds: packed as u32, at: (packed >> u32::BITS) as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.at) << u32::BITS | u64::from(self.microseconds)
    }

    /// What counts of it at `now`. Another thread may have charged for a moment later than that.
    fn level(self, now: u32, memory: Duration) -> f64 {
        let past = f64::from(now.wrapping_sub(self.at).cast_signed().max(0)) / 1e3;
        f64::from(self.microseconds) / 1e6 * (-past / memory.as_secs_f64()).exp()
    }
}

impl Account {
    /// Whose instances they are in the pool.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Guests computed for `time` until `now`.
    pub(crate) fn charge(&self, time: Duration, now: Instant) {
        self.used.add(time, self.milliseconds(now));
    }

    /// As `charge`, in quick calls.
    pub(crate) fn charge_quick(&self, time: Duration, now: Instant) {
        self.charge(time, now);
        self.quick.add(time, self.milliseconds(now));
    }

    /// What is left of the share at `now`: all of it is 1, none is 0.
    pub(crate) fn left(&self, now: Instant) -> f64 {
        (1.0 - self.used.at(self.milliseconds(now)) / self.share.as_secs_f64()).clamp(0.0, 1.0)
    }

    /// What its quick calls together had a moment before `now`.
    pub(crate) fn quick(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.quick.at(self.milliseconds(now)))
    }

    /// Where its calls wait for each other: those that have a share, and the others.
    pub(crate) fn queue(&self, has_share: bool) -> &Semaphore {
        &self.queues[usize::from(!has_share)]
    }

    /// A call has computed for longer than a quick one does.
    pub(crate) fn note_long(&self, now: Instant) {
        self.long.store(self.milliseconds(now).wrapping_add(1).max(1), Ordering::Relaxed);
    }

    /// Whether one did lately.
    pub(crate) fn was_long(&self, now: Instant) -> bool {
        let long = self.long.load(Ordering::Relaxed);
        let past = self.milliseconds(now).wrapping_add(1).wrapping_sub(long).cast_signed();
        long > 0 && u128::from(past.max(0).cast_unsigned()) < limits::PLUGIN_SHARE_MEMORY.as_millis()
    }

    #[cfg(test)]
    pub(crate) fn share(&self) -> Duration {
        self.share
    }

    fn milliseconds(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.begun).as_millis() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_used_up_and_comes_back() {
        let account = Account { share: Duration::from_millis(100), ..Account::default() };
        let begun = account.begun;
        assert_eq!(account.left(begun), 1.0);
        account.charge(Duration::from_millis(50), begun);
        assert!((account.left(begun) - 0.5).abs() < 1e-9);
        account.charge(Duration::from_millis(500), begun);
        assert_eq!(account.left(begun), 0.0, "never below");
        let later = begun + limits::PLUGIN_SHARE_MEMORY.mul_f64(2.0);
        let left = 1.0 - 5.5 * (-2.0_f64).exp();
        assert!((account.left(later) - left).abs() < 1e-3, "{} {left}", account.left(later));
    }

    #[test]
    fn moments_out_of_order_and_long_ones_do_no_harm() {
        let account = Account { share: Duration::from_secs(1), ..Account::default() };
        let later = account.begun + Duration::from_secs(1);
        account.charge(Duration::from_millis(500), later);
        let earlier = account.left(account.begun);
        assert!((earlier - 0.5).abs() < 1e-9, "nothing is forgotten backwards: {earlier}");
        for weeks in [1, 6, 8] {
            let now = account.begun + Duration::from_secs(weeks * 7 * 86_400);
            account.charge(Duration::from_millis(500), now);
            assert!((0.0..=0.5).contains(&account.left(now)), "{weeks}: {}", account.left(now));
            let soon = now + limits::PLUGIN_SHARE_MEMORY.saturating_mul(5);
            assert!(account.left(soon) > 0.99, "{weeks}: {}", account.left(soon));
        }
        account.charge(Duration::MAX, later + Duration::from_secs(9 * 7 * 86_400));
        assert_eq!(account.left(later + Duration::from_secs(9 * 7 * 86_400)), 0.0);
    }

    #[test]
    fn a_long_call_is_remembered_for_a_while() {
        let account = Account::default();
        let begun = account.begun;
        assert!(!account.was_long(begun));
        account.note_long(begun);
        assert!(account.was_long(begun) && account.was_long(begun + Duration::from_secs(9)));
        let later = begun + limits::PLUGIN_SHARE_MEMORY;
        assert!(!account.was_long(later));
        account.note_long(later);
        assert!(account.was_long(later) && account.was_long(begun), "for a thread that is late, too");
    }

    #[test]
    fn what_threads_charge_at_the_same_time_is_all_counted() {
        let account = Account { share: Duration::from_secs(100), ..Account::default() };
        let now = account.begun;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| account.charge(Duration::from_millis(1), now)));
            }
        });
        assert!((account.left(now) - 0.96).abs() < 1e-9, "{}", account.left(now));
    }
}
