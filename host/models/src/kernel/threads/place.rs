//! On which core a thread is, and away from it. A thread that is woken may be put on the core of the one that woke it
//! although others are free, and where both compute and then sleep for each other, nothing ever parts them.

#[cfg(target_os = "linux")]
use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};

/// No core.
pub(super) const NOWHERE: usize = usize::MAX;

/// The core of the calling thread, as of now; `NOWHERE` where the system does not say.
#[cfg(target_os = "linux")]
pub(super) fn core() -> usize {
    sched_getcpu()
}

/// Moves the calling thread, if it is on `core`, to another that it may be on. It may come back later.
#[cfg(target_os = "linux")]
pub(super) fn leave(core: usize) {
    if sched_getcpu() != core {
        return;
    }
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut others = allowed;
    others.unset(core);
    if others.count() > 0 && sched_setaffinity(None, &others).is_ok() {
        // What was allowed a moment ago can be asked for again; where not, it computes on the others.
        let _refused = sched_setaffinity(None, &allowed);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn core() -> usize {
    NOWHERE
}

#[cfg(not(target_os = "linux"))]
pub(super) fn leave(_core: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_leaves_the_core_it_is_on_and_may_come_back() {
        let check = || {
            let allowed = sched_getaffinity(None).expect("Linux says");
            // It may be moved between the two calls.
            let left = (0..100).any(|_| {
                let here = core();
                leave(here);
                core() != here
            });
            assert_eq!(left, allowed.count() > 1);
            let after = sched_getaffinity(None).expect("Linux says");
            assert_eq!(after, allowed);
        };
        std::thread::spawn(check).join().expect("no panic");
    }
}
