//! A sum that forgets: what the scheduler and the plugin executor know of a tenant's recent use.

use std::time::Duration;

/// A sum whose parts decay exponentially: after `decay` a part counts for 1/e of what it was (decay-usage scheduling, Epema
/// 1998). Use at a constant rate approaches that rate times `decay`.
#[derive(Debug, Clone, Copy)]
pub struct DecayingSum {
    decay: Duration,
    sum: f64,
    /// The time of `sum`, on the clock of the caller.
    at: Duration,
}

impl DecayingSum {
    /// Zero.
    #[must_use]
    pub const fn new(decay: Duration) -> Self {
        Self { decay, sum: 0.0, at: Duration::ZERO }
    }

    /// The sum at `now`. A time before the last addition counts as that one.
    #[must_use]
    pub fn at(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.sum * (-passed / self.decay.as_secs_f64()).exp()
    }

    /// Adds `part` at `now`.
    pub fn add(&mut self, part: f64, now: Duration) {
        (self.sum, self.at) = (self.at(now) + part, self.at.max(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn parts_decay_and_add_up() {
        let mut sum = DecayingSum::new(10 * SECOND);
        assert_eq!(sum.at(SECOND), 0.0);
        sum.add(4.0, SECOND);
        assert_eq!(sum.at(SECOND), 4.0);
        let decayed = 4.0 * (-1.0_f64).exp();
        assert!((sum.at(11 * SECOND) - decayed).abs() < 1e-9);
        sum.add(1.0, 11 * SECOND);
        assert!((sum.at(11 * SECOND) - decayed - 1.0).abs() < 1e-9);
        assert!(sum.at(1_000 * SECOND) < 1e-9);
    }

    #[test]
    fn use_at_a_constant_rate_approaches_the_rate_times_the_decay() {
        let mut sum = DecayingSum::new(10 * SECOND);
        (0..100_000).for_each(|tick| sum.add(0.001, Duration::from_millis(tick)));
        assert!((sum.at(100 * SECOND) - 10.0).abs() < 0.1, "{}", sum.at(100 * SECOND));
    }

    #[test]
    fn a_time_before_the_last_part_undoes_no_decay() {
        let mut sum = DecayingSum::new(SECOND);
        sum.add(1.0, 10 * SECOND);
        sum.add(1.0, 9 * SECOND);
        assert_eq!(sum.at(9 * SECOND), 2.0);
        assert_eq!(sum.at(10 * SECOND), 2.0);
    }
}
