//! A minimum rate at which a peer must send or receive bytes. Only the time in which the server waits for the peer counts.

use std::time::Duration;

use tokio::time::Instant;

/// A minimum rate with a budget of time. Waiting for the peer uses up the budget, and each byte gives back the time that it
/// takes at the minimum rate. So a peer may pause for at most the budget, and a peer that trickles bytes uses up the budget
/// too.
#[derive(Debug)]
pub struct MinThroughput {
    /// The maximum time by which the peer may be behind the minimum rate.
    budget: Duration,
    /// The minimum rate in bytes per second.
    rate: u64,
    /// The time by which the peer is behind.
    behind: Duration,
    waiting_since: Option<Instant>,
}

impl MinThroughput {
    /// For a peer that must move `rate` bytes per second and may be behind by at most `budget`.
    #[must_use]
    pub fn new(budget: Duration, rate: u64) -> Self {
        Self { budget, rate: rate.max(1), behind: Duration::ZERO, waiting_since: None }
    }

    /// The server waits for the peer. Returns the moment at which the peer is too slow.
    pub fn deadline(&mut self, now: Instant) -> Instant {
        let since = *self.waiting_since.get_or_insert(now);
        since + self.budget.saturating_sub(self.behind)
    }

    /// The peer moved `bytes` bytes.
    pub fn moved(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.behind += now.saturating_duration_since(since);
        }
        let micros = (bytes as u64).saturating_mul(1_000_000) / self.rate;
        self.behind = self.behind.saturating_sub(Duration::from_micros(micros));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a peer that moves `bytes` bytes every `every` is too slow; `None` if it never is within an hour.
    fn too_slow_after(bytes: usize, every: Duration) -> Option<u64> {
        let mut throughput = MinThroughput::new(Duration::from_secs(20), 1_024);
        let start = Instant::now();
        let mut now = start;
        while now < start + Duration::from_secs(3_600) {
            let deadline = throughput.deadline(now);
            now += every;
            if deadline <= now {
                return Some((deadline - start).as_secs());
            }
            throughput.moved(bytes, now);
        }
        None
    }

    #[test]
    fn a_peer_that_trickles_is_too_slow_almost_as_soon_as_one_that_pauses() {
        assert_eq!(too_slow_after(0, Duration::from_secs(60)), Some(20));
        assert_eq!(too_slow_after(1, Duration::from_secs(1)), Some(20));
        assert_eq!(too_slow_after(190, Duration::from_secs(1)), Some(24));
        assert_eq!(too_slow_after(1, Duration::from_millis(10)), Some(22));
    }

    #[test]
    fn a_slow_peer_above_the_minimum_rate_may_pause() {
        assert_eq!(too_slow_after(1_024, Duration::from_secs(1)), None);
        assert_eq!(too_slow_after(20_000, Duration::from_secs(19)), None);
        assert_eq!(too_slow_after(1 << 20, Duration::from_secs(19)), None);
    }

    #[test]
    fn time_without_a_wait_does_not_count() {
        let mut throughput = MinThroughput::new(Duration::from_secs(20), 1_024);
        let mut now = Instant::now();
        for _ in 0..100 {
            throughput.moved(10, now);
            now += Duration::from_secs(60);
        }
        assert_eq!(throughput.deadline(now), now + Duration::from_secs(20));
    }
}
