//! Whether a peer takes or sends bytes fast enough. Only time in which the host waits for the peer counts against it.

use std::time::Duration;

use tokio::time::Instant;

/// A minimum rate with a budget of time. Each moment of waiting for the peer uses some of the budget, and each byte that
/// moves gives back the time it may take at the minimum rate. So a peer may pause, but not for longer than the budget, and
/// one that moves a few bytes now and then uses the budget up as well.
#[derive(Debug)]
pub struct Pace {
    /// Time the peer may be behind the minimum rate.
    budget: Duration,
    /// Bytes in a second.
    rate: u64,
    /// Time the peer is behind.
    behind: Duration,
    waits_since: Option<Instant>,
}

impl Pace {
    /// For a peer that moves `rate` bytes a second, or is behind that by `budget` at most.
    #[must_use]
    pub fn new(budget: Duration, rate: u64) -> Self {
        Self { budget, rate: rate.max(1), behind: Duration::ZERO, waits_since: None }
    }

    /// The host waits for the peer. The moment at which it has waited too long.
    pub fn waits(&mut self, now: Instant) -> Instant {
        let since = *self.waits_since.get_or_insert(now);
        since + self.budget.saturating_sub(self.behind)
    }

    /// `bytes` moved.
    pub fn moved(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.waits_since.take() {
            self.behind += now.saturating_duration_since(since);
        }
        let micros = (bytes as u64).saturating_mul(1_000_000) / self.rate;
        self.behind = self.behind.saturating_sub(Duration::from_micros(micros));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a peer that moves `bytes` every `every` is given up, if it is within an hour.
    fn given_up_after(bytes: usize, every: Duration) -> Option<u64> {
        let mut pace = Pace::new(Duration::from_secs(20), 1_024);
        let start = Instant::now();
        let mut now = start;
        while now < start + Duration::from_secs(3_600) {
            let deadline = pace.waits(now);
            now += every;
            if deadline <= now {
                return Some((deadline - start).as_secs());
            }
            pace.moved(bytes, now);
        }
        None
    }

    #[test]
    fn a_peer_that_trickles_is_given_up_almost_as_soon_as_one_that_rests() {
        assert_eq!(given_up_after(0, Duration::from_secs(60)), Some(20));
        assert_eq!(given_up_after(1, Duration::from_secs(1)), Some(20));
        assert_eq!(given_up_after(190, Duration::from_secs(1)), Some(24));
        assert_eq!(given_up_after(1, Duration::from_millis(10)), Some(22));
    }

    #[test]
    fn a_slow_peer_and_one_that_pauses_are_kept() {
        assert_eq!(given_up_after(1_024, Duration::from_secs(1)), None);
        assert_eq!(given_up_after(20_000, Duration::from_secs(19)), None);
        assert_eq!(given_up_after(1 << 20, Duration::from_secs(19)), None);
    }

    #[test]
    fn time_without_anything_to_move_does_not_count() {
        let mut pace = Pace::new(Duration::from_secs(20), 1_024);
        let mut now = Instant::now();
        for _ in 0..100 {
            pace.moved(10, now);
            now += Duration::from_secs(60);
        }
        assert_eq!(pace.waits(now), now + Duration::from_secs(20));
    }
}
