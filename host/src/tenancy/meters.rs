//! The counters of a tenant: rates for its limits, and sums for its usage report.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use firebox_contract::{Error, Usage, limits};
use serde::{Deserialize, Serialize};

use super::admission::KINDS;
use super::stored_usage::earlier;
use super::window::SlidingWindow;
use crate::system::time;

/// The counters of one tenant. Reloads keep them while the tenant is configured.
#[derive(Debug, Default)]
pub(super) struct Meters {
    rates: Mutex<Rates>,
    /// Requests at a time, by kind.
    pub(super) in_flight: [AtomicUsize; KINDS],
}

/// The counters behind one lock. A request takes the lock of its own tenant a few times.
#[derive(Debug, Default)]
pub(super) struct Rates {
    pub(super) requests: SlidingWindow,
    pub(super) tokens: SlidingWindow,
    pub(super) tool_calls: SlidingWindow,
    pub(super) fuel: SlidingWindow,
    pub(super) daily: DailyUsage,
}

impl Meters {
    /// # Errors
    /// `Error::Unavailable` if a panic left the counters uncertain. Work that cannot be counted is refused.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Rates>, Error> {
        self.rates.lock().map_err(|_poisoned| {
            Error::Unavailable(
                "the counters of this tenant are uncertain after an internal error; the operator must restart the server".to_owned(),
            )
        })
    }
}

/// Sums of usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageCounts {
    /// Requests admitted.
    pub requests: u64,
    /// Requests refused by a limit.
    pub limited: u64,
    /// Requests that ended without reporting their usage.
    pub unsettled: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Prompt tokens taken from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Tool calls that ran.
    pub tool_calls: u64,
    /// Fuel of plugins.
    pub plugin_fuel: u64,
}

impl UsageCounts {
    /// Adds the tokens of one request.
    pub(super) fn tokens(&mut self, usage: Usage) {
        self.prompt_tokens += usage.prompt_tokens as u64;
        self.cached_tokens += usage.cached_tokens as u64;
        self.completion_tokens += usage.completion_tokens as u64;
    }

    /// Adds other sums.
    fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.limited, other.limited),
            (&mut self.unsettled, other.unsettled),
            (&mut self.prompt_tokens, other.prompt_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.completion_tokens, other.completion_tokens),
            (&mut self.tool_calls, other.tool_calls),
            (&mut self.plugin_fuel, other.plugin_fuel),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }
}

/// Usage by day (UTC) and in total.
#[derive(Debug, Default)]
pub(super) struct DailyUsage {
    total: UsageCounts,
    days: VecDeque<(String, UsageCounts)>,
    /// When the earlier sums began, if usage of an earlier process was added.
    since: Option<SystemTime>,
    /// Whether usage was added since [`DailyUsage::take_changed`].
    changed: bool,
}

impl DailyUsage {
    /// Adds usage at the time `moment`.
    pub(super) fn add(&mut self, moment: SystemTime, change: impl Fn(&mut UsageCounts)) {
        self.changed = true;
        change(&mut self.total);
        let today = time::date(moment);
        if self.days.back().is_none_or(|last| last.0 < today) {
            self.days.push_back((today, UsageCounts::default()));
            if self.days.len() > limits::USAGE_DAYS_MAX {
                self.days.pop_front();
            }
        }
        if let Some((_, counts)) = self.days.back_mut() {
            change(counts);
        }
    }
}

/// The usage of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// When counting began: the first stored start of the server, or the reload that added the tenant.
    pub since: SystemTime,
    /// All usage since then.
    pub total: UsageCounts,
    /// Usage by day (`2026-11-25`, UTC), oldest first: the last [`limits::USAGE_DAYS_MAX`] days with usage.
    pub days: Vec<(String, UsageCounts)>,
}

impl DailyUsage {
    pub(super) fn report(&self, since: SystemTime) -> UsageReport {
        let since = earlier(self.since, since);
        UsageReport { since, total: self.total, days: self.days.iter().cloned().collect() }
    }

    /// Adds earlier usage. `changed` says whether it is not stored yet.
    pub(super) fn resume(&mut self, before: UsageReport, changed: bool) {
        self.changed |= changed;
        self.since = Some(earlier(self.since, before.since));
        self.total.add(&before.total);
        let now = std::mem::take(&mut self.days);
        self.days = before.days.into();
        for (day, counts) in now {
            match self.days.back_mut().filter(|last| last.0 == day) {
                Some((_, sums)) => sums.add(&counts),
                None => self.days.push_back((day, counts)),
            }
        }
        let surplus = self.days.len().saturating_sub(limits::USAGE_DAYS_MAX);
        drop(self.days.drain(..surplus));
    }

    /// Whether usage was added since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

/// How much of one limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The limit in 60 seconds.
    pub limit: u64,
    /// The part of it that is left.
    pub remaining: u64,
    /// Time until the whole limit is available again, without new requests.
    pub reset: Duration,
}

/// How much of its limits a tenant has used; `None` if there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateState {
    /// Requests per minute.
    pub requests: Option<Rate>,
    /// Tokens per minute.
    pub tokens: Option<Rate>,
}

impl Rates {
    pub(super) fn state(&mut self, now: Duration, requests: Option<u64>, tokens: Option<u64>) -> RateState {
        let rate = |window: &mut SlidingWindow, limit: u64| Rate {
            limit,
            remaining: limit.saturating_sub(window.used(now)),
            reset: window.until(now, 0),
        };
        RateState {
            requests: requests.map(|limit| rate(&mut self.requests, limit)),
            tokens: tokens.map(|limit| rate(&mut self.tokens, limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_counted_by_day_for_a_bounded_number_of_days() {
        let mut usage = DailyUsage::default();
        for day in 0..100 {
            let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
            usage.add(moment, |counts| counts.requests += 2);
            usage.add(moment, |counts| counts.limited += 1);
        }
        let report = usage.report(SystemTime::UNIX_EPOCH);
        assert_eq!((report.total.requests, report.total.limited), (200, 100));
        assert_eq!(report.days.len(), limits::USAGE_DAYS_MAX);
        assert_eq!(report.days.last().expect("a day").0, "1970-04-10");
        assert!(report.days.iter().all(|day| day.1.requests == 2 && day.1.limited == 1));
    }

    #[test]
    fn earlier_usage_is_added_to_the_days_and_the_total() {
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
        let (mut before, mut usage) = (DailyUsage::default(), DailyUsage::default());
        for number in 0..40 {
            before.add(day(number), |counts| counts.requests += 1);
        }
        usage.add(day(39), |counts| counts.requests += 10);
        usage.add(day(40), |counts| counts.prompt_tokens += 5);
        assert!(usage.take_changed() && !usage.take_changed());
        usage.resume(before.report(day(0)), false);
        let report = usage.report(day(39));
        assert_eq!((report.since, report.total.requests, report.total.prompt_tokens), (day(0), 50, 5));
        assert_eq!(report.days.len(), limits::USAGE_DAYS_MAX);
        let last: Vec<u64> = report.days.iter().rev().take(3).map(|day| day.1.requests).collect();
        assert_eq!(last, [0, 11, 1], "the day of the restart is one day");
        usage.add(day(40), |counts| counts.requests += 1);
        assert_eq!(usage.report(day(39)).days.len(), limits::USAGE_DAYS_MAX, "and so is the day after");
    }
}
