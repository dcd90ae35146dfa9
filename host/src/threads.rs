//! The threads that take in requests and hand out answers. They compute little and are waited for, so they ask the system for
//! short slices of a core: who asks for less at a time goes first among equals (EEVDF, Stoica and Abdel-Wahab 1995; Linux
//! from 6.12), and threads that compute a model on every core do not hold up a token on its way out. No more than that:
//! with priority, a flood of requests would hold up everybody's model.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use firebox_contract::Error;
use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime of so many threads; of one for each core where `None`.
///
/// # Errors
/// The system's, where it gives no threads.
pub(crate) fn runtime(workers: Option<usize>) -> io::Result<Runtime> {
    let workers = workers.unwrap_or_else(firebox_contract::cores::count);
    // The first to start are those that serve. Those that come later are lent out for work that blocks, such as compiling a
    // plugin, and have no claim to go first.
    let started = AtomicUsize::new(0);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all().on_thread_start(move || {
        if started.fetch_add(1, Ordering::Relaxed) < workers {
            shorten_slice();
        }
    });
    builder.build()
}

/// A runtime whose threads for blocking work have less of a core than others where all want it: for what a request's size
/// alone makes long, such as reading a large body. The process has one, which lives as long as it does.
///
/// # Errors
/// `Error::Internal` where the system gives no runtime.
pub(crate) fn background() -> Result<Handle, Error> {
    // Locked while it is made: a second one could not be thrown away, since a runtime may not be dropped in another.
    static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    let mut builder = Builder::new_current_thread();
    builder.max_blocking_threads(firebox_contract::limits::BACKGROUND_THREADS_MAX).on_thread_start(lower_priority);
    let made = builder.build().map_err(|error| Error::Internal(format!("the system gives no threads: {error}")))?;
    Ok(runtime.insert(made).handle().clone())
}

/// Where the system refuses, the thread is slower for others, not wrong.
#[cfg(target_os = "linux")]
fn lower_priority() {
    // On Linux both are the calling thread's alone.
    let usual = rustix::process::getpriority_process(None).unwrap_or(0);
    let _refused = rustix::process::setpriority_process(None, usual + firebox_contract::limits::BACKGROUND_NICENESS);
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

/// Where the system refuses, or knows no such thing, the thread keeps what it has.
#[cfg(target_os = "linux")]
fn shorten_slice() {
    let nanoseconds = firebox_contract::limits::SERVING_SLICE.as_nanos();
    let _refused = slice::set(nanoseconds.try_into().unwrap_or(u64::MAX));
}

#[cfg(not(target_os = "linux"))]
fn shorten_slice() {}

#[cfg(target_os = "linux")]
mod slice {
    use std::io;

    /// The calling thread's policy and priority as they are, for `change` to change.
    fn attributes() -> io::Result<libc::sched_attr> {
        let size = u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0);
        let mut attributes = libc::sched_attr {
            size,
            sched_policy: 0,
            sched_flags: 0,
            sched_nice: 0,
            sched_priority: 0,
            sched_runtime: 0,
            sched_deadline: 0,
            sched_period: 0,
        };
        // SAFETY: 0 names the calling thread, and the pointer is to a whole structure of the size that is given.
        let refused = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
        if refused == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
    }

    /// Asks for slices of so many nanoseconds for the calling thread; threads and processes that it starts have what is usual.
    pub(super) fn set(nanoseconds: u64) -> io::Result<()> {
        let mut attributes = attributes()?;
        attributes.sched_runtime = nanoseconds;
        attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
        // SAFETY: 0 names the calling thread, and the pointer is to a whole structure that says its size.
        let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    #[cfg(test)]
    mod tests {
        use firebox_contract::limits::SERVING_SLICE;

        use super::*;

        #[test]
        fn a_thread_asks_for_itself_alone_and_not_for_those_it_starts() {
            let before = attributes().expect("Linux");
            let (there, theirs) = std::thread::spawn(|| {
                set(200_000).expect("allowed to everybody");
                let theirs = std::thread::spawn(|| attributes().expect("Linux")).join().expect("no panic");
                (attributes().expect("Linux"), theirs)
            })
            .join()
            .expect("no panic");
            assert_eq!((there.sched_policy, there.sched_nice), (before.sched_policy, before.sched_nice));
            // Linux before 6.12 has one slice for all and says 0.
            assert!([200_000, 0].contains(&there.sched_runtime), "{}", there.sched_runtime);
            assert_ne!(theirs.sched_runtime, 200_000);
            assert_eq!(attributes().expect("Linux").sched_runtime, before.sched_runtime);
        }

        #[test]
        fn background_threads_may_be_asked_for_by_many_at_once() {
            let runtime = super::super::runtime(Some(2)).expect("threads");
            let ask = || runtime.spawn(async { super::super::background().map(drop) });
            let asked: Vec<_> = (0..64).map(|_| ask()).collect();
            for asked in asked {
                runtime.block_on(asked).expect("no panic").expect("a runtime");
            }
        }

        #[test]
        fn background_threads_have_less_of_a_core() {
            let usual = attributes().expect("Linux").sched_nice;
            let handle = super::super::background().expect("a runtime");
            let lent = handle.spawn_blocking(|| attributes().expect("Linux").sched_nice);
            let lent = super::super::runtime(Some(1)).expect("threads").block_on(lent).expect("no panic");
            assert_eq!(lent, (usual + firebox_contract::limits::BACKGROUND_NICENESS).min(19));
            assert_eq!(attributes().expect("Linux").sched_nice, usual);
        }

        #[test]
        fn threads_that_serve_have_short_slices_and_no_others() {
            let usual = attributes().expect("Linux");
            let runtime = super::super::runtime(Some(2)).expect("threads");
            let serving = runtime.block_on(runtime.spawn(async { attributes().expect("Linux") })).expect("no panic");
            assert!([SERVING_SLICE.as_nanos() as u64, 0].contains(&serving.sched_runtime), "{}", serving.sched_runtime);
            let lent = runtime.block_on(runtime.spawn_blocking(|| attributes().expect("Linux"))).expect("no panic");
            assert_eq!(lent.sched_nice, usual.sched_nice);
            // Linux may change the slice of a thread that asked for none, so only the short one is wrong here.
            assert_ne!(lent.sched_runtime, SERVING_SLICE.as_nanos() as u64);
        }
    }
}
