//! What happens again and again and is told once in a while, with its count.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Things of kinds `K` that happened lately.
#[derive(Debug)]
pub(crate) struct LogRateLimiter<K> {
    period: Duration,
    seen: HashMap<K, Occurrence>,
    /// When kinds were forgotten last.
    forgot: Option<Instant>,
}

#[derive(Debug)]
struct Occurrence {
    told: Instant,
    /// How often it happened since it was told.
    more: u64,
}

impl<K: Hash + Eq + Clone> LogRateLimiter<K> {
    /// Nothing happened yet; what happens is told once in `period`.
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, seen: HashMap::new(), forgot: None }
    }

    /// How many kinds are counted now.
    pub(crate) fn kinds(&self) -> usize {
        self.seen.len()
    }

    /// How many of the kinds that are counted now are such.
    pub(crate) fn count(&self, such: impl Fn(&K) -> bool) -> usize {
        self.seen.keys().filter(|key| such(key)).count()
    }

    /// Whether `key` is counted now.
    pub(crate) fn knows(&self, key: &K) -> bool {
        self.seen.contains_key(key)
    }

    /// `key` happened. `Some` where that is to be told now, with how often it happened untold before.
    pub(crate) fn happened(&mut self, key: K, now: Instant) -> Option<u64> {
        match self.seen.get_mut(&key) {
            Some(seen) if now.saturating_duration_since(seen.told) < self.period => {
                seen.more = seen.more.saturating_add(1);
                None
            }
            Some(seen) => {
                seen.told = now;
                Some(std::mem::take(&mut seen.more))
            }
            None => {
                self.seen.insert(key, Occurrence { told: now, more: 0 });
                Some(0)
            }
        }
    }

    /// What happened untold and was told last a period ago, with its counts; those are told now. Kinds that did not
    /// happen since are forgotten.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(K, u64)> {
        let mut due = Vec::new();
        let period = self.period;
        self.seen.retain(|key, seen| {
            if now.saturating_duration_since(seen.told) < period {
                return true;
            }
            if seen.more == 0 {
                return false;
            }
            seen.told = now;
            due.push((key.clone(), std::mem::take(&mut seen.more)));
            true
        });
        due
    }

    /// Forgets kinds that did not happen for a period, told or not; once in a period, since it looks at all of them.
    pub(crate) fn forget(&mut self, now: Instant) {
        let period = self.period;
        if self.forgot.is_some_and(|forgot| now.saturating_duration_since(forgot) < period) {
            return;
        }
        self.forgot = Some(now);
        self.seen.retain(|_, seen| now.saturating_duration_since(seen.told) < period);
    }

    /// Everything that is untold, for who ends.
    pub(crate) fn rest(&mut self) -> Vec<(K, u64)> {
        let all = self.seen.drain().map(|(key, seen)| (key, seen.more));
        all.filter(|(_, more)| *more > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let mut repeats = LogRateLimiter::new(Duration::from_secs(1));
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        assert_eq!(repeats.happened("a", at(0)), Some(0));
        for millis in 1..100 {
            assert_eq!(repeats.happened("a", at(millis)), None);
        }
        assert_eq!(repeats.happened("b", at(500)), Some(0), "another kind is told by itself");
        assert!(repeats.due(at(999)).is_empty());
        assert_eq!(repeats.due(at(1_000)), [("a", 99)]);
        assert_eq!(repeats.happened("a", at(1_001)), None, "it was told a moment ago");
        assert_eq!(repeats.happened("a", at(2_000)), Some(1));
        assert_eq!(repeats.kinds(), 2);
        assert!(repeats.due(at(9_000)).is_empty() && repeats.kinds() == 0, "what rests is forgotten");
    }

    #[test]
    fn nothing_is_forgotten_at_the_end() {
        let mut repeats = LogRateLimiter::new(Duration::from_secs(1));
        let now = Instant::now();
        for _ in 0..5 {
            let _told = repeats.happened("a", now);
        }
        let _told = repeats.happened("b", now);
        assert_eq!(repeats.rest(), [("a", 4)]);
    }
}
