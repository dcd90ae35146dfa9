//! The tokio runtimes of this process. Request threads take requests and send answers. They compute little and clients wait
//! for them, so they ask the system for short time slices: then model threads that use every core do not delay a token.
//! They have no higher priority, because with one a flood of requests would delay every tenant's model.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use firebox_contract::{Error, limits};
use firebox_cpu::{cores, priority};
use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime with `workers` request threads; one for each core if `None`.
///
/// # Errors
/// The system's, if it cannot start a thread.
pub(crate) fn runtime(workers: Option<usize>) -> io::Result<Runtime> {
    let workers = workers.unwrap_or_else(cores::count);
    // Request threads start first. Threads that start later do blocking work, such as compiling a plugin, and keep the
    // usual slices.
    let started = AtomicUsize::new(0);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all().on_thread_start(move || {
        if started.fetch_add(1, Ordering::Relaxed) < workers {
            priority::shorten_slice();
        }
    });
    builder.build()
}

/// A runtime whose threads for blocking work have low priority: for work that takes long because a request is large, such as
/// reading a large body. A process has one, which lives as long as the process.
///
/// # Errors
/// `Error::Internal` if the system cannot start the runtime.
pub(crate) fn background() -> Result<Handle, Error> {
    // Locked while the runtime starts: a second runtime could not be dropped, because this may run inside another one.
    static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    let mut builder = Builder::new_current_thread();
    builder.max_blocking_threads(limits::BACKGROUND_THREADS_MAX);
    builder.on_thread_start(|| priority::lower(limits::BACKGROUND_NICENESS));
    let made = builder.build().map_err(|error| Error::Internal(format!("cannot start background threads: {error}")))?;
    Ok(runtime.insert(made).handle().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tasks_may_ask_for_the_background_runtime_at_once() {
        let runtime = runtime(Some(2)).expect("threads");
        let ask = || runtime.spawn(async { background().map(drop) });
        let asked: Vec<_> = (0..64).map(|_| ask()).collect();
        for asked in asked {
            runtime.block_on(asked).expect("no panic").expect("a runtime");
        }
    }

    #[test]
    fn background_threads_have_low_priority_and_the_calling_thread_keeps_its_own() {
        let is_low = background().expect("a runtime").spawn_blocking(priority::is_low);
        assert!(runtime(Some(1)).expect("threads").block_on(is_low).expect("no panic"));
        assert!(!priority::is_low());
    }

    /// The slice that the calling thread asks for, in nanoseconds: 0 if the system has one for all threads.
    #[cfg(target_os = "linux")]
    fn slice() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("se.slice"));
        line.and_then(|line| line.rsplit(':').next()?.trim().parse().ok()).unwrap_or(0)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn request_threads_have_short_slices_and_threads_for_blocking_work_do_not() {
        let short = limits::SERVING_SLICE.as_nanos() as u64;
        let runtime = runtime(Some(2)).expect("threads");
        let serving = runtime.block_on(runtime.spawn(async { slice() })).expect("no panic");
        assert!([short, 0].contains(&serving), "{serving}");
        let blocking = runtime.block_on(runtime.spawn_blocking(slice)).expect("no panic");
        assert_ne!(blocking, short);
    }
}
