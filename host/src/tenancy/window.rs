//! A sliding window of one minute, exact to the width of a slot.

use std::collections::VecDeque;
use std::time::Duration;

use firebox_contract::limits::{RATE_SLOT, RATE_WINDOW};

const SLOTS: u64 = (RATE_WINDOW.as_millis() / RATE_SLOT.as_millis()) as u64;

/// Amounts by time slot. Within any [`RATE_WINDOW`] the amounts taken never exceed the limit: a slot is dropped only when all
/// of it is older than the window.
#[derive(Debug, Default)]
pub(super) struct SlidingWindow {
    slots: VecDeque<(u64, u64)>,
    used: u64,
    latest: u64,
}

/// Why an amount does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WindowFull {
    /// Time until it fits, if nothing else is taken.
    pub(super) retry_after: Duration,
}

fn slot(now: Duration) -> u64 {
    u64::try_from(now.as_millis() / RATE_SLOT.as_millis()).unwrap_or(u64::MAX)
}

/// Time from `now` until `slot` is dropped.
fn until_dropped(slot: u64, now: Duration) -> Duration {
    let slots = u32::try_from(slot.saturating_add(SLOTS + 1)).unwrap_or(u32::MAX);
    RATE_SLOT.saturating_mul(slots).saturating_sub(now)
}

impl SlidingWindow {
    /// Drops old slots and returns the slot of `now`. A clock that is set back frees nothing.
    fn advance(&mut self, now: Duration) -> u64 {
        self.latest = self.latest.max(slot(now));
        while let Some((oldest, amount)) = self.slots.front().copied() {
            if oldest.saturating_add(SLOTS) >= self.latest {
                break;
            }
            self.used = self.used.saturating_sub(amount);
            self.slots.pop_front();
        }
        self.latest
    }

    /// The amount in the window at `now`.
    pub(super) fn used(&mut self, now: Duration) -> u64 {
        self.advance(now);
        self.used
    }

    /// Takes `amount` if the sum stays within `limit`. Returns its slot.
    pub(super) fn take(&mut self, now: Duration, amount: u64, limit: u64) -> Result<u64, WindowFull> {
        let slot = self.advance(now);
        if self.used.checked_add(amount).is_none_or(|sum| sum > limit) {
            return Err(WindowFull { retry_after: self.until(now, limit.saturating_sub(amount)) });
        }
        self.add(slot, amount);
        Ok(slot)
    }

    /// Adds `amount` without a limit.
    pub(super) fn charge(&mut self, now: Duration, amount: u64) {
        let slot = self.advance(now);
        self.add(slot, amount);
    }

    fn add(&mut self, slot: u64, amount: u64) {
        self.used = self.used.saturating_add(amount);
        match self.slots.back_mut() {
            Some((last, sum)) if *last == slot => *sum = sum.saturating_add(amount),
            _ if amount > 0 => self.slots.push_back((slot, amount)),
            _ => {}
        }
    }

    /// Gives back up to `amount` of the amount in `slot`, if the slot is still in the window.
    pub(super) fn give_back(&mut self, slot: u64, amount: u64) {
        if let Ok(at) = self.slots.binary_search_by_key(&slot, |entry| entry.0) {
            let amount = amount.min(self.slots[at].1);
            self.slots[at].1 -= amount;
            self.used -= amount;
        }
    }

    /// Time from `now` until the amount in the window is at most `sum`, if nothing else is taken.
    pub(super) fn until(&mut self, now: Duration, sum: u64) -> Duration {
        self.advance(now);
        let mut left = self.used;
        for (slot, amount) in &self.slots {
            if left <= sum {
                break;
            }
            left -= amount;
            if left <= sum {
                return until_dropped(*slot, now);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_limit_is_exact_and_refills_after_the_window() {
        let mut window = SlidingWindow::default();
        for _ in 0..10 {
            assert!(window.take(ms(100), 1, 10).is_ok());
        }
        let full = window.take(ms(100), 1, 10).expect_err("full");
        assert_eq!(full.retry_after, ms(60_150), "the slot of 0..250 ms is forgotten at 60 250 ms");
        assert!(window.take(ms(100) + full.retry_after - ms(1), 1, 10).is_err());
        assert!(window.take(ms(100) + full.retry_after, 10, 10).is_ok());
    }

    #[test]
    fn no_sixty_seconds_exceed_the_limit() {
        let mut window = SlidingWindow::default();
        let mut taken = Vec::new();
        for now in (0..300_000).step_by(37) {
            if window.take(ms(now), 1, 100).is_ok() {
                taken.push(now);
            }
        }
        for (at, begin) in taken.iter().enumerate() {
            let within = taken[at..].iter().take_while(|moment| **moment <= begin + 60_000).count();
            assert!(within <= 100, "{within} from {begin} on");
        }
        assert!(taken.len() >= 499, "{} of 500 possible", taken.len());
    }

    #[test]
    fn retry_after_is_the_time_until_the_amount_fits() {
        let mut window = SlidingWindow::default();
        assert!(window.take(ms(0), 6, 10).is_ok());
        assert!(window.take(ms(10_000), 4, 10).is_ok());
        assert_eq!(window.take(ms(20_000), 3, 10).map_err(|full| full.retry_after), Err(ms(40_250)));
        assert_eq!(window.take(ms(20_000), 7, 10).map_err(|full| full.retry_after), Err(ms(50_250)));
    }

    #[test]
    fn a_clock_that_is_set_back_frees_nothing() {
        let mut window = SlidingWindow::default();
        assert!(window.take(ms(100_000), 10, 10).is_ok());
        assert!(window.take(ms(0), 1, 10).is_err());
        assert!(window.take(ms(160_000), 1, 10).is_err());
        assert!(window.take(ms(160_250), 1, 10).is_ok());
    }

    #[test]
    fn an_amount_that_is_given_back_is_free_again() {
        let mut window = SlidingWindow::default();
        let slot = window.take(ms(0), 10, 10).expect("room");
        window.give_back(slot, 7);
        assert_eq!(window.used(ms(0)), 3);
        window.give_back(slot, 100);
        assert_eq!(window.used(ms(0)), 0);
        window.charge(ms(0), 25);
        assert_eq!(window.used(ms(60_249)), 25);
        assert_eq!(window.used(ms(60_250)), 0);
        window.give_back(slot, 5);
        assert_eq!(window.used(ms(60_250)), 0);
    }

    #[test]
    fn sums_do_not_overflow() {
        let mut window = SlidingWindow::default();
        window.charge(ms(0), u64::MAX);
        assert!(window.take(ms(0), 1, u64::MAX).is_err());
        window.charge(ms(500), u64::MAX);
        assert_eq!(window.used(ms(10_000_000)), 0);
        assert!(window.take(Duration::MAX, 1, 1).is_ok());
        assert!(window.take(Duration::MAX, 1, 1).is_err());
    }
}
