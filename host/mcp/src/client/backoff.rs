//! How long to wait before a server is tried again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use firebox_contract::limits::{MCP_CLIENT_BACKOFF_MAX, MCP_CLIENT_BACKOFF_MIN, MCP_CLIENT_BREAKER_OPEN};

/// How fast a server is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// After the first failure.
    pub(super) first: Duration,
    /// After many.
    pub(super) longest: Duration,
    /// Between two tries while the circuit is open.
    pub(super) open: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: MCP_CLIENT_BACKOFF_MIN, longest: MCP_CLIENT_BACKOFF_MAX, open: MCP_CLIENT_BREAKER_OPEN }
    }
}

impl Pace {
    /// The wait after this many failures in a row (at least one): doubled each time, bounded, and somewhere between half
    /// and all of it, so that many hosts do not come back in the same moment.
    pub(super) fn delay(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest).mul_f64(0.5 + 0.5 * chance())
    }
}

/// A number from 0 to 1 that differs from call to call; nothing secret hangs on it.
fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_differ() {
        for (failures, full) in [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (60, 30.0), (u32::MAX, 30.0)] {
            for _ in 0..50 {
                let waited = Pace::default().delay(failures).as_secs_f64();
                assert!((full * 0.5..=full).contains(&waited), "{failures}: {waited}");
            }
        }
        let some: Vec<Duration> = (0..20).map(|_| Pace::default().delay(9)).collect();
        assert!(some.iter().any(|wait| *wait != some[0]), "jitter");
    }
}
