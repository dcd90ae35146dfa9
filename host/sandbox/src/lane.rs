//! Where a guest goes on that has computed for longer than a moment: on a few threads of low priority, so that a plugin
//! that loops takes little from the models and requests of others, and a busy machine is still put to use when nobody
//! else wants it. Quick calls, which are nearly all there are, end where they began and never come here.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use firebox_contract::{BoxFuture, limits};
use firebox_cpu::cores;
use tokio::runtime::{Builder, Runtime as Threads};
use tokio::task::JoinHandle;

use crate::courtesy::{Courtesy, next};
use crate::gauge::{Gauge, Rank};
use crate::priority;

/// The call did not come back in time.
#[derive(Debug)]
pub(crate) struct Late;

/// The threads of both ranks; they start when they are needed first.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    slow: Lane,
    idle: Lane,
}

#[derive(Debug, Default)]
struct Lane(OnceLock<Option<Threads>>);

impl Lanes {
    /// Sees `call` through to its end: here while it is quick by its `gauge`, else on the threads of its rank. Dropping
    /// the future cuts the call off wherever it is.
    ///
    /// # Errors
    /// `Late` if it is still on the threads a little after `timeout`, which it keeps by itself unless they are busy.
    pub(crate) async fn drive<T: Send + 'static>(
        &self,
        gauge: &Arc<Gauge>,
        timeout: Duration,
        call: BoxFuture<'static, T>,
    ) -> Result<T, Late> {
        let until = Instant::now() + timeout + limits::PLUGIN_SLOW_GRACE;
        let mut call = Shared::of(call);
        if gauge.rank(Instant::now()) == Rank::Quick {
            gauge.enter(Rank::Quick);
            if let Some(ended) = call.stay(gauge, Rank::Quick).await {
                return Ok(ended);
            }
        }
        loop {
            let rank = from(Rank::Slow, gauge);
            let lane = if rank == Rank::Idle { &self.idle } else { &self.slow };
            // Where the system gives no threads a call goes on where it is.
            let Some(threads) = lane.threads(rank) else { return Ok(call.end().await) };
            gauge.enter(rank);
            if let Some(ended) = call.on(threads, gauge, rank, until).await? {
                return Ok(ended);
            }
        }
    }
}

/// Where a call at `rank` goes on; who is no longer quick does not become so again.
fn from(rank: Rank, gauge: &Gauge) -> Rank {
    gauge.rank(Instant::now()).max(rank.min(Rank::Slow))
}

impl Lane {
    /// None where the system gives no threads.
    fn threads(&self, rank: Rank) -> Option<&Threads> {
        let start = || {
            let (name, lower): (_, fn()) =
                if rank == Rank::Idle { ("firebox-idle", priority::idle) } else { ("firebox-guests", priority::lower) };
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers()).max_blocking_threads(1);
            builder.thread_name(name).on_thread_start(lower).enable_all().build().ok()
        };
        self.0.get_or_init(start).as_ref()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(Some(threads)) = self.0.take() {
            // Nobody waits for what still runs, and this may be one of the threads.
            threads.shutdown_background();
        }
    }
}

