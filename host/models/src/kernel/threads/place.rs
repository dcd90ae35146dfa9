//! Keeps the threads that help off the core of the one they help. The system may put a thread that is woken on the core of
//! the one that wakes it although others are free; there it does not help, and stays for milliseconds.

#[cfg(target_os = "linux")]
pub(super) use linux::{Helper, Place};
#[cfg(not(target_os = "linux"))]
pub(super) use nowhere::{Helper, Place};

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use rustix::process::Pid;
    use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// The name that the system has for a thread that helps, once it has started.
    #[derive(Debug, Default)]
    pub(crate) struct Helper(OnceLock<Pid>);

    impl Helper {
        /// It is the calling thread.
        pub(crate) fn is_here(&self) {
            let _known = self.0.set(gettid());
        }
    }

    /// Where the thread is that is helped.
    pub(crate) struct Place {
        /// The cores it might be on when it began; helpers get no others. None if the system does not say.
        allowed: Option<CpuSet>,
        core: Cell<Option<usize>>,
    }

    impl Place {
        /// That of the calling thread.
        pub(crate) fn new() -> Self {
            Self { allowed: sched_getaffinity(None).ok(), core: Cell::new(None) }
        }

        /// Sends `helpers` to other cores than the calling thread's, if it has moved since it was asked last.
        pub(crate) fn clear(&self, helpers: &[Helper]) {
            let core = Some(sched_getcpu());
            if self.core.get() == core || !helpers.iter().all(|helper| helper.0.get().is_some()) {
                return;
            }
            self.core.set(core);
            let (Some(mut others), Some(core)) = (self.allowed, core) else { return };
            others.unset(core);
            if others.count() == 0 {
                return;
            }
            for helper in helpers.iter().filter_map(|helper| helper.0.get()) {
                // Refused where somebody took cores away meanwhile: then the system places it as it likes.
                let _refused = sched_setaffinity(Some(*helper), &others);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::mpsc::channel;

        use super::*;

        #[test]
        fn helpers_keep_off_the_core_of_who_is_helped_and_nobody_elses_threads_move() {
            let before = sched_getaffinity(None).expect("Linux says");
            let helpers = [Helper::default()];
            let ((started, starting), (end, ended)) = (channel(), channel::<()>());
            std::thread::scope(|scope| {
                let helper = &helpers[0];
                let place = Place::new();
                place.clear(&helpers);
                assert_eq!(place.core.get(), None, "it has not started");
                scope.spawn(move || {
                    helper.is_here();
                    started.send(()).expect("waited for");
                    let _over = ended.recv();
                });
                starting.recv().expect("it starts");
                place.clear(&helpers);
                let there = sched_getaffinity(helpers[0].0.get().copied()).expect("it lives");
                let core = place.core.get().expect("asked");
                assert!(before.count() == 1 || (!there.is_set(core) && there.count() == before.count() - 1));
                drop(end);
            });
            assert_eq!(sched_getaffinity(None).expect("Linux says"), before);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nowhere {
    #[derive(Debug, Default)]
    pub(crate) struct Helper;

    impl Helper {
        pub(crate) fn is_here(&self) {}
    }

    pub(crate) struct Place;

    impl Place {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn clear(&self, _helpers: &[Helper]) {}
    }
}
