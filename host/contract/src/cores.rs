//! Who computes on the cores of this process, and for whom others hold back. The system's priorities alone do not keep two
//! from each other: a thread that has had its turn keeps its core for up to milliseconds, and a model that computes on every
//! core stands still while one of them is gone.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::limits::CORES_BUSY_HOLD;

/// Those of this process: there is one set of them.
static CORES: LazyLock<Cores> = LazyLock::new(Cores::default);

#[derive(Debug)]
struct Cores {
    begun: Instant,
    /// Threads of models that compute.
    claimed: AtomicUsize,
    /// Those of the claim that ended last.
    last: AtomicUsize,
    /// Nanoseconds from `begun` to when it ended.
    ended: AtomicU64,
}

impl Default for Cores {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            claimed: AtomicUsize::new(0),
            last: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
        }
    }
}

impl Cores {
    fn claim(&self, threads: usize) -> Claim<'_> {
        self.claimed.fetch_add(threads, Ordering::Relaxed);
        Claim { cores: self, threads }
    }

    /// Cores that models compute on at `now`, or did until a moment ago.
    fn wanted(&self, now: Instant) -> usize {
        let claimed = self.claimed.load(Ordering::Relaxed);
        if claimed > 0 {
            return claimed;
        }
        let ended = Duration::from_nanos(self.ended.load(Ordering::Relaxed));
        let lingers = now.saturating_duration_since(self.begun).saturating_sub(ended) < CORES_BUSY_HOLD;
        if lingers { self.last.load(Ordering::Relaxed) } else { 0 }
    }
}

/// Threads that compute for somebody who waits. Dropping it says that they are done.
#[derive(Debug)]
pub struct Claim<'a> {
    cores: &'a Cores,
    threads: usize,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.cores.last.store(self.threads, Ordering::Relaxed);
        let ended = self.cores.begun.elapsed().as_nanos();
        self.cores.ended.store(ended.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.cores.claimed.fetch_sub(self.threads, Ordering::Relaxed);
    }
}

/// How many this process may use.
pub fn count() -> usize {
    // Asking the system is slow.
    static COUNT: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    *COUNT
}

/// A model computes on so many threads from now on.
#[must_use]
pub fn claim(threads: usize) -> Claim<'static> {
    CORES.claim(threads)
}

/// Whether models leave fewer than `threads` of the cores free at `now`. They count as computing for a moment after each
/// pass, since most are followed by the next.
pub fn are_wanted(threads: usize, now: Instant) -> bool {
    let wanted = CORES.wanted(now);
    wanted > 0 && wanted.saturating_add(threads) > count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_wanted_during_a_claim_and_for_a_moment_after_it() {
        let cores = Cores::default();
        assert_eq!(cores.wanted(Instant::now()), 0);
        let first = cores.claim(3);
        let second = cores.claim(2);
        assert_eq!(cores.wanted(Instant::now()), 5);
        drop(first);
        assert_eq!(cores.wanted(Instant::now()), 2);
        drop(second);
        let ended = Instant::now();
        assert!([0, 2].contains(&cores.wanted(ended)), "this thread may have waited for its core");
        assert_eq!(cores.wanted(cores.begun), 2, "for who looked at the clock before");
        assert_eq!(cores.wanted(ended + CORES_BUSY_HOLD), 0);
    }

    #[test]
    fn a_core_that_nobody_claims_is_not_wanted() {
        assert!(!are_wanted(usize::MAX, Instant::now()));
    }
}