/// A call that moves between threads. It stays within reach of whoever waits for it, so that it can be cut off although
/// the threads that it is on may not have a turn for long.
struct Shared<T>(Arc<Mutex<Option<BoxFuture<'static, T>>>>);

impl<T: Send + 'static> Shared<T> {
    fn of(call: BoxFuture<'static, T>) -> Self {
        Self(Arc::new(Mutex::new(Some(call))))
    }

    fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Computes here for as long as `gauge` lets it stay at `rank`: None if it has to go on elsewhere, or was taken away.
    async fn stay(&self, gauge: &Gauge, rank: Rank) -> Option<T> {
        if rank > Rank::Quick {
            return self.stay_low(gauge, rank).await;
        }
        // Whoever waits for it may be another task each time.
        poll_fn(|context| match self.turn(gauge, rank, context) {
            Turn::Ended(ended) => Poll::Ready(Some(ended)),
            Turn::Pauses if from(rank, gauge) == rank => Poll::Pending,
            Turn::Pauses | Turn::Gone => Poll::Ready(None),
        })
        .await
    }

    /// As `stay`, at low priority, where it is in a task of its own.
    async fn stay_low(&self, gauge: &Gauge, rank: Rank) -> Option<T> {
        let mut courtesy = Courtesy::of(rank, gauge);
        let task = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        loop {
            courtesy.hold_back().await;
            // Meanwhile others of its owner may have used up what there was.
            if from(rank, gauge) != rank {
                return None;
            }
            let woken = Arc::new(Woken { is: AtomicBool::new(false), task: task.clone() });
            let waker = Waker::from(Arc::clone(&woken));
            match self.turn(gauge, rank, &mut Context::from_waker(&waker)) {
                Turn::Ended(ended) => return Some(ended),
                Turn::Gone => return None,
                Turn::Pauses if from(rank, gauge) != rank => return None,
                Turn::Pauses => {}
            }
            // Low priority is a matter of turns: once a thread has its turn, the system may let it keep the core for
            // milliseconds, though others wait.
            std::thread::yield_now();
            // Who yields goes on at once. Who waits, for whatever, may do so for long.
            if tokio::time::timeout(limits::EPOCH_TICK, woken.wait()).await.is_err() {
                courtesy.let_others();
                woken.wait().await;
            }
        }
    }

    /// Lets the call compute until it ends, yields or waits.
    fn turn(&self, gauge: &Gauge, rank: Rank, context: &mut Context<'_>) -> Turn<T> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(call) = held.as_mut() else { return Turn::Gone };
        let mut poll = || Pin::as_mut(call).poll(context);
        let polled = if rank == Rank::Quick { poll() } else { metered(gauge, poll) };
        match polled {
            Poll::Ready(ended) => {
                *held = None;
                Turn::Ended(ended)
            }
            Poll::Pending => Turn::Pauses,
        }
    }

    /// As `stay`, on `threads`, and not much longer than `until`.
    async fn on(
        &mut self,
        threads: &Threads,
        gauge: &Arc<Gauge>,
        rank: Rank,
        until: Instant,
    ) -> Result<Option<T>, Late> {
        let (theirs, read) = (self.share(), Arc::clone(gauge));
        let task = threads.spawn(async move { theirs.stay(&read, rank).await });
        let mut moved = Moved { task, call: self.share(), is_back: false };
        let ended = tokio::select! {
            biased;
            ended = &mut moved.task => ended,
            back = self.recalled(gauge, rank) => {
                moved.is_back = true;
                // It waits for a turn of what it does not have any more.
                moved.task.abort();
                *self = back;
                return Ok(None);
            }
            () = tokio::time::sleep_until(until.into()) => return Err(Late),
        };
        match ended {
            Ok(ended) => {
                moved.is_back = true;
                Ok(ended)
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The threads are ending with the host.
            Err(_) => Err(Late),
        }
    }

    /// The call, taken from threads that have not let it compute, once it may go on above them.
    async fn recalled(&self, gauge: &Gauge, rank: Rank) -> Self {
        if rank <= Rank::Slow {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep_until(next(Instant::now(), limits::PLUGIN_RECALL_PERIOD).into()).await;
            if from(rank, gauge) < rank {
                // Whoever computes it has the lock.
                let call = self.0.try_lock().ok().and_then(|mut held| held.take());
                if let Some(call) = call {
                    return Self::of(call);
                }
            }
        }
    }

    /// Computes here to the end.
    async fn end(&self) -> T {
        let call = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match call {
            Some(call) => call.await,
            // It was taken by nobody: only `Moved` does that, when it ends.
            None => std::future::pending().await,
        }
    }
}

/// What became of a call's turn.
enum Turn<T> {
    Ended(T),
    /// It yielded, or waits for something.
    Pauses,
    /// Somebody took it away.
    Gone,
}

/// Wakes the task that a call is in, and says so.
struct Woken {
    is: AtomicBool,
    task: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Woken {
    /// Ready once the call can go on; `task` is who waits.
    async fn wait(&self) {
        poll_fn(|_| if self.is.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Threads of each rank.
pub(crate) fn workers() -> usize {
    (cores::count() / limits::PLUGIN_SLOW_CORES_DIVISOR).max(1)
}

/// Tells `gauge` what `poll` had of the processor.
fn metered<T>(gauge: &Gauge, poll: impl FnOnce() -> T) -> T {
    let before = priority::used();
    let polled = poll();
    gauge.had(priority::used().saturating_sub(before), Instant::now());
    polled
}

/// A call on the threads. Dropped before it is back, it is cut off: here if it waits for its turn, else at its next tick.
struct Moved<T> {
    task: JoinHandle<Option<T>>,
    call: Shared<T>,
    is_back: bool,
}

impl<T> Drop for Moved<T> {
    fn drop(&mut self) {
        if !self.is_back {
            let waiting = self.call.0.try_lock().ok().and_then(|mut held| held.take());
            drop(waiting);
            self.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;

    fn slow() -> Arc<Gauge> {
        Gauge::default().after(limits::PLUGIN_QUICK_TIME, Instant::now())
    }

    /// Of one that is beyond its share.
    fn over() -> Arc<Gauge> {
        Gauge::of(Some(Arc::new(Account::default()))).after(Duration::from_secs(10), Instant::now())
    }

    async fn yielding() -> Option<String> {
        tokio::task::yield_now().await;
        name()
    }

    fn name() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_call_goes_on_where_its_rank_is() {
        let lanes = Lanes::default();
        let here = lanes.drive(&Arc::default(), LONG, Box::pin(yielding())).await.expect("in time");
        assert_eq!(here, name());
        let there = lanes.drive(&slow(), LONG, Box::pin(yielding())).await.expect("in time");
        assert_eq!(there.as_deref(), Some("firebox-guests"));
        let last = lanes.drive(&over(), LONG, Box::pin(yielding())).await.expect("in time");
        assert_eq!(last.as_deref(), Some("firebox-idle"));
    }

    #[tokio::test]
    async fn a_call_that_uses_its_share_up_goes_on_below() {
        let gauge = Gauge::of(Some(Arc::new(Account::default()))).after(limits::PLUGIN_QUICK_TIME, Instant::now());
        let theirs = Arc::clone(&gauge);
        let call = async move {
            tokio::task::yield_now().await;
            let first = name();
            theirs.had(Duration::from_secs(10), Instant::now());
            tokio::task::yield_now().await;
            (first, name())
        };
        let places = Lanes::default().drive(&gauge, LONG, Box::pin(call)).await.expect("in time");
        assert_eq!((places.0.as_deref(), places.1.as_deref()), (Some("firebox-guests"), Some("firebox-idle")));
    }

    #[tokio::test]
    async fn a_call_that_waits_for_an_idle_processor_goes_on_above_when_it_may() {
        let lanes = Lanes::default();
        let account = Arc::new(Account::default());
        account.note_long(Instant::now());
        account.charge(Duration::from_millis(1) + account.share(), Instant::now());
        let gauge = Arc::new(Gauge::of(Some(account)));
        gauge.had(limits::EPOCH_TICK, Instant::now());
        assert_eq!(gauge.rank(Instant::now()), Rank::Idle);
        // Others have their turn there, on each thread, and keep it.
        let threads = lanes.idle.threads(Rank::Idle).expect("threads");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let others: Vec<_> = (0..cores).map(|_| std::sync::mpsc::channel::<()>()).collect();
        let kept: Vec<_> =
            others.into_iter().map(|(sender, ends)| (sender, threads.spawn(async move { ends.recv() }))).collect();
        let there = lanes.drive(&gauge, LONG, Box::pin(yielding())).await.expect("in time");
        assert_eq!(there.as_deref(), Some("firebox-guests"));
        drop(kept);
    }

    #[tokio::test]
    async fn calls_at_low_priority_hold_back_while_models_want_every_core() {
        let lanes = Lanes::default();
        let claim = cores::compute(cores::count());
        let begun = Instant::now();
        let there = lanes.drive(&slow(), LONG, Box::pin(yielding())).await.expect("in time");
        assert_eq!(there.as_deref(), Some("firebox-guests"));
        assert!(begun.elapsed() >= limits::PLUGIN_HELD_BACK_MAX, "{:?}", begun.elapsed());
        let begun = Instant::now();
        let turns = |count: usize| async move {
            for _ in 0..count {
                tokio::task::yield_now().await;
            }
        };
        lanes.drive(&slow(), LONG, Box::pin(turns(40))).await.expect("in time");
        assert!(
            begun.elapsed() < 20 * limits::PLUGIN_HELD_BACK_MAX,
            "once, where there is a share: {:?}",
            begun.elapsed()
        );
        let account = Arc::new(Account::default());
        account.charge(account.share().mul_f64(0.9), begun);
        let low = Arc::new(Gauge::of(Some(account)));
        low.had(limits::EPOCH_TICK, begun);
        let begun = Instant::now();
        lanes.drive(&low, LONG, Box::pin(turns(3))).await.expect("in time");
        assert!(
            begun.elapsed() >= 3 * limits::PLUGIN_HELD_BACK_MAX,
            "each time, where there is little: {:?}",
            begun.elapsed()
        );
        let gauge = over();
        let waiting = lanes.drive(&gauge, LONG, Box::pin(yielding()));
        let cut = tokio::time::timeout(limits::PLUGIN_HELD_BACK_MAX.saturating_mul(3), waiting).await;
        assert!(cut.is_err(), "who waits for an idle processor waits");
        drop(claim);
        let last = lanes.drive(&gauge, LONG, Box::pin(yielding())).await.expect("in time");
        assert_eq!(last.as_deref(), Some("firebox-idle"));
    }

    #[tokio::test]
    async fn a_call_whose_share_others_use_up_while_it_holds_back_goes_below_without_a_turn() {
        let lanes = Lanes::default();
        let (account, claim) = (Arc::new(Account::default()), cores::compute(cores::count()));
        let computed = limits::PLUGIN_QUICK_TIME.mul_f64(2.5);
        let gauge = Gauge::of(Some(Arc::clone(&account))).after(computed, Instant::now());
        assert_eq!(gauge.rank(Instant::now()), Rank::Slow);
        let others = async {
            tokio::time::sleep(limits::PLUGIN_HELD_BACK_MAX / 5).await;
            account.charge(Duration::from_secs(10), Instant::now());
            tokio::time::sleep(2 * limits::PLUGIN_HELD_BACK_MAX).await;
            drop(claim);
        };
        let (there, ()) = tokio::join!(lanes.drive(&gauge, LONG, Box::pin(async { name() })), others);
        assert_eq!(there.expect("in time").as_deref(), Some("firebox-idle"));
    }

    #[tokio::test]
    async fn a_call_that_waits_lets_the_next_of_its_owner_go_on() {
        let _claim = cores::compute(cores::count());
        let (lanes, account) = (Lanes::default(), Arc::new(Account::default()));
        let slow = || {
            let gauge = Gauge::of(Some(Arc::clone(&account)));
            gauge.had(Duration::from_micros(1), Instant::now());
            Arc::new(gauge)
        };
        let (began, begins) = tokio::sync::oneshot::channel();
        let waits = async move {
            let _sent = began.send(());
            std::future::pending::<()>().await;
        };
        let gauge = slow();
        let first = lanes.drive(&gauge, LONG, Box::pin(waits));
        let next = async {
            begins.await.expect("it began");
            lanes.drive(&slow(), LONG, Box::pin(async { name() })).await
        };
        tokio::select! {
            _ended = first => panic!("it never ends"),
            there = next => assert_eq!(there.expect("in time").as_deref(), Some("firebox-guests")),
            () = tokio::time::sleep(Duration::from_secs(5)) => panic!("it waits behind it"),
        }
    }

    #[tokio::test]
    async fn a_call_that_the_threads_do_not_bring_back_in_time_is_late() {
        let lanes = Lanes::default();
        let stuck = async {
            tokio::task::yield_now().await;
            std::future::pending::<()>().await;
        };
        assert!(lanes.drive(&slow(), Duration::from_millis(5), Box::pin(stuck)).await.is_err());
    }

    #[tokio::test]
    async fn dropping_it_drops_the_call_at_once() {
        let lanes = Lanes::default();
        let held = Arc::new(());
        let theirs = Arc::clone(&held);
        let stuck = async move {
            tokio::task::yield_now().await;
            std::future::pending::<()>().await;
            drop(theirs);
        };
        let gauge = slow();
        let cut = tokio::time::timeout(Duration::from_millis(20), lanes.drive(&gauge, LONG, Box::pin(stuck))).await;
        assert!(cut.is_err());
        assert_eq!(Arc::strong_count(&held), 1, "the call is still held");
    }

    #[tokio::test]
    async fn dropping_it_cuts_off_a_call_that_has_its_turn() {
        let lanes = Lanes::default();
        let held = Arc::new(());
        let theirs = Arc::clone(&held);
        let (sender, entered) = tokio::sync::oneshot::channel();
        let busy = async move {
            tokio::task::yield_now().await;
            let _sent = sender.send(());
            std::thread::sleep(Duration::from_millis(50));
            tokio::task::yield_now().await;
            std::future::pending::<()>().await;
            drop(theirs);
        };
        let gauge = slow();
        tokio::select! {
            _ended = lanes.drive(&gauge, LONG, Box::pin(busy)) => panic!("it never ends"),
            entered = entered => entered.expect("it began"),
        }
        let begun = Instant::now();
        while Arc::strong_count(&held) > 1 && begun.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(Arc::strong_count(&held), 1, "the call is still held");
    }
}
