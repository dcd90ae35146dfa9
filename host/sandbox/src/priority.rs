//! The priority of a thread, as far as the system has one for threads alone, and its time. Where it has none or refuses, a
//! thread keeps what it has: slower for others, not wrong.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static IS_LOW: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread may have to wait for others: nobody may wait for what it holds.
pub(crate) fn is_low() -> bool {
    IS_LOW.get()
}

/// Lets the calling thread have less than others where they want the processor.
#[cfg(target_os = "linux")]
pub(crate) fn lower() {
    IS_LOW.set(true);
    // On Linux this is the calling thread's alone.
    let _refused = rustix::process::setpriority_process(None, firebox_contract::limits::PLUGIN_SLOW_NICENESS);
}

/// Lets the calling thread run when nobody else wants the processor, and give way at once. No niceness does that: the
/// thread of another that wakes waits for the slice of a nice one, milliseconds in which a parallel product stands still.
#[cfg(target_os = "linux")]
pub(crate) fn idle() {
    IS_LOW.set(true);
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 names the calling thread, and the pointer is to a whole structure that outlives the call.
    let _refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
}

/// Time of the processor that the calling thread had up to now; its zero is the same for this thread's calls alone.
#[cfg(target_os = "linux")]
pub(crate) fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a whole structure that outlives the call, which writes to nothing else.
    let refused = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    // No kernel refuses it; zero would only mean that nothing is charged.
    if refused {
        Duration::ZERO
    } else {
        Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32)
    }
}

/// The time that passed, where the system has no clock for one thread: what it waited counts, too.
#[cfg(not(target_os = "linux"))]
pub(crate) fn used() -> Duration {
    static BEGUN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    BEGUN.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn lower() {}

#[cfg(not(target_os = "linux"))]
pub(crate) fn idle() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The fields of the calling thread's `stat` after its name, from the third on (proc_pid_stat(5)).
    fn field(number: usize) -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux");
        let rest = stat.rsplit(')').next().expect("a name in parentheses");
        rest.split_whitespace().nth(number - 3).expect("so many fields").to_owned()
    }

    #[test]
    fn a_thread_lowers_itself_alone() {
        const NICENESS: usize = 19;
        const POLICY: usize = 41;
        let before = (field(NICENESS), field(POLICY));
        let of = |lower: fn()| {
            std::thread::spawn(move || (lower(), field(NICENESS), field(POLICY))).join().expect("no panic")
        };
        let ((), niceness, policy) = of(lower);
        assert_eq!((niceness, policy), (firebox_contract::limits::PLUGIN_SLOW_NICENESS.to_string(), before.1.clone()));
        let ((), _, policy) = of(idle);
        assert_eq!(policy, libc::SCHED_IDLE.to_string());
        assert_eq!((field(NICENESS), field(POLICY)), before, "others keep theirs");
    }

    #[test]
    fn a_thread_that_sleeps_uses_no_time() {
        let before = used();
        std::thread::sleep(Duration::from_millis(50));
        let slept = used() - before;
        assert!(slept < Duration::from_millis(10), "{slept:?}");
        let begun = std::time::Instant::now();
        while used() - before < Duration::from_millis(20) {
            assert!(begun.elapsed() < Duration::from_secs(10), "it computes and is not charged");
        }
    }
}
