//! What a tenant has used: the rates that limit it and the sums that are reported.

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

/// The counters of one tenant. They live as long as the tenant is in the configuration, across reloads.
#[derive(Debug, Default)]
pub(super) struct Meters {
    rates: Mutex<Rates>,
    /// Requests under way, by kind.
    pub(super) in_flight: [AtomicUsize; KINDS],
}

/// One lock for all of a tenant's counters: they are touched a few times a request, and never across tenants.
#[derive(Debug, Default)]
pub(super) struct Rates {
    pub(super) requests: SlidingWindow,
    pub(super) tokens: SlidingWindow,
    pub(super) tool_calls: SlidingWindow,
    pub(super) fuel: SlidingWindow,
    pub(super) book: DailyUsage,
}

impl Meters {
    /// # Errors
    /// `Error::Unavailable` where a panic left the counters in doubt: what cannot be counted is refused.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Rates>, Error> {
        self.rates.lock().map_err(|_poisoned| {
            Error::Unavailable(
                "this tenant's counters are in doubt after a fault; the operator must restart the host".to_owned(),
            )
        })
    }
}

/// Sums of what was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Requests admitted.
    pub requests: u64,
    /// Requests refused by a limit.
    pub limited: u64,
    /// Requests that ended without an account of what they used.
    pub unsettled: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Of these, tokens that did not have to be computed.
    pub cached_tokens: u64,
    /// Tokens made.
    pub completion_tokens: u64,
    /// Tool calls that ran.
    pub tool_calls: u64,
    /// Fuel of plugins.
    pub plugin_fuel: u64,
}

impl Counts {
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

/// Sums by day (UTC) and in all.
#[derive(Debug, Default)]
pub(super) struct DailyUsage {
    total: Counts,
    days: VecDeque<(String, Counts)>,
    /// When sums from before this process began.
    since: Option<SystemTime>,
    /// Something was entered since this was asked last.
    changed: bool,
}

impl DailyUsage {
    /// Enters something that happened at `moment`.
    pub(super) fn enter(&mut self, moment: SystemTime, entry: impl Fn(&mut Counts)) {
        self.changed = true;
        entry(&mut self.total);
        let today = time::date(moment);
        if self.days.back().is_none_or(|last| last.0 < today) {
            self.days.push_back((today, Counts::default()));
            if self.days.len() > limits::USAGE_DAYS_MAX {
                self.days.pop_front();
            }
        }
        if let Some((_, counts)) = self.days.back_mut() {
            entry(counts);
        }
    }
}

/// What a tenant used since its counters began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// When counting began: the first start of the host that is remembered, or the reload that brought the tenant.
    pub since: SystemTime,
    /// Everything since then.
    pub total: Counts,
    /// By day (`2026-11-25`, UTC), oldest first; the last `limits::USAGE_DAYS_MAX` days on which something happened.
    pub days: Vec<(String, Counts)>,
}

impl DailyUsage {
    pub(super) fn report(&self, since: SystemTime) -> UsageReport {
        let since = earlier(self.since, since);
        UsageReport { since, total: self.total, days: self.days.iter().cloned().collect() }
    }

    /// Puts what was used before in front of what was used since. `changed` says that nobody stored it yet.
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

    /// Whether something was entered since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

/// How far one limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What is allowed in 60 seconds.
    pub limit: u64,
    /// What is left of it now.
    pub remaining: u64,
    /// Time until all of it is there again, if nothing else comes.
    pub reset: Duration,
}

/// How far a tenant's limits are used; `None` where there is no limit.
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
    fn days_are_kept_apart_and_bounded() {
        let mut book = DailyUsage::default();
        for day in 0..100 {
            let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
            book.enter(moment, |counts| counts.requests += 2);
            book.enter(moment, |counts| counts.limited += 1);
        }
        let report = book.report(SystemTime::UNIX_EPOCH);
        assert_eq!((report.total.requests, report.total.limited), (200, 100));
        assert_eq!(report.days.len(), limits::USAGE_DAYS_MAX);
        assert_eq!(report.days.last().expect("a day").0, "1970-04-10");
        assert!(report.days.iter().all(|day| day.1.requests == 2 && day.1.limited == 1));
    }

    #[test]
    fn a_book_goes_on_from_what_was_before() {
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
        let (mut before, mut book) = (DailyUsage::default(), DailyUsage::default());
        for number in 0..40 {
            before.enter(day(number), |counts| counts.requests += 1);
        }
        book.enter(day(39), |counts| counts.requests += 10);
        book.enter(day(40), |counts| counts.prompt_tokens += 5);
        assert!(book.take_changed() && !book.take_changed());
        book.resume(before.report(day(0)), false);
        let report = book.report(day(39));
        assert_eq!((report.since, report.total.requests, report.total.prompt_tokens), (day(0), 50, 5));
        assert_eq!(report.days.len(), limits::USAGE_DAYS_MAX);
        let last: Vec<u64> = report.days.iter().rev().take(3).map(|day| day.1.requests).collect();
        assert_eq!(last, [0, 11, 1], "the day of the restart is one day");
        book.enter(day(40), |counts| counts.requests += 1);
        assert_eq!(book.report(day(39)).days.len(), limits::USAGE_DAYS_MAX, "and so is the day after");
    }
}
