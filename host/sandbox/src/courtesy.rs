//! How guests at low priority keep out of the way of models. The system's priorities do not do that: a model waits for a
//! turn that has begun.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use firebox_contract::limits;
use firebox_cpu::cores;
use tokio::sync::SemaphorePermit;

use crate::gauge::{Gauge, Rank};
use crate::lane::workers;

/// How a call holds back while models want every core: for a moment when it comes there, or, where its owner's share is
/// low or its calls are long, before each of its turns. The calls of one owner have their turns one after the other then, as
/// many at a time as there are threads for them, so that many together take no more than these, and only the first look
/// whether the cores are free.
pub(crate) struct Courtesy<'a> {
    rank: Rank,
    gauge: &'a Gauge,
    /// Since when it is patient.
    since: Option<Instant>,
    /// It is among the first of its owner's.
    first: Option<SemaphorePermit<'a>>,
}

/// Whom a call waits for besides models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Nobody.
    Alone,
    /// The calls of its owner that came before it, to their end.
    Calls,
    /// Their next turns, and it is patient only after these.
    Turns,
}

impl<'a> Courtesy<'a> {
    /// For the call of `gauge` while it is at `rank`.
    pub(crate) fn of(rank: Rank, gauge: &'a Gauge) -> Self {
        Self { rank, gauge, since: None, first: None }
    }

    /// Returns when the call may have a turn.
    pub(crate) async fn hold_back(&mut self) {
        let mut order = self.order(Instant::now());
        loop {
            let now = Instant::now();
            if !cores::all_busy(workers()) {
                break;
            }
            let since = *self.since.get_or_insert(now);
            order = self.order(now);
            if order == Order::Alone {
                self.let_others();
            } else if self.first.is_none() && self.became_first().await {
                if order == Order::Turns {
                    self.since = None;
                }
                continue;
            }
            let until = since + limits::PLUGIN_HELD_BACK_MAX;
            if self.rank < Rank::Idle && now >= until {
                break;
            }
            let look = next(now, limits::PLUGIN_HELD_BACK_PERIOD);
            tokio::time::sleep_until(if self.rank < Rank::Idle { look.min(until) } else { look }.into()).await;
        }
        if order == Order::Turns || self.is_low(Instant::now()) {
            // So it does before each of its turns.
            *self = Self::of(self.rank, self.gauge);
        }
    }

    /// Its owner's other calls need not wait for it while it waits for something itself.
    pub(crate) fn let_others(&mut self) {
        self.first = None;
    }

    /// False if it has nobody to wait for.
    async fn became_first(&mut self) -> bool {
        if let Some(queue) = self.gauge.queue(self.rank) {
            // Nobody closes it.
            self.first = queue.acquire().await.ok();
        }
        self.first.is_some()
    }

    fn order(&self, now: Instant) -> Order {
        if self.rank == Rank::Idle {
            return Order::Turns;
        }
        match (self.gauge.was_long(now), self.gauge.was_slow()) {
            (true, true) => Order::Turns,
            // Many that come together have turns within one patience, so that none waits for long ones to be through.
            (true, false) => Order::Alone,
            (false, _) if self.is_low(now) => Order::Alone,
            // Which of them is long shows the sooner.
            (false, _) => Order::Calls,
        }
    }

    fn is_low(&self, now: Instant) -> bool {
        self.gauge.left(now) * 100.0 < f64::from(limits::PLUGIN_HELD_BACK_PERCENT)
    }
}

