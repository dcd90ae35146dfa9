//! The time to wait before a connection is retried.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use firebox_contract::limits::{MCP_CLIENT_BACKOFF_MAX, MCP_CLIENT_BACKOFF_MIN, MCP_CLIENT_BREAKER_OPEN};

/// The times between retries.
#[derive(Debug, Clone, Copy)]
pub(in crate::client) struct RetryBackoff {
    /// The maximum wait after the first failure.
    pub(in crate::client) first: Duration,
    /// The maximum wait after many failures.
    pub(in crate::client) longest: Duration,
    /// The minimum wait between two attempts while the circuit breaker is open.
    pub(in crate::client) open: Duration,
}

impl Default for RetryBackoff {
    fn default() -> Self {
        Self { first: MCP_CLIENT_BACKOFF_MIN, longest: MCP_CLIENT_BACKOFF_MAX, open: MCP_CLIENT_BREAKER_OPEN }
    }
}

impl RetryBackoff {
    /// The wait after this many consecutive failures (at least one). The wait doubles each time up to the limit. A random part
    /// of up to half is taken off, so that many hosts do not retry at the same moment.
    pub(in crate::client) fn delay(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest).mul_f64(0.5 + 0.5 * random())
    }
}

/// A number from 0 to 1 that differs from call to call. Not for secrets.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_limit_with_jitter() {
        for (failures, full) in [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (60, 30.0), (u32::MAX, 30.0)] {
            for _ in 0..50 {
                let waited = RetryBackoff::default().delay(failures).as_secs_f64();
                assert!((full * 0.5..=full).contains(&waited), "{failures}: {waited}");
            }
        }
        let some: Vec<Duration> = (0..20).map(|_| RetryBackoff::default().delay(9)).collect();
        assert!(some.iter().any(|wait| *wait != some[0]), "jitter");
    }
}
