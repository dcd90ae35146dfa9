//! The CPU budget of one tenant's plugins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use firebox_contract::{DecayingSum, limits};
use firebox_cpu::cores;
use tokio::sync::Semaphore;

use super::threads;

/// What one tenant's plugins may use of the CPU: `PLUGIN_CPU_BUDGET_RATE` for each core, in each second. All plugin chains
/// of the tenant share it. Use decays over `PLUGIN_CPU_BUDGET_DECAY`, so a tenant that was idle may use that much at once.
#[derive(Debug)]
pub struct CpuBudget {
    /// Distinguishes it from every other budget of this process.
    id: u64,
    start: Instant,
    /// Seconds of a core that were used. A low-priority thread may be interrupted while it holds the lock; then calls of the
    /// same tenant wait, and no others.
    used: Mutex<DecayingSum>,
    /// Slices at low priority that the tenant has at a time.
    slots: Semaphore,
}

/// The id of the next budget.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Default for CpuBudget {
    fn default() -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            start: Instant::now(),
            used: Mutex::new(DecayingSum::new(limits::PLUGIN_CPU_BUDGET_DECAY)),
            slots: Semaphore::new(threads()),
        }
    }
}

impl CpuBudget {
    /// The tenant's id in the instance pool.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Plugins of the tenant computed for `time`.
    pub(crate) fn charge(&self, time: Duration) {
        let now = self.start.elapsed();
        self.used().add(time.as_secs_f64(), now);
    }

    /// Whether the tenant used as much as it may.
    pub(crate) fn is_used_up(&self) -> bool {
        let rate = limits::PLUGIN_CPU_BUDGET_RATE.as_secs_f64() * cores::count() as f64;
        self.used().at(self.start.elapsed()) >= rate * limits::PLUGIN_CPU_BUDGET_DECAY.as_secs_f64()
    }

    /// Where the tenant's calls wait for a slice, in the order in which they came.
    pub(crate) fn slots(&self) -> &Semaphore {
        &self.slots
    }

    fn used(&self) -> MutexGuard<'_, DecayingSum> {
        // Nothing that runs under the lock panics.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_and_comes_back() {
        let whole = limits::PLUGIN_CPU_BUDGET_RATE.as_secs_f64() * 10.0 * cores::count() as f64;
        let mut budget = CpuBudget::default();
        budget.charge(Duration::from_secs_f64(whole * 0.9));
        assert!(!budget.is_used_up());
        budget.charge(Duration::from_secs_f64(whole * 0.9));
        assert!(budget.is_used_up());
        // As if the 1.8 budgets had been used ten seconds earlier: 0.66 of them count.
        budget.start -= limits::PLUGIN_CPU_BUDGET_DECAY;
        assert!(!budget.is_used_up());
    }

    #[test]
    fn the_charges_of_threads_at_the_same_time_all_count() {
        let budget = CpuBudget::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| budget.charge(Duration::from_millis(1))));
            }
        });
        let used = budget.used().at(Duration::ZERO);
        assert!((used - 4.0).abs() < 0.5, "{used}");
    }
}
