//! Runs guest calls so that a plugin which computes for long takes little from models and requests.
//!
//! A call runs where it began for up to `PLUGIN_NORMAL_TIME`. Then it moves to a pool of low-priority threads and continues
//! there in slices of one epoch tick. A tenant has at most one slice for each of these threads at a time, and its calls take
//! turns. A tenant that has used up its CPU budget also waits before each slice while models compute on every core.
//! `specifications/architecture/plugin-cpu.md` describes the whole.

mod budget;
mod call_state;
mod ticker;

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use firebox_contract::{BoxFuture, limits};
use firebox_cpu::{cores, priority};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

pub use self::budget::CpuBudget;
pub(crate) use self::call_state::CallState;
pub(crate) use self::ticker::Ticker;

/// The call did not end in time.
#[derive(Debug)]
pub(crate) struct TimedOut;

/// Runs guest calls. Its low-priority threads start when a call first needs them; `None` if the system starts none.
#[derive(Debug, Default)]
pub(crate) struct Executor(OnceLock<Option<Runtime>>);

impl Executor {
    /// Runs `future`, the call of `state` that began at `started`, to its end. Dropping the result cancels the call: at once if
    /// it runs where it began, else when a low-priority thread gets to it.
    ///
    /// # Errors
    /// `TimedOut` if the call is on a low-priority thread `PLUGIN_TIMEOUT_GRACE` after `timeout`. A call that gets a core
    /// ends itself at `timeout`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        state: &Arc<CallState>,
        started: Instant,
        timeout: Duration,
        mut future: BoxFuture<'static, T>,
    ) -> Result<T, TimedOut> {
        let at_normal_priority = poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if state.has_normal_time() => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(value) = at_normal_priority.await {
            return Ok(value);
        }
        let Some(threads) = self.threads() else { return Ok(future.await) };
        let deadline = started + timeout + limits::PLUGIN_TIMEOUT_GRACE;
        // Dropping the set aborts its task.
        let mut task = JoinSet::new();
        task.spawn_on(run_in_slices(Arc::clone(state), future), threads.handle());
        match tokio::time::timeout_at(deadline.into(), task.join_next()).await {
            Ok(Some(Ok(value))) => Ok(value),
            Ok(Some(Err(error))) if error.is_panic() => resume_unwind(error.into_panic()),
            // The time is up, or the threads end with the host.
            _ => Err(TimedOut),
        }
    }

    fn threads(&self) -> Option<&Runtime> {
        let start = || {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads()).max_blocking_threads(1).thread_name("firebox-guests");
            builder.on_thread_start(|| priority::lower(limits::PLUGIN_LOW_NICENESS)).enable_all().build().ok()
        };
        self.0.get_or_init(start).as_ref()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(Some(threads)) = self.0.take() {
            // No request waits for the calls that still run, and this may be one of the threads.
            threads.shutdown_background();
        }
    }
}

/// Low-priority threads: one for every `PLUGIN_LOW_CORES_DIVISOR` cores.
fn threads() -> usize {
    (cores::count() / limits::PLUGIN_LOW_CORES_DIVISOR).max(1)
}

/// Runs `future` to its end. A slice ends at an epoch tick, or where the guest waits for the host.
async fn run_in_slices<T>(state: Arc<CallState>, mut future: BoxFuture<'static, T>) -> T {
    loop {
        let mut slot = state.slot().await;
        if state.is_over_budget() && cores::all_busy(threads()) {
            // With its slot: the tenant's other calls wait too, so that their number does not matter.
            tokio::time::sleep(limits::PLUGIN_THROTTLE_PAUSE).await;
        }
        let mut had_slice = false;
        let slice = poll_fn(|context| {
            if had_slice {
                // The guest can continue.
                return Poll::Ready(None);
            }
            had_slice = true;
            let polled = future.as_mut().poll(context);
            if polled.is_pending() {
                slot = None;
                // A low-priority thread that holds a core may keep it for milliseconds.
                std::thread::yield_now();
            }
            polled.map(Some)
        });
        if let Some(value) = slice.await {
            return value;
        }
    }
}

#[cfg(test)]
mod tests;
