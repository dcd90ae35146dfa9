//! What the guests of one owner, such as a tenant, lately had of the processor. Use is forgotten exponentially, as the
//! engine does it for models. Who is beyond its share goes on only where the processor is idle.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use firebox_contract::limits;

/// The account of one owner, shared by all its chains.
#[derive(Debug)]
pub struct Account {
    used: Mutex<Used>,
    share: Duration,
}

#[derive(Debug)]
struct Used {
    seconds: f64,
    at: Instant,
}

impl Default for Account {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let rate = limits::PLUGIN_SHARE_RATE.saturating_mul(u32::try_from(cores).unwrap_or(u32::MAX));
        // Who uses that much all the time stays at this level.
        let share = rate.mul_f64(limits::PLUGIN_SHARE_MEMORY.as_secs_f64());
        Self { used: Mutex::new(Used { seconds: 0.0, at: Instant::now() }), share }
    }
}

impl Used {
    fn level(&self, now: Instant) -> f64 {
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        self.seconds * (-past / limits::PLUGIN_SHARE_MEMORY.as_secs_f64()).exp()
    }
}

impl Account {
    /// Guests computed for `time` until `now`.
    pub(crate) fn charge(&self, time: Duration, now: Instant) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = Used { seconds: used.level(now) + time.as_secs_f64(), at: now };
    }

    /// What is left of the share at `now`: all of it is 1, none is 0.
    pub(crate) fn left(&self, now: Instant) -> f64 {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        (1.0 - used.level(now) / self.share.as_secs_f64()).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_used_up_and_comes_back() {
        let account = Account { share: Duration::from_millis(100), ..Account::default() };
        let begun = Instant::now();
        assert_eq!(account.left(begun), 1.0);
        account.charge(Duration::from_millis(50), begun);
        assert!((account.left(begun) - 0.5).abs() < 1e-9);
        account.charge(Duration::from_millis(500), begun);
        assert_eq!(account.left(begun), 0.0, "never below");
        let later = begun + limits::PLUGIN_SHARE_MEMORY.mul_f64(2.0);
        let left = 1.0 - 5.5 * (-2.0_f64).exp();
        assert!((account.left(later) - left).abs() < 1e-3, "{} {left}", account.left(later));
    }
}
