//! Where a guest goes on that has computed for longer than a moment: on a few threads of low priority, so that a plugin
//! that loops takes little from the models and requests of others, and a busy machine is still put to use when nobody
//! else wants it. Quick calls, which are nearly all there are, end where they began and never come here.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use firebox_contract::BoxFuture;
use firebox_contract::limits;
use tokio::runtime::{Builder, Runtime as Threads};
use tokio::task::JoinHandle;

/// What can be read of a call from outside while it runs.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Ticks of the clock for which the guest computed in the call that runs.
    ticks: AtomicU32,
    fuel_left: AtomicU64,
    memory_peak_bytes: AtomicU64,
}

impl Gauge {
    /// A call begins with so much fuel.
    pub(crate) fn rearm(&self, fuel: u64) {
        self.ticks.store(0, Ordering::Relaxed);
        self.fuel_left.store(fuel, Ordering::Relaxed);
    }

    /// The guest computed for one more tick.
    pub(crate) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// What it has left and had, as far as the engine knows.
    pub(crate) fn note(&self, fuel_left: u64, memory_peak_bytes: u64) {
        self.fuel_left.store(fuel_left, Ordering::Relaxed);
        self.memory_peak_bytes.store(memory_peak_bytes, Ordering::Relaxed);
    }

    pub(crate) fn fuel_left(&self) -> u64 {
        self.fuel_left.load(Ordering::Relaxed)
    }

    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak_bytes.load(Ordering::Relaxed)
    }

    fn is_slow(&self) -> bool {
        limits::EPOCH_TICK.saturating_mul(self.ticks.load(Ordering::Relaxed)) >= limits::PLUGIN_QUICK_TIME
    }
}

/// The call did not come back in time.
#[derive(Debug)]
pub(crate) struct Late;

/// The threads; they start when they are needed first.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    threads: OnceLock<Option<Threads>>,
    moved: AtomicU64,
}

impl Lane {
    /// Sees `call` through to its end: here while it is quick by its `gauge`, then on the threads. Dropping the future
    /// cuts the call off wherever it is.
    ///
    /// # Errors
    /// `Late` if it is still on the threads a little after `timeout`, which it keeps by itself unless they are busy.
    pub(crate) async fn drive<T: Send + 'static>(
        &self,
        gauge: &Gauge,
        timeout: Duration,
        mut call: BoxFuture<'static, T>,
    ) -> Result<T, Late> {
        let until = Instant::now() + timeout + limits::PLUGIN_SLOW_GRACE;
        let quick = poll_fn(|context| match Pin::as_mut(&mut call).poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if gauge.is_slow() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(ended) = quick.await {
            return Ok(ended);
        }
        let Some(threads) = self.threads() else { return Ok(call.await) };
        self.moved.fetch_add(1, Ordering::Relaxed);
        let mut moved = Moved(threads.spawn(call));
        tokio::select! {
            biased;
            ended = &mut moved.0 => match ended {
                Ok(ended) => Ok(ended),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The threads are ending with the host.
                Err(_) => Err(Late),
            },
            () = tokio::time::sleep_until(until.into()) => Err(Late),
        }
    }

    /// Calls that went on here.
    #[cfg(test)]
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// None where the system gives no threads: then a call goes on where it is.
    fn threads(&self) -> Option<&Threads> {
        let start = || {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads((cores / limits::PLUGIN_SLOW_CORES_DIVISOR).max(1)).max_blocking_threads(1);
            builder.thread_name("firebox-guests").on_thread_start(lower_priority).enable_all().build().ok()
        };
        self.threads.get_or_init(start).as_ref()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(Some(threads)) = self.threads.take() {
            // Nobody waits for what still runs, and this may be one of the threads.
            threads.shutdown_background();
        }
    }
}

/// A call on the threads; dropping it cuts it off at its next tick.
struct Moved<T>(JoinHandle<T>);

impl<T> Drop for Moved<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where the system refuses, threads keep the priority they have: slower for others, not wrong.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // On Linux this is the calling thread's alone.
    let _refused = rustix::process::setpriority_process(None, limits::PLUGIN_SLOW_NICENESS);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn slow() -> Arc<Gauge> {
        let gauge = Arc::new(Gauge::default());
        let ticks = limits::PLUGIN_QUICK_TIME.as_nanos() / limits::EPOCH_TICK.as_nanos();
        (0..ticks).for_each(|_| gauge.tick());
        gauge
    }

    fn name() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    async fn yielding() -> Option<String> {
        tokio::task::yield_now().await;
        name()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn only_a_slow_call_goes_on_elsewhere_and_at_low_priority() {
        let lane = Lane::default();
        let here = lane.drive(&Gauge::default(), LONG, Box::pin(yielding())).await.expect("in time");
        assert_eq!((here, lane.moved()), (name(), 0));
        let there = lane.drive(&slow(), LONG, Box::pin(yielding())).await.expect("in time");
        assert_eq!((there.as_deref(), lane.moved()), (Some("firebox-guests"), 1));
        #[cfg(target_os = "linux")]
        {
            let nice = async {
                tokio::task::yield_now().await;
                let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux");
                // After the name in parentheses, niceness is the 17th field.
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)).map(str::to_owned)
            };
            let nice = lane.drive(&slow(), LONG, Box::pin(nice)).await.expect("in time");
            assert_eq!(nice, Some(limits::PLUGIN_SLOW_NICENESS.to_string()));
        }
    }

    #[tokio::test]
    async fn a_call_that_the_threads_do_not_bring_back_in_time_is_late() {
        let lane = Lane::default();
        let stuck = async {
            tokio::task::yield_now().await;
            std::future::pending::<()>().await;
        };
        assert!(lane.drive(&slow(), Duration::from_millis(5), Box::pin(stuck)).await.is_err());
    }

    #[tokio::test]
    async fn dropping_it_drops_the_call() {
        let lane = Lane::default();
        let held = Arc::new(());
        let theirs = Arc::clone(&held);
        let stuck = async move {
            tokio::task::yield_now().await;
            std::future::pending::<()>().await;
            drop(theirs);
        };
        let gauge = slow();
        let cut = tokio::time::timeout(Duration::from_millis(20), lane.drive(&gauge, LONG, Box::pin(stuck))).await;
        assert!(cut.is_err());
        let mut waits = 0;
        while Arc::strong_count(&held) > 1 && waits < 1_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            waits += 1;
        }
        assert_eq!(Arc::strong_count(&held), 1, "the call is still held");
    }
}
