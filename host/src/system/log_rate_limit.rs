//! Limits how often an event is logged: once a period for each kind, with the number of the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Recent events of kinds `K`.
#[derive(Debug)]
pub(crate) struct LogRateLimiter<K> {
    period: Duration,
    seen: HashMap<K, Occurrence>,
    /// When old kinds were removed last.
    last_cleanup: Option<Instant>,
}

#[derive(Debug)]
struct Occurrence {
    logged: Instant,
    /// Events since then.
    unlogged: u64,
}

impl<K: Hash + Eq + Clone> LogRateLimiter<K> {
    /// Logs each kind once in `period`.
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, seen: HashMap::new(), last_cleanup: None }
    }

    /// The number of kinds in the table.
    pub(crate) fn kinds(&self) -> usize {
        self.seen.len()
    }

    /// The number of kinds in the table that fulfil `predicate`.
    pub(crate) fn count(&self, predicate: impl Fn(&K) -> bool) -> usize {
        self.seen.keys().filter(|key| predicate(key)).count()
    }

    /// Whether `key` is in the table.
    pub(crate) fn knows(&self, key: &K) -> bool {
        self.seen.contains_key(key)
    }

    /// Counts an event of the kind `key`. If it is to be logged now, returns the number of unlogged events before it.
    pub(crate) fn happened(&mut self, key: K, now: Instant) -> Option<u64> {
        match self.seen.get_mut(&key) {
            Some(seen) if now.saturating_duration_since(seen.logged) < self.period => {
                seen.unlogged = seen.unlogged.saturating_add(1);
                None
            }
            Some(seen) => {
                seen.logged = now;
                Some(std::mem::take(&mut seen.unlogged))
            }
            None => {
                self.seen.insert(key, Occurrence { logged: now, unlogged: 0 });
                Some(0)
            }
        }
    }

    /// The kinds with unlogged events whose last log line is a period old, with their counts, which the caller logs now. Removes
    /// kinds without unlogged events.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(K, u64)> {
        let mut due = Vec::new();
        let period = self.period;
        self.seen.retain(|key, seen| {
            if now.saturating_duration_since(seen.logged) < period {
                return true;
            }
            if seen.unlogged == 0 {
                return false;
            }
            seen.logged = now;
            due.push((key.clone(), std::mem::take(&mut seen.unlogged)));
            true
        });
        due
    }

    /// Removes kinds without a log line for a period. Does so once in a period, because it visits all kinds.
    pub(crate) fn remove_old(&mut self, now: Instant) {
        let period = self.period;
        if self.last_cleanup.is_some_and(|last| now.saturating_duration_since(last) < period) {
            return;
        }
        self.last_cleanup = Some(now);
        self.seen.retain(|_, seen| now.saturating_duration_since(seen.logged) < period);
    }

    /// All unlogged counts, for the end of the process.
    pub(crate) fn unwritten(&mut self) -> Vec<(K, u64)> {
        let all = self.seen.drain().map(|(key, seen)| (key, seen.unlogged));
        all.filter(|(_, unlogged)| *unlogged > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_is_logged_at_once_and_later_ones_with_a_count() {
        let mut limiter = LogRateLimiter::new(Duration::from_secs(1));
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        assert_eq!(limiter.happened("a", at(0)), Some(0));
        for millis in 1..100 {
            assert_eq!(limiter.happened("a", at(millis)), None);
        }
        assert_eq!(limiter.happened("b", at(500)), Some(0), "another kind is logged separately");
        assert!(limiter.due(at(999)).is_empty());
        assert_eq!(limiter.due(at(1_000)), [("a", 99)]);
        assert_eq!(limiter.happened("a", at(1_001)), None, "it was logged a moment ago");
        assert_eq!(limiter.happened("a", at(2_000)), Some(1));
        assert_eq!(limiter.kinds(), 2);
        assert!(limiter.due(at(9_000)).is_empty() && limiter.kinds() == 0, "kinds without events are removed");
    }

    #[test]
    fn unlogged_counts_are_returned_at_the_end() {
        let mut limiter = LogRateLimiter::new(Duration::from_secs(1));
        let now = Instant::now();
        for _ in 0..5 {
            let _logged = limiter.happened("a", now);
        }
        let _logged = limiter.happened("b", now);
        assert_eq!(limiter.unwritten(), [("a", 4)]);
    }
}
