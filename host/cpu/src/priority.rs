//! What the system gives one thread of the CPU. Where the system refuses, or has no such setting for a single thread, the
//! thread keeps its priority: other threads may run slower then, and results stay the same.

use std::cell::Cell;

thread_local! {
    static IS_LOW: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread has low priority: it may wait long for a core, so no other thread should wait for its locks.
#[must_use]
pub fn is_low() -> bool {
    IS_LOW.get()
}

/// Raises the niceness of the calling thread by `niceness`: it gets less of a core that other threads want.
#[cfg_attr(not(target_os = "linux"), allow(unused_variables, reason = "only Linux has a niceness for each thread"))]
pub fn lower(niceness: i32) {
    IS_LOW.set(true);
    #[cfg(target_os = "linux")]
    {
        // On Linux both calls are about the calling thread alone.
        let usual = rustix::process::getpriority_process(None).unwrap_or(0);
        let _refused = rustix::process::setpriority_process(None, usual + niceness);
    }
}

/// Asks for short time slices (`SERVING_SLICE`) for the calling thread. Among threads of the same niceness, Linux runs those
/// with shorter slices first (EEVDF, Stoica and Abdel-Wahab 1995; Linux 6.12 and later).
pub fn shorten_slice() {
    #[cfg(target_os = "linux")]
    {
        let nanoseconds = firebox_contract::limits::SERVING_SLICE.as_nanos();
        let _refused = slice::set(nanoseconds.try_into().unwrap_or(u64::MAX));
    }
}

#[cfg(target_os = "linux")]
mod slice {
    use std::io;

    /// The scheduling attributes of the calling thread.
    pub(super) fn attributes() -> io::Result<libc::sched_attr> {
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

    /// Asks for slices of `nanoseconds` for the calling thread. Threads and processes that it starts get the usual slices.
    pub(super) fn set(nanoseconds: u64) -> io::Result<()> {
        let mut attributes = attributes()?;
        attributes.sched_runtime = nanoseconds;
        attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
        // SAFETY: 0 names the calling thread, and the pointer is to a whole structure that says its size.
        let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::slice::attributes;
    use super::*;

    fn attributes_after(change: fn()) -> libc::sched_attr {
        let thread = std::thread::spawn(move || {
            change();
            attributes().expect("Linux")
        });
        thread.join().expect("no panic")
    }

    #[test]
    fn a_thread_changes_its_own_niceness_only() {
        let before = attributes().expect("Linux").sched_nice;
        assert_eq!(attributes_after(|| lower(3)).sched_nice, (before + 3).min(19));
        assert_eq!(attributes().expect("Linux").sched_nice, before);
        assert!(!is_low());
    }

    #[test]
    fn a_thread_shortens_its_own_slices_and_not_those_of_threads_it_starts() {
        let before = attributes().expect("Linux");
        let (own, started) = std::thread::spawn(|| {
            slice::set(200_000).expect("allowed to every thread");
            (attributes().expect("Linux"), attributes_after(|| {}))
        })
        .join()
        .expect("no panic");
        assert_eq!((own.sched_policy, own.sched_nice), (before.sched_policy, before.sched_nice));
        // Linux before 6.12 has one slice for all threads and reports 0.
        assert!([200_000, 0].contains(&own.sched_runtime), "{}", own.sched_runtime);
        assert_ne!(started.sched_runtime, 200_000);
        assert_eq!(attributes().expect("Linux").sched_runtime, before.sched_runtime);
    }
}
