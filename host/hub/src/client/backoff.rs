//! How long to wait before another attempt.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use firebox_contract::limits;

/// The wait after `failures` failures: what the hub asked for, else twice as long each time, with a random part so that clients
/// which failed together do not come back together.
pub(crate) fn wait(failures: u32, asked: Option<Duration>, first: Duration) -> Duration {
    if let Some(asked) = asked {
        return asked;
    }
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let longest = doubled.min(limits::HUB_BACKOFF_MAX);
    // Each new state has random keys.
    let part = RandomState::new().hash_one(failures) % 256;
    longest / 2 + longest.mul_f64(part as f64 / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum() {
        let first = Duration::from_millis(500);
        for (failures, longest) in [(1, 500), (2, 1_000), (3, 2_000), (6, 16_000), (7, 30_000), (60, 30_000)] {
            let longest = Duration::from_millis(longest);
            let found = wait(failures, None, first);
            assert!(found >= longest / 2 && found <= longest, "{failures}: {found:?}");
        }
        assert_eq!(wait(1, Some(Duration::from_secs(7)), first), Duration::from_secs(7));
    }
}