/// The next multiple of `period` after `now`: all that wait look at the same time, since each time a thread wakes costs who
/// has the core.
pub(crate) fn next(now: Instant, period: Duration) -> Instant {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let past = now.saturating_duration_since(*BEGUN).as_nanos() % period.as_nanos();
    now + period.saturating_sub(Duration::from_nanos(past as u64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Mutex};

    use tokio::task::JoinSet;

    use super::*;
    use crate::account::Account;

    /// A call of the owner of `account`, which had a turn at low priority or comes there.
    fn call(account: &Arc<Account>, was_slow: bool) -> Gauge {
        let gauge = Gauge::of(Some(Arc::clone(account)));
        if was_slow {
            gauge.enter(Rank::Slow);
            gauge.had(Duration::from_micros(1), Instant::now());
        }
        gauge
    }

    fn long() -> Arc<Account> {
        let account = Arc::new(Account::default());
        account.note_long(Instant::now());
        account
    }

    /// Who had its turns, in their order, after `count` of each of as many calls of `account` as have four times the threads.
    async fn turns(account: &Arc<Account>, was_slow: bool, count: usize, time: Duration) -> Vec<usize> {
        let had = Arc::new(Mutex::new(Vec::new()));
        let mut calls = JoinSet::new();
        for number in 0..4 * workers() {
            let (had, gauge) = (Arc::clone(&had), call(account, was_slow));
            calls.spawn(async move {
                let mut courtesy = Courtesy::of(Rank::Slow, &gauge);
                for _ in 0..count {
                    courtesy.hold_back().await;
                    had.lock().expect("not poisoned").push(number);
                    tokio::task::yield_now().await;
                }
            });
        }
        let _late = tokio::time::timeout(time, calls.join_all()).await;
        had.lock().expect("not poisoned").clone()
    }

    /// Whether each of the calls is among `had`, once.
    fn is_everybody(had: &[usize]) -> bool {
        let mut had = had.to_vec();
        had.sort_unstable();
        had == (0..4 * workers()).collect::<Vec<_>>()
    }

    const PATIENCE: Duration = limits::PLUGIN_HELD_BACK_MAX;
    /// One and a half times as long.
    const NOT_TWO: Duration = Duration::from_millis(75);

    #[tokio::test]
    async fn long_calls_of_one_owner_have_a_turn_for_each_thread_in_the_time_of_one() {
        let _claim = cores::compute(cores::count());
        let had = turns(&long(), true, 10, PATIENCE * 9 / 2).await;
        assert!(had.len() <= 4 * workers(), "{had:?}");
        let begun = Instant::now();
        let had = turns(&long(), true, 2, PATIENCE * 100).await;
        let (first, second) = had.split_at(4 * workers());
        assert!(is_everybody(first) && is_everybody(second), "each its first before any its second: {had:?}");
        assert!(begun.elapsed() >= PATIENCE * 8, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_next_calls_of_an_owner_with_long_ones_do_not_wait_for_them() {
        let _claim = cores::compute(cores::count());
        let account = long();
        let busy: Vec<_> = (0..workers()).map(|_| call(&account, true)).collect();
        let mut waits: Vec<_> = busy.iter().map(|gauge| Courtesy::of(Rank::Slow, gauge)).collect();
        for courtesy in &mut waits {
            // They are the first of those with turns, and have none yet.
            let _waits = tokio::time::timeout(PATIENCE / 50, courtesy.hold_back()).await;
            assert!(courtesy.first.is_some());
        }
        let had = turns(&account, false, 1, NOT_TWO).await;
        assert!(is_everybody(&had), "{had:?}");
    }

    #[tokio::test]
    async fn calls_that_are_not_long_are_ended_one_after_the_other() {
        let _claim = cores::compute(cores::count());
        let account = Arc::default();
        let begun = Instant::now();
        let had = turns(&account, false, 3, PATIENCE * 100).await;
        let goes_on = |at: usize| had[..at].iter().filter(|&number| had[at..].contains(number)).collect::<HashSet<_>>();
        assert!((0..had.len()).all(|at| goes_on(at).len() <= workers()), "{had:?}");
        assert_eq!(had.len(), 3 * 4 * workers());
        assert!(begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());
        assert!(begun.elapsed() < PATIENCE * 3, "once, and all at once: {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn calls_that_are_not_long_are_patient_before_each_turn_where_the_share_is_low() {
        let _claim = cores::compute(cores::count());
        let account = Arc::new(Account::default());
        account.charge(account.share().mul_f64(0.9), Instant::now());
        let begun = Instant::now();
        let had = turns(&account, false, 2, PATIENCE * 100).await;
        let (first, second) = had.split_at(4 * workers());
        assert!(is_everybody(first) && is_everybody(second), "none waits for another: {had:?}");
        assert!(begun.elapsed() >= PATIENCE * 2, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn who_waits_for_an_idle_processor_has_no_turn_before() {
        let claim = cores::compute(cores::count());
        let account = long();
        let (first, second) = (call(&account, true), call(&account, true));
        let mut first = Courtesy::of(Rank::Idle, &first);
        let mut second = Courtesy::of(Rank::Idle, &second);
        let both = async { tokio::join!(first.hold_back(), second.hold_back()) };
        assert!(tokio::time::timeout(PATIENCE * 3, both).await.is_err());
        drop(claim);
        // Other tests may want the cores for a while.
        let both = async { tokio::join!(first.hold_back(), second.hold_back()) };
        tokio::time::timeout(PATIENCE * 200, both).await.expect("in time");
    }

    #[test]
    fn those_that_hold_back_look_at_the_same_time() {
        let period = limits::PLUGIN_HELD_BACK_PERIOD;
        let _begun = next(Instant::now(), period);
        let now = Instant::now();
        let look = next(now, period);
        assert!(look > now && look <= now + period);
        assert_eq!(next(look - Duration::from_nanos(1), period), look);
        assert_eq!(next(look, period), look + period);
    }
}
