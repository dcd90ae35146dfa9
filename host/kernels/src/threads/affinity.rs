//! Keeps worker threads off the core of the pool's owner. The system may place a woken thread on the core of the thread
//! that wakes it although other cores are idle. There it does not help, and stays for milliseconds.

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{CallerCore, WorkerThread};
#[cfg(target_os = "linux")]
pub(super) use linux::{CallerCore, WorkerThread};

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use rustix::process::Pid;
    use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// The system's id of a worker thread, once it has started.
    #[derive(Debug, Default)]
    pub(crate) struct WorkerThread(OnceLock<Pid>);

    impl WorkerThread {
        /// Records the calling thread as this worker.
        pub(crate) fn is_this_thread(&self) {
            let _known = self.0.set(gettid());
        }
    }

    /// The core of the thread that calls the pool.
    pub(crate) struct CallerCore {
        /// The cores that the caller was allowed to use when the pool was made. Workers get no others. `None` if the
        /// system does not report them.
        allowed: Option<CpuSet>,
        core: Cell<Option<usize>>,
    }

    impl CallerCore {
        /// For the calling thread.
        pub(crate) fn new() -> Self {
            Self { allowed: sched_getaffinity(None).ok(), core: Cell::new(None) }
        }

        /// Moves `workers` off the calling thread's core, if that core has changed since the last call.
        pub(crate) fn move_workers_away(&self, workers: &[WorkerThread]) {
            let core = Some(sched_getcpu());
            if self.core.get() == core || !workers.iter().all(|worker| worker.0.get().is_some()) {
                return;
            }
            self.core.set(core);
            let (Some(mut others), Some(core)) = (self.allowed, core) else { return };
            others.unset(core);
            if others.count() == 0 {
                return;
            }
            for worker in workers.iter().filter_map(|worker| worker.0.get()) {
                // The system refuses if these cores are no longer allowed. It then places the thread itself.
                let _refused = sched_setaffinity(Some(*worker), &others);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::mpsc::channel;

        use super::*;

        #[test]
        fn workers_leave_the_core_of_the_owner_and_other_threads_stay() {
            let before = sched_getaffinity(None).expect("Linux reports it");
            let workers = [WorkerThread::default()];
            let ((started, starting), (end, ended)) = (channel(), channel::<()>());
            std::thread::scope(|scope| {
                let worker = &workers[0];
                let core_of_owner = CallerCore::new();
                core_of_owner.move_workers_away(&workers);
                assert_eq!(core_of_owner.core.get(), None, "it has not started");
                scope.spawn(move || {
                    worker.is_this_thread();
                    started.send(()).expect("waited for");
                    let _over = ended.recv();
                });
                starting.recv().expect("it starts");
                core_of_owner.move_workers_away(&workers);
                let there = sched_getaffinity(workers[0].0.get().copied()).expect("it lives");
                let core = core_of_owner.core.get().expect("asked");
                assert!(before.count() == 1 || (!there.is_set(core) && there.count() == before.count() - 1));
                drop(end);
            });
            assert_eq!(sched_getaffinity(None).expect("Linux reports it"), before);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    #[derive(Debug, Default)]
    pub(crate) struct WorkerThread;

    impl WorkerThread {
        pub(crate) fn is_this_thread(&self) {}
    }

    pub(crate) struct CallerCore;

    impl CallerCore {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn move_workers_away(&self, _helpers: &[WorkerThread]) {}
    }
}
