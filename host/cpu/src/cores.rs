//! How many cores models compute on. Thread priorities alone do not protect a model: a low-priority thread keeps a core until
//! its time slice ends, which takes milliseconds, and a matrix product on all cores waits for the slowest one.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::limits::CORES_BUSY_HOLD;

/// The cores of this process.
static CORES: LazyLock<Cores> = LazyLock::new(Cores::default);

#[derive(Debug)]
struct Cores {
    start: Instant,
    /// Model threads that compute now.
    computing: AtomicUsize,
    /// Threads of the step that ended last.
    last_threads: AtomicUsize,
    /// When that step ended, in nanoseconds after `start`.
    last_end: AtomicU64,
}

impl Default for Cores {
    fn default() -> Self {
        let zero = AtomicUsize::default;
        Self { start: Instant::now(), computing: zero(), last_threads: zero(), last_end: AtomicU64::default() }
    }
}

impl Cores {
    fn compute(&self, threads: usize) -> ComputeGuard<'_> {
        self.computing.fetch_add(threads, Ordering::Relaxed);
        ComputeGuard { cores: self, threads }
    }

    /// Cores that count as busy at `now`: those of running steps, or else those of a step that ended within
    /// `CORES_BUSY_HOLD`.
    fn busy(&self, now: Instant) -> usize {
        let computing = self.computing.load(Ordering::Relaxed);
        if computing > 0 {
            return computing;
        }
        let last_end = Duration::from_nanos(self.last_end.load(Ordering::Relaxed));
        let is_held = now.saturating_duration_since(self.start).saturating_sub(last_end) < CORES_BUSY_HOLD;
        if is_held { self.last_threads.load(Ordering::Relaxed) } else { 0 }
    }
}

/// Counts threads of a model as computing until it is dropped.
#[derive(Debug)]
pub struct ComputeGuard<'a> {
    cores: &'a Cores,
    threads: usize,
}

impl Drop for ComputeGuard<'_> {
    fn drop(&mut self) {
        self.cores.last_threads.store(self.threads, Ordering::Relaxed);
        let end = self.cores.start.elapsed().as_nanos();
        self.cores.last_end.store(end.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.cores.computing.fetch_sub(self.threads, Ordering::Relaxed);
    }
}

/// Cores that this process may use, at least 1.
pub fn count() -> usize {
    // Asking the system is slow.
    static COUNT: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    *COUNT
}

/// Counts `threads` threads of a model as computing until the result is dropped.
#[must_use]
pub fn compute(threads: usize) -> ComputeGuard<'static> {
    CORES.compute(threads)
}

/// Whether models leave fewer than `threads` cores free. Their cores count as busy for `CORES_BUSY_HOLD` after a step,
/// because most steps are followed by the next.
pub fn all_busy(threads: usize) -> bool {
    let busy = CORES.busy(Instant::now());
    busy > 0 && busy.saturating_add(threads) > count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_busy_while_a_guard_lives_and_for_the_hold_time_after_it() {
        let cores = Cores::default();
        assert_eq!(cores.busy(Instant::now()), 0);
        let first = cores.compute(3);
        let second = cores.compute(2);
        assert_eq!(cores.busy(Instant::now()), 5);
        drop(first);
        assert_eq!(cores.busy(Instant::now()), 2);
        drop(second);
        let end = Instant::now();
        assert!([0, 2].contains(&cores.busy(end)), "this thread may have waited for a core");
        assert_eq!(cores.busy(cores.start), 2, "for a thread that read the clock earlier");
        assert_eq!(cores.busy(end + CORES_BUSY_HOLD), 0);
    }

    #[test]
    fn no_core_is_busy_when_no_model_computes() {
        assert!(!all_busy(usize::MAX));
    }
}
